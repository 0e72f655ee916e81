"""Two commands started together into one folder."""

from __future__ import annotations

import random
import time
from pathlib import Path

from benchmarks.faults.processes import check, finish, in_a_container, start
from benchmarks.faults.world import World, clean, leftovers, numbers


def pair(world: World, draw: random.Random, containers: bool) -> str:
    """Two commands into one folder; where `containers`, half of them with process ids of their own."""
    out, kind = "pair", draw.choice(("two subjects", "one subject", "two resumes"))
    clean(out)
    if kind == "two resumes":
        bodies = [world.training(out), world.training(out)]
    else:
        bodies = [
            world.scoring("cam.v1", out),
            world.scoring("cam.v2" if kind == "two subjects" else "cam.v1", out),
        ]
    apart = containers and draw.random() < 0.5
    if apart:
        bodies = [in_a_container(body) for body in bodies]
    children = []
    for body in bodies:
        children.append(start(body, world.log))
        time.sleep(draw.uniform(0, 0.3) if draw.random() < 0.7 else 0)
    codes = [finish(child) for child in children]
    check(set(codes) <= {0, 2} and 0 in codes, f"{kind}: exit codes {codes}")
    check(not leftovers(out), f"{kind}: left {leftovers(out)}")
    if kind == "two resumes":
        check(world.same_weights(out), "other weights")
        return f"at once: {kind}{', process ids of their own' if apart else ''}"
    first = "cam.v1" if codes[0] == 0 else "cam.v2"
    if kind == "two subjects":
        check(codes.count(0) == 1, f"both subjects in one folder: {codes}")
    check(
        numbers(Path(out)) == world.values[first if kind == "two subjects" else "cam.v1"],
        f"{kind}: wrong numbers",
    )
    check(world.scored(first if kind == "two subjects" else "cam.v1", out) == numbers(Path(out)), "poisoned")
    return f"at once: {kind}{', process ids of their own' if apart else ''}"
