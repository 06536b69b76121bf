"""Studies: scenarios whose results are committed, and the pages that are made of these."""

HONEST, INSIDE = "in-distribution", "pool"
"""Honest images that nothing was trained on, and an attacker's of the same kind."""

NATURAL, NEAR, NOISE = "tinyimagenet", "emnist", "noise"
"""Foreign sources of images."""
