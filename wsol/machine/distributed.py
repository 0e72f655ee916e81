"""One or several processes, started by torchrun: who is who, and the few things they must agree on.

The batch size is of the whole job. Each step's batch is cut into equal parts, `processes x accumulate` of them; the
method draws for each part by itself, and batch normalization sees one part at a time
(`wsol/training/batchnorm_stats.py`). So P processes compute what one process computes with `--accumulate P`, up to
rounding.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import torch
from torch import distributed

from wsol.errors import UserError
from wsol.machine.peers import Watch, agree, code_hash, destroy_group, find_peers, naming_the_process

_LONGEST_WAIT = timedelta(hours=12)
"""For what one process does while the others wait (decoding a dataset); a dead one is noticed by its silence."""


@dataclass(frozen=True)
class World:
    """This process among its peers."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0

    @property
    def first(self) -> bool:
        """Whether this process writes the files and the output."""
        return self.rank == 0


def world_from_environment() -> World:
    """What torchrun says in the environment; alone without it."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
    rank, size, local = (os.environ.get(name, "").strip() for name in names)
    if not rank or not size:  # schedulers leave them empty where one process runs
        return World()
    if not all(v.isascii() and v.isdigit() for v in (rank, size, local or "0")):
        stated = ", ".join(f"{n}={os.environ.get(n, '')!r}" for n in names)
        raise UserError(f"{stated}: expected whole numbers, as torchrun sets them; unset them to run alone")
    return World(int(rank), int(size), int(local or "0"))


@contextmanager
def joined(world: World, device: torch.device) -> Iterator[None]:
    """Connect the processes while the body runs (nothing to do for one); NCCL between GPUs, gloo for the
    rest.

    Raises:
        UserError: where one does not come in time; what the body raises is told with the number of the process.
    """
    if world.size == 1:
        yield
        return

    try:
        if device.type == "cuda":
            torch.cuda.set_device(device)
        store = find_peers(world.rank, world.size)
        backend = "cuda:nccl,cpu:gloo" if device.type == "cuda" else "gloo"
        group = distributed.PrefixStore("group", store)
        watch = Watch(store, world.rank, world.size)
        try:
            distributed.init_process_group(
                backend, store=group, rank=world.rank, world_size=world.size, timeout=_LONGEST_WAIT
            )
            agree(world.size, {"code": code_hash()})
            yield
            distributed.barrier()
        finally:
            watch.leave()
            if distributed.is_initialized():
                destroy_group()
    except Exception as error:
        if (named := naming_the_process(world.rank, world.size, error)) is not None:
            raise named from error
        raise


def agree_on(world: World, facts: Mapping[str, Any]) -> None:
    """Return when all processes hold the same facts; `UserError` naming the first that differ."""
    agree(world.size, facts)


def total(world: World, values: torch.Tensor) -> torch.Tensor:
    """The sum of a tensor over all processes, on the same device; a new tensor."""
    if world.size == 1:
        return values.clone()

    result = values.clone()
    distributed.all_reduce(result)
    return result


def any_of(world: World, flags: list[bool]) -> list[bool]:
    """For each flag, whether it is raised in any process."""
    if world.size == 1:
        return flags

    raised = torch.tensor(flags, dtype=torch.int32)
    distributed.all_reduce(raised, distributed.ReduceOp.MAX)
    return [bool(flag) for flag in raised.tolist()]


def from_first(world: World, value: Any) -> Any:
    """The first process's value, in every process."""
    if world.size == 1:
        return value

    holder = [value]
    distributed.broadcast_object_list(holder, src=0, device=torch.device("cpu"))
    return holder[0]


def gather(world: World, tensor: torch.Tensor) -> list[torch.Tensor]:
    """Every process's tensor (CPU, equal shapes), by rank, in every process."""
    if world.size == 1:
        return [tensor]

    parts = [torch.empty_like(tensor) for _ in range(world.size)]
    distributed.all_gather(parts, tensor)
    return parts


def wait_for_all(world: World) -> None:
    """Return when every process has come here."""
    if world.size > 1:
        distributed.barrier()
