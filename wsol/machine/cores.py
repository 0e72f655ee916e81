"""How many processor cores are this process's to use."""

from __future__ import annotations

import os
from collections.abc import Sequence


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


def share_of_cores(turn: int, of: int) -> tuple[int, ...]:
    """The cores of one of several processes that share this process's cores evenly: every `of`-th, from `turn` on.

    With fewer cores than processes some share a core. Empty on systems without such a choice.
    """
    try:
        cores = sorted(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return ()
    return tuple(cores[turn % of :: of]) or (cores[turn % len(cores)],)


def keep_to_cores(cores: Sequence[int]) -> None:
    """Let this process, and those that it starts, run on these cores alone; anywhere where none is given."""
    if cores:
        os.sched_setaffinity(0, cores)
