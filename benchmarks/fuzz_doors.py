"""Broken inputs by the hundred thousand at every door of docs/security.md: read, or refused by one clear line.

    python -m benchmarks.fuzz_doors [--cases 100000] [--seed 0] [--doors png,tar] [--keep FOLDER]

Each input is a valid file broken along its own structure (`benchmarks.mutations`), read as the commands read it, in a
forked process of its own address space. A defect is: another exception than `UserError`, an error of several lines, a
process that dies, more than `CPU_SECONDS` of processor time, more than `MEMORY` beside what was there, a file written
outside, or code that ran. Defects are listed, their inputs kept, and the exit code is then 1.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import select
import shutil
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch

from benchmarks.doors import Door, doors
from tests.helpers.dummy_network import TINY
from wsol.errors import UserError
from wsol.models import NETWORKS

CPU_SECONDS = 20.0
MEMORY = 4 << 30
"""Bytes beside what the process held before: the largest image, as an animation's canvas, decoded and converted."""
WALL_SECONDS = 300
BATCH = 200
"""Inputs a forked process."""


@dataclass
class Tally:
    """What became of the inputs of one door: how often each outcome, the most processor seconds and memory of one."""

    outcomes: Counter[str] = field(default_factory=Counter)
    kinds: set[str] = field(default_factory=set)
    slowest: float = 0.0
    largest: int = 0


class TooSlow(BaseException):
    """More processor time than `CPU_SECONDS`; not an Exception, so that no reader takes it for damage."""


def one(door: Door, seed: int, scratch: Path) -> tuple[str, float, int]:
    """One input: (outcome, processor seconds, bytes of memory beside those before); a defect says what it is."""
    data = make(door, seed)
    for left in scratch.iterdir():
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    (scratch / "in").mkdir()
    file = scratch / "in" / "x"
    file.write_bytes(data)
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts from what is held now
    before, began = _memory("VmRSS"), time.process_time()
    signal.setitimer(signal.ITIMER_PROF, CPU_SECONDS)
    try:
        door.read(file)
        outcome = "read"
    except (UserError, OSError) as error:  # commands show both in one line
        text = str(error)
        outcome = (
            "refused" if "\n" not in text and len(text) < 3000 else f"DEFECT not one line: {text[:200]!r}"
        )
    except TooSlow:
        outcome = "DEFECT too slow"
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)
        here = next(
            (
                f"{Path(f.filename).name}:{f.lineno}"
                for f in reversed(place)
                if "/wsol/" in f.filename or "/eval/" in f.filename
            ),
            "?",
        )
        outcome = f"DEFECT {type(error).__name__} at {here}: {str(error)[:150]!r}"
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    took, grown = time.process_time() - began, _memory("VmHWM") - before
    if grown > MEMORY:
        outcome = f"DEFECT {grown >> 20} MB of memory"
    if (scratch / "EXECUTED").exists() or Path("EXECUTED").exists():
        outcome = "DEFECT code of the file ran"
    return outcome, took, grown


def make(door: Door, seed: int) -> bytes:
    """The input of a seed."""
    draw = random.Random(seed)
    return door.mutate(draw.choice(door.seeds), draw)


def _memory(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) << 10
    raise RuntimeError(name)


def batch(door: Door, seeds: Sequence[int], scratch: Path) -> Iterator[tuple[int, str, float, int]]:
    """Inputs in forked processes: where one dies or hangs, its input is a defect, and the rest goes on."""
    left = list(seeds)
    while left:
        reading, writing = os.pipe()
        child = os.fork()
        if not child:
            os.close(reading)
            _work(door, left, scratch, writing)
        os.close(writing)
        ended = False
        with os.fdopen(reading, "rb", buffering=0) as stream:
            pending = b""
            while not ended:
                if not select.select([stream], [], [], WALL_SECONDS)[0]:
                    os.kill(child, signal.SIGKILL)
                    break
                block = stream.read(1 << 16)
                ended = not block
                *lines, pending = (pending + block).split(b"\n")
                for line in lines:
                    seed, outcome, took, grown = json.loads(line)
                    left.remove(seed)
                    yield seed, outcome, took, grown
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        if left:
            what = f"died of {signal.Signals(-status).name}" if status < 0 else f"ended with {status}"
            yield left.pop(0), f"DEFECT the process {what if ended else 'hung'}", 0.0, 0


def _work(door: Door, seeds: Sequence[int], scratch: Path, writing: int) -> None:
    try:
        here = _memory("VmSize") + MEMORY + (1 << 30)
        resource.setrlimit(resource.RLIMIT_AS, (here, here))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        os.chdir(scratch)
        quiet = os.open(os.devnull, os.O_WRONLY)
        os.dup2(quiet, 1)
        os.dup2(quiet, 2)

        def slow(*_: object) -> None:
            raise TooSlow

        signal.signal(signal.SIGPROF, slow)
        for seed in seeds:
            os.write(writing, json.dumps([seed, *one(door, seed, scratch)]).encode() + b"\n")
    finally:
        os._exit(0)


def fuzz(door: Door, base: int, count: int, scratch: Path, keep: Path) -> Tally:
    """All inputs of a door; the first of each kind of defect is kept and said."""
    tally = Tally()
    for start in range(0, count, BATCH):
        seeds = range(base + start, base + min(start + BATCH, count))
        for seed, outcome, took, grown in batch(door, seeds, scratch):
            tally.outcomes[outcome.split()[0]] += 1
            tally.slowest, tally.largest = max(tally.slowest, took), max(tally.largest, grown)
            if outcome.startswith("DEFECT") and outcome not in tally.kinds:
                tally.kinds.add(outcome)
                keep.mkdir(parents=True, exist_ok=True)
                (keep / f"{seed} {door.name}").write_bytes(make(door, seed))
                print(f"{door.name}, seed {seed}: {outcome}", file=sys.stderr, flush=True)
    return tally


def show(tallies: dict[str, Tally]) -> None:
    """The table, a line a door."""
    print(f"{'door':<36}{'inputs':>8}{'read':>8}{'refused':>9}{'defects':>9}{'slowest s':>11}{'most MB':>9}")
    for name, tally in tallies.items():
        read, refused, bad = (tally.outcomes[k] for k in ("read", "refused", "DEFECT"))
        print(f"{name:<36}{read + refused + bad:>8}{read:>8}{refused:>9}{bad:>9}", end="")
        print(f"{tally.slowest:>11.2f}{tally.largest >> 20:>9}")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--doors", default="", help="beginnings of names, comma-separated; default: all")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-defects"), help="where inputs of defects go")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    NETWORKS["tiny"] = TINY
    began = time.perf_counter()
    tallies: dict[str, Tally] = {}
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        kept, scratch = Path(folder) / "kept", Path(folder) / "scratch"
        kept.mkdir()
        scratch.mkdir()
        every = doors(kept)
        chosen = [d for d in every if d.name.startswith(tuple(options.doors.split(",")))]
        total = sum(d.weight for d in chosen)
        for door in chosen:
            count = max(1, round(options.cases * door.weight / total))
            base = (options.seed * 1000 + every.index(door)) * 10_000_000
            tallies[door.name] = fuzz(door, base, count, scratch, options.keep)
    show(tallies)
    found = sum((t.outcomes for t in tallies.values()), Counter[str]())
    print(
        f"{found.total()} inputs, {found['read']} read, {found['refused']} refused, {found['DEFECT']} defects, seed "
        f"{options.seed}, {time.perf_counter() - began:.0f} s"
    )
    return 1 if found["DEFECT"] else 0


if __name__ == "__main__":
    sys.exit(main())
