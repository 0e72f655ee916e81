"""Faults by the hundred: each leaves the undisturbed result, one that is resumed to it, or one clear line.

    python -m benchmarks.faults [--kills 200] [--pairs 200] [--edits 2000] [--ranks 20] [--seed 0] [--minutes 60]

Commands run in forked processes of this one, which has loaded everything, on a tiny dataset and small blocks. Killed at
random moments: scoring (maps from files, and a network's), training, preparing, comparing, and processes that read
images. Started together into one folder: two commands of different subjects, of the same one, two resumes, also with
process ids of their own as in two containers. Disturbed: full disk, few file handles, little shared memory. Copied and
renamed: a run. Damaged: one flipped bit, a cut, or bytes exchanged in every kind of file that is kept. Processes of one
job: one killed, stopped, late, or holding another setting or run. After each case no process may be left. Prints a
table; anything else than the outcomes above ends with exit code 1 and names the case.
"""

# ruff: noqa: E402

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch

import eval.maps.blocks

eval.maps.blocks.BLOCK = 64  # many blocks of few images; before anything else reads it

from benchmarks.faults.damaged import edits
from benchmarks.faults.disturbed import disturbed, short_of_shared_memory
from benchmarks.faults.kills import killed, moved, worker_killed
from benchmarks.faults.pairs import pair
from benchmarks.faults.processes import Defect, check_no_orphans, may_have_namespaces
from benchmarks.faults.ranks import ranks
from benchmarks.faults.world import World


def main() -> int:
    """Run all faults; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, count in (
        ("kills", 200),
        ("pairs", 200),
        ("edits", 2000),
        ("disturbed", 40),
        ("memory", 10),
        ("workers", 20),
        ("moves", 10),
        ("ranks", 20),
        ("seed", 0),
    ):
        parser.add_argument(f"--{name}", type=int, default=count)
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no case after so many minutes")
    options = parser.parse_args()
    torch.set_num_threads(1)
    namespaces = may_have_namespaces()
    if not namespaces:
        print(
            "no namespaces here: neither little shared memory nor process ids of containers", file=sys.stderr
        )
    draw, outcomes, began = random.Random(options.seed), Counter[tuple[str, str]](), time.monotonic()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        world = World(Path(folder))
        took: dict[str, float] = {}
        faults: list[tuple[int, Callable[[], str]]] = [
            (options.kills, lambda: killed(world, draw, took)),
            (options.workers, lambda: worker_killed(world, draw)),
            (options.moves, lambda: moved(world, draw)),
            (options.pairs, lambda: pair(world, draw, namespaces)),
            (options.disturbed, lambda: disturbed(world, draw)),
            (options.memory if namespaces else 0, lambda: short_of_shared_memory(world, draw)),
            (options.ranks, lambda: ranks(world, draw)),
        ]
        try:
            for count, fault in faults:
                for number in range(count):
                    if time.monotonic() - began > 60 * options.minutes:
                        break
                    outcomes[(fault(), "as wanted")] += 1
                    check_no_orphans()
                    if number % 20 == 19:
                        print(
                            f"{number + 1} of {count}, {time.monotonic() - began:.0f} s",
                            file=sys.stderr,
                            flush=True,
                        )
            if options.edits:
                edits(world, options.edits, draw, outcomes)
        except Defect as defect:
            print(f"DEFECT: {defect}\n{world.log.read_text()[-3000:]}", file=sys.stderr)
            return 1
        finally:
            print("| fault | outcome | cases |\n|---|---|---|")
            for (fault_name, outcome), cases in sorted(outcomes.items()):
                print(f"| {fault_name} | {outcome} | {cases} |")
        print(
            f"\n{sum(outcomes.values())} cases, seed {options.seed}, no defect, {time.monotonic() - began:.0f} s"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
