"""Comparing evaluated runs: pairing, paired statistics, what drives a difference, verdicts, published numbers."""
