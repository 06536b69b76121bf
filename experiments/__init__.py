"""Experiments: scenarios run as real processes, evaluated, tabulated and drawn."""
