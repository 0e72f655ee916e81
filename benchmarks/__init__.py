"""Speed measurements, each a command: `python -m benchmarks.<name>`; ratios are taken within one run."""
