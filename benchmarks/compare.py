"""Processor seconds and peak memory of `eval.localize` and `eval.compare` over the number of images.

    python -m benchmarks.compare 2000 20000

Raw 7x7 maps of two methods as files, 1,000 classes, every protocol, 1,000 resamples, no pictures. Each command is a
process of its own; a first, uncounted one compiles the box kernel.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks.localize import dataset


def write_maps(folder: Path, count: int, seed: int) -> None:
    """One random raw map [7, 7] an image: a bump at a random place, and noise."""
    folder.mkdir()
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:7, 0:7]
    for i in range(count):
        y, x = rng.uniform(1, 5, 2)
        bump = 5 * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 4)
        np.save(folder / f"{i:06d}.npy", (bump + rng.normal(0, 0.5, (7, 7))).astype(np.float32))


def measured(*command: str) -> tuple[float, float]:
    """Run a command that must succeed: its processor seconds and its peak memory in MB."""
    with subprocess.Popen([sys.executable, "-m", *command], stdout=subprocess.DEVNULL) as process:
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{' '.join(command)} ended with exit code {process.returncode}")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    """Print a line for each command and number of images."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("counts", type=int, nargs="+", help="numbers of images")
    counts = parser.parse_args().counts
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for turn, count in enumerate([64, *counts]):
        with tempfile.TemporaryDirectory() as scratch:
            place = Path(scratch)
            dataset(place, count)
            outs = []
            for name, seed in (("a", 1), ("b", 2)):
                write_maps(place / name, count, seed)
                out = place / f"{name}-eval"
                scored = measured(
                    *("eval.localize", "--score-maps", str(place / name), "--map-values", "raw"),
                    *("--dataset", str(place / "manifest"), "--pictures", "0", "--out", str(out)),
                )
                outs.append(f"{name}={out}")
            compared = measured(
                "eval.compare", *outs, "--baseline", "a", "--pictures", "0", "--out", str(place / "c")
            )
            if turn:
                for name, (seconds, peak) in (("localize", scored), ("compare", compared)):
                    print(f"{count:8d} images  {name:9s} {seconds:7.1f} s of processor time  {peak:7.0f} MB")


if __name__ == "__main__":
    main()
