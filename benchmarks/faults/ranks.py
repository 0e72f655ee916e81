"""Processes of one job: one killed, stopped, late, or holding something else."""

from __future__ import annotations

import os
import random
import signal
import socket
import time
from collections.abc import Callable
from functools import partial

import torch

from benchmarks.faults.processes import check, finish, start
from benchmarks.faults.world import World, clean, leftovers

KINDS = ("killed", "stopped", "late", "another setting", "another run to score")


def ranks(world: World, draw: random.Random) -> str:
    """Two or three processes, one of them odd. Then one alone continues."""
    count, kind, out = draw.choice((2, 3)), draw.choice(KINDS), "several"
    clean(out)
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port = place.getsockname()[1]
    odd = draw.randrange(count)
    batch = ("--batch-size", "6") if count == 3 else ()

    def work(rank: int) -> Callable[[], object]:
        if kind == "another run to score":
            return world.scoring("cam.v2" if rank == odd else "cam.v1", out)
        return world.training(
            out, *batch, *(("--lr", "0.5") if kind == "another setting" and rank == odd else ())
        )

    def body(rank: int) -> None:
        os.environ.update(
            RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(count), WSOL_SILENCE_SECONDS="10"
        )
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), WSOL_JOIN_SECONDS="8")
        torch.set_num_threads(1)
        if kind == "late" and rank == odd:
            time.sleep(12)
        work(rank)()

    children = [start(partial(body, rank), world.log) for rank in range(count)]
    if kind in ("killed", "stopped"):
        time.sleep(draw.uniform(0, 2.0))
        os.kill(children[odd], signal.SIGKILL if kind == "killed" else signal.SIGSTOP)
    codes = []
    for rank in sorted(range(count), key=lambda r: r == odd):  # the odd one last
        if kind == "stopped" and rank == odd:
            os.kill(children[rank], signal.SIGKILL)
        codes.append(finish(children[rank]))
    expected = {0, 2, -signal.SIGKILL} if kind in ("killed", "stopped") else {2}
    check(set(codes) <= expected, f"{kind} of {count}: exit codes {codes}")
    if kind == "another run to score":
        check(world.scored("cam.v1", out) == world.values["cam.v1"], "other numbers")
    else:
        world.run(world.training(out, *batch, "--accumulate", str(count)))
    check(not leftovers(out), f"left {leftovers(out)}")
    return f"one of several processes: {kind}"
