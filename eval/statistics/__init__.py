"""Statistics of evaluated runs as small pure functions of arrays (numpy and scipy only); docs/statistics.md has the
formulas with their sources, assumptions and simulated error rates."""
