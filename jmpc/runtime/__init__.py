"""Runs programs: compiled segments, the executor, and what it stands on in each mode."""
