"""What one of several jobs on this machine may use: its share of the cores, and of the GPUs."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Share:
    """Cores and GPUs of one job; an empty one leaves that to whoever starts the job."""

    cores: tuple[int, ...] = ()
    gpus: tuple[str, ...] = ()
    """As CUDA_VISIBLE_DEVICES names them."""

    def take(self) -> None:
        """Keep this process, and those that it starts from now on, to its share; before torch first looks for GPUs."""
        if self.cores:
            os.sched_setaffinity(0, self.cores)
        if self.gpus:
            os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(self.gpus)


ALL = Share()
"""Whatever a process was started with."""


def shares(jobs: int, processes: int = 1) -> list[Share]:
    """The shares of so many jobs at a time, each of so many processes with a GPU of its own where there are enough.

    Jobs beyond the cores or GPUs at hand share them in turns. Imports torch, which counts the GPUs.
    """
    cores, gpus = _cores(), _gpus()
    found = []
    for turn in range(jobs):
        own = cores[turn::jobs] or cores[turn % len(cores) :][:1] if cores else ()
        taken = [gpus[(turn * processes + k) % len(gpus)] for k in range(processes)] if gpus else []
        found.append(Share(tuple(own), tuple(dict.fromkeys(taken))))
    return found


def _cores() -> list[int]:
    try:
        return sorted(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return []


def _gpus() -> list[str]:
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [name.strip() for name in named.split(",") if name.strip()]
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]
