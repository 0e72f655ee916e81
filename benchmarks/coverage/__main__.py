"""Simulate the cells of docs/statistics.md's tables.

    python -m benchmarks.coverage                                 1,000 simulations a cell and more (half an hour)
    python -m benchmarks.coverage --simulations 200 --only runs
    python -m benchmarks.coverage --json coverage.json            each cell is written as it is finished

Every cell has a seed of its own, made of --seed and its name, so that one cell can be run again alone.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.coverage.cells import CELLS, simulate


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, a line a cell; with --json write it too, cell by cell."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--simulations", type=int, default=1000)
    parser.add_argument("--only", default="", help="only cells whose name holds this text")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="file that gets every finished cell")
    options = parser.parse_args(arguments)
    done: list[dict[str, Any]] = []
    for cell in (c for c in CELLS if options.only in c.name):
        start = time.perf_counter()
        found = simulate(cell, options.simulations, options.seed)
        took = time.perf_counter() - start
        count = options.simulations * cell.weight
        words = "  ".join(f"{k} {v:.1f}" for k, v in found.items())
        print(f"{cell.name} ({count:,} simulations, {took:.0f} s)\n    {words}", flush=True)
        done.append({"cell": cell.name, "simulations": count, "seed": options.seed, **found})
        if options.json is not None:
            options.json.write_text(json.dumps(done, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
