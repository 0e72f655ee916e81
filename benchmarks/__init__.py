"""Speed measurements, each a command: `python -m benchmarks.<name>`; ratios are taken within one run."""

import os

# As the commands themselves do before torch loads: OpenMP's threads must not spin while they wait for one another.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")
