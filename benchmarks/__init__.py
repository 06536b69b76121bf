"""How fast the solver, the measures, the defences and the gate are; not installed with them."""
