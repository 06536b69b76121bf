"""Reports: tables, figures and pages of runs and sweeps, fresh and published."""
