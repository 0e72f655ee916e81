"""Commands short of disk, file handles or shared memory."""

from __future__ import annotations

import errno
import os
import random
import resource
from pathlib import Path

from benchmarks.faults.processes import check, finish, small_shared_memory, start
from benchmarks.faults.world import World, clean, leftovers, numbers


def disturbed(world: World, draw: random.Random) -> str:
    """A disk that is full from the n-th flush on, or few file handles; then the same command undisturbed."""
    what, kind, out = (
        draw.choice(("cam.v1", "training")),
        draw.choice(("full disk", "few handles")),
        "disturbed",
    )
    clean(out)
    body = world.training(out) if what == "training" else world.scoring(what, out)
    count, handles = draw.randint(1, 12), draw.randint(12, 64)

    def under() -> None:
        if kind == "few handles":
            resource.setrlimit(resource.RLIMIT_NOFILE, (handles, handles))
        else:
            flush, left = os.fsync, [count]

            def full(handle: int) -> None:
                left[0] -= 1
                if left[0] < 0:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                flush(handle)

            os.fsync = full  # type: ignore[assignment]
        body()

    code = finish(start(under, world.log))
    check(code in (0, 2), f"{kind}, {what}: exit code {code}")
    world.run(body)
    check(not leftovers(out), f"{kind}: left {leftovers(out)}")
    good = world.same_weights(out) if what == "training" else numbers(Path(out)) == world.values[what]
    check(good, f"{kind}, {what}: another result")
    return kind


def short_of_shared_memory(world: World, draw: random.Random) -> str:
    """A /dev/shm of 1 to 4 MB while processes read images: one line, or the undisturbed result."""
    out, megabytes = "shared", draw.randint(1, 4)
    clean(out)
    size = draw.choice(("32", "448"))

    def under() -> None:
        small_shared_memory(megabytes)
        world.training(out, "--workers", "2", "--cache", "off", "--size", size)()

    code = finish(start(under, world.log))
    check(code in (0, 2), f"{megabytes} MB of shared memory, size {size}: exit code {code}")
    world.run(world.training(out, "--size", size))
    check(not leftovers(out), f"shared memory: left {leftovers(out)}")
    return "little shared memory"
