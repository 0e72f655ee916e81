"""Commands, and the processes that they start, killed at random moments."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from pathlib import Path

from benchmarks.faults.processes import check, descendants, finish, start
from benchmarks.faults.world import World, clean, compared, leftovers, numbers
from wsol.manifest import load_manifest, write_manifest


def killed(world: World, draw: random.Random, took: dict[str, float]) -> str:
    """One to three kills of one command at random moments, then the same command to its end."""
    what = draw.choice(("cam.v1", "run", "training", "preparing", "comparing"))
    out = "killed"
    clean(out)
    body = {
        "training": world.training(out),
        "preparing": lambda: write_manifest(load_manifest(world.data), Path(out)),
        "comparing": world.comparing(out),
    }.get(what) or world.scoring(what, out)
    if what not in took:
        began = time.monotonic()
        world.run(body)
        took[what] = time.monotonic() - began
        clean(out)
    for _ in range(draw.randint(1, 3)):
        code = finish(start(body, world.log), draw.uniform(0, took[what]), kill=True)
        check(code in (0, -signal.SIGKILL), f"{what}: exit code {code}")
    world.run(body)
    check(not leftovers(out), f"{what}: left {leftovers(out)}")
    if what == "training":
        check(world.same_weights(out), "other weights after a resume")
    elif what == "preparing":
        check(load_manifest(out).hash() == load_manifest(world.data).hash(), "another manifest")
    elif what == "comparing":
        check(compared(Path(out)) == world.values[what], "another comparison")
    else:
        check(numbers(Path(out)) == world.values[what], f"{what}: other numbers")
    return f"killed: {what if what in ('training', 'preparing', 'comparing') else 'scoring'}"


def worker_killed(world: World, draw: random.Random) -> str:
    """A process that reads images is killed: one line; then the same command to its end."""
    out = "worker"
    clean(out)
    child = start(world.training(out, "--workers", "2", "--epochs", "2", "--cache", "off"), world.log)
    end = time.monotonic() + draw.uniform(0, 3)
    while time.monotonic() < end and not (descendants(child) and draw.random() < 0.05):
        time.sleep(0.01)
    workers = descendants(child)
    if workers:
        os.kill(draw.choice(workers), signal.SIGKILL)
    code = finish(child)
    check(code in ({0, 2} if workers else {0}), f"worker killed: exit code {code}")
    world.run(world.training(out, "--epochs", "2"))
    check(not leftovers(out), f"worker killed: left {leftovers(out)}")
    return "a process that reads images killed"


def moved(world: World, draw: random.Random) -> str:
    """A run or an evaluation that is copied or renamed gives the same numbers."""
    what = draw.choice(("renamed", "copied"))
    clean("first", "second")
    shutil.copytree("run", "first")
    if draw.random() < 0.5:
        world.run(world.scoring("first", "first/eval"))  # with maps and records in it
    if what == "renamed":
        Path("first").rename("second")
    else:
        shutil.copytree("first", "second")
    world.run(world.scoring("second", "second/eval"))
    check(numbers(Path("second/eval")) == world.values["run"], f"{what}: other numbers")
    return f"a run {what}"
