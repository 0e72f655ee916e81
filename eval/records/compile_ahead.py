"""The kernels compiled by a process of their own, while this one loads torch and runs its first batches."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np

from eval.boxes.best_iou import best_iou_of_versions
from eval.boxes.compiled import is_kept
from eval.boxes.run_kernel import runs_batch
from eval.maps.normalization import score_levels
from wsol.wrapping import tell

_underway: list[subprocess.Popen[bytes]] = []


def compile_ahead() -> None:
    """Begin to compile where no earlier process has left the code in the cache, and say so."""
    if _underway or is_kept(runs_batch) or os.environ.get("LOCAL_RANK", "0") != "0":
        return
    try:
        _underway.append(
            subprocess.Popen(
                [sys.executable, "-m", __name__], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
        )
    except OSError:  # an interpreter that this user may not start again: this process compiles on first use
        return
    tell("compiling the box kernel, once for all later runs (about 10 s of processor time)")


def wait_until_compiled() -> None:
    """Return when that process has ended; where it failed, this one compiles on first use."""
    for process in _underway:
        process.wait()


def _use_once() -> None:
    """What every evaluation calls, with the types that it calls it with."""
    ramp = np.linspace(0.0, 1.0, 64).reshape(1, 8, 8)
    versions = np.stack([score_levels(ramp, name)[0] for name in ("minmax", "ivr")])
    best_iou_of_versions(versions, np.array([[1, 1, 5, 5]]), np.array([0, 1]))


if __name__ == "__main__":
    _use_once()
