"""How many processor cores are this process's to use."""

from __future__ import annotations

import os


def usable_cores() -> int:
    """Cores that this process may run on; under torchrun, its share of the host's: at least 1."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        cores = os.cpu_count() or 1
    beside = os.environ.get("LOCAL_WORLD_SIZE", "")
    return max(1, cores // int(beside)) if beside.isdigit() and int(beside) else cores


def decoding_processes(beside_gpu: bool) -> int:
    """How many processes decode images ahead: one a core beside a GPU, at most 16, and half as many beside a network
    that computes on the same cores; none on a single core, where another process would only wait for its turn."""
    cores = usable_cores()
    return 0 if cores == 1 else min(16, cores if beside_gpu else cores // 2)
