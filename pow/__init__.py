"""Hashcash puzzles: stamps, challenge tokens, solvers and the hash rate of a host."""
