"""Faults by the hundred: each leaves the undisturbed result, one that is resumed to it, or one clear line.

    python -m benchmarks.faults [--kills 200] [--pairs 200] [--edits 2000] [--ranks 20] [--seed 0] [--minutes 60]

Commands run in forked processes of this one, which has loaded everything, on a tiny dataset and small blocks. Killed at
random moments: scoring (maps from files, and a network's), training, preparing. Started together into one folder: two
commands of different subjects, of the same one, two resumes. Disturbed: full disk, few file handles. Damaged: one
flipped bit, a cut, or bytes exchanged in every kind of file that is kept. Processes of one job: one killed, or holding
another setting. Prints a table; anything else than the outcomes above ends with exit code 1 and names the case.
"""

# ruff: noqa: E402

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import errno
import json
import os
import random
import resource
import shutil
import signal
import socket
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
import torch

import eval.maps.blocks

eval.maps.blocks.BLOCK = 64  # many blocks of few images; before anything else reads it

from eval.evaluate import localize
from eval.localize_config import LocalizeConfig
from eval.maps.stored import StoredMaps
from eval.metrics.results_json import read_results
from eval.records.store import RecordStore
from tests.helpers.map_folders import boxed_split, smooth_maps, write_maps
from tests.helpers.tiny_dataset import make_tiny_dataset
from wsol.errors import UserError, run_command
from wsol.files.checked_safetensors import load_tensors
from wsol.manifest import Manifest, load_manifest, split_hash, write_manifest
from wsol.runs.network import load_classifier
from wsol.runs.record import load_run
from wsol.training.checkpoint import newest_checkpoint
from wsol.training.config import parse_config
from wsol.training.log import trim_log
from wsol.training.pixels import PixelFile, make_pixels, pixel_file
from wsol.training.progress import Silent
from wsol.training.session import train

LIMIT_SECONDS = 120
HUNG = -999


class Defect(Exception):
    """An outcome that must not be."""


def start(body: Callable[[], object], log: Path) -> int:
    """Run a body as a command in a forked process; returns its process id."""
    child = os.fork()
    if child:
        return child
    code = 99
    try:
        os.setsid()
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", closefd=False)
        code = run_command(body)  # type: ignore[arg-type]
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stderr.flush()
        os._exit(code)


def finish(child: int, patience: float = LIMIT_SECONDS, kill: bool = False) -> int:
    """The exit code (minus the signal) of a process; after `patience` it is killed, and hung unless that was meant."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -signal.SIGKILL if kill else HUNG


class World:
    """Datasets, runs and undisturbed results in a scratch folder."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        os.chdir(scratch)
        self.log = scratch / "log"
        split = boxed_split(130)
        write_manifest(Manifest("d", ("a", "b", "c"), {"test": split}), scratch / "m")
        for i in (1, 2):
            write_maps(scratch / f"cam.v{i}", split, smooth_maps(130, seed=i, side=14))
        self.data = make_tiny_dataset(scratch / "tiny")
        self.training("run")()  # here: what is loaded and compiled once is there in every forked process
        self.scoring("cam.v1", "warm")()
        self.values = {name: self.scored(name, f"alone-{name}") for name in ("cam.v1", "cam.v2", "run")}
        self.weights = self.weights_of("run")

    def run(self, body: Callable[[], object]) -> None:
        """A body that must succeed."""
        if code := finish(start(body, self.log)):
            raise Defect(f"undisturbed, exit code {code}:\n{self.log.read_text()[-2000:]}")

    def scoring(self, what: str, out: str) -> Callable[[], object]:
        common: dict[str, Any] = {"out": Path(out), "bootstrap": 0, "pictures": 0, "threads": 1}
        if what == "run":
            config = LocalizeConfig(run=Path("run"), device="cpu", batch_size=4, **common)
        else:
            config = LocalizeConfig(score_maps=Path(what), dataset="m", **common)
        return lambda: localize(dataclasses.replace(config, protocols=("maxboxacc",)))

    def training(self, out: str, *more: str) -> Callable[[], object]:
        text = "--size 32 --epochs 1 --batch-size 8 --lr 0.01 --device cpu --workers 0 --precision fp32"
        text += " --checkpoint-every-steps 1 --resume"
        asked = ["--dataset", str(self.data), *text.split(), *more, "--out", out]
        return lambda: train(parse_config(asked), asked, Silent())

    def scored(self, what: str, out: str) -> str:
        """Score to the end; the numbers."""
        self.run(self.scoring(what, out))
        return numbers(Path(out))

    def weights_of(self, out: str) -> dict[str, torch.Tensor]:
        return load_tensors(Path(out) / "model.safetensors")[0]

    def same_weights(self, out: str) -> bool:
        ours = self.weights_of(out)
        return all(torch.equal(ours[k], v) for k, v in self.weights.items())


def numbers(folder: Path) -> str:
    """results.json without what names the run."""
    found = read_results(folder)
    return json.dumps({k: v for k, v in found.items() if k != "provenance"}, sort_keys=True)


def clean(*folders: str) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def leftovers(folder: str) -> list[str]:
    return [str(p) for p in Path(folder).rglob("*.unfinished")]


def check(good: bool, what: str) -> None:
    if not good:
        raise Defect(what)


# --- kills --------------------------------------------------------------------------------------------------


def killed(world: World, draw: random.Random, took: dict[str, float]) -> str:
    """One to three kills of one command at random moments, then the same command to its end."""
    what = draw.choice(("cam.v1", "run", "training", "preparing"))
    out = "killed"
    clean(out)
    body = {
        "training": world.training(out),
        "preparing": lambda: write_manifest(load_manifest(world.data), Path(out)),
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
    else:
        check(numbers(Path(out)) == world.values[what], f"{what}: other numbers")
    return f"killed: {what if what in ('training', 'preparing') else 'scoring'}"


# --- two at once --------------------------------------------------------------------------------------------


def pair(world: World, draw: random.Random) -> str:
    """Two commands started together into one folder."""
    out, kind = "pair", draw.choice(("two subjects", "one subject", "two resumes"))
    clean(out)
    if kind == "two resumes":
        bodies = [world.training(out), world.training(out)]
    else:
        bodies = [
            world.scoring("cam.v1", out),
            world.scoring("cam.v2" if kind == "two subjects" else "cam.v1", out),
        ]
    children = []
    for body in bodies:
        children.append(start(body, world.log))
        time.sleep(draw.uniform(0, 0.3) if draw.random() < 0.7 else 0)
    codes = [finish(child) for child in children]
    check(set(codes) <= {0, 2} and 0 in codes, f"{kind}: exit codes {codes}")
    check(not leftovers(out), f"{kind}: left {leftovers(out)}")
    if kind == "two resumes":
        check(world.same_weights(out), "other weights")
        return f"at once: {kind}"
    first = "cam.v1" if codes[0] == 0 else "cam.v2"
    if kind == "two subjects":
        check(codes.count(0) == 1, f"both subjects in one folder: {codes}")
    check(
        numbers(Path(out)) == world.values[first if kind == "two subjects" else "cam.v1"],
        f"{kind}: wrong numbers",
    )
    check(world.scored(first if kind == "two subjects" else "cam.v1", out) == numbers(Path(out)), "poisoned")
    return f"at once: {kind}"


# --- disturbed ----------------------------------------------------------------------------------------------


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


# --- damaged ------------------------------------------------------------------------------------------------


def readers(world: World) -> dict[str, tuple[Path, Callable[[], object]]]:
    """Every kind of kept file and how it is read, to something that can be compared."""
    scored, run = Path("alone-run"), Path("run")
    split = load_manifest(world.data).split("test")
    training = load_manifest(world.data).split("train-weaksup")
    root = str(load_manifest(world.data).root)
    pixels = pixel_file(training, root, 32, Path("pixels"))
    make_pixels(pixels, training, root, 32, workers=0)
    finish(start(lambda: train_half(world), world.log))  # ends with the signal's exit code
    checkpoint = sorted(Path("half/checkpoints").glob("step-*.safetensors"))[-1]

    def records() -> object:
        store = RecordStore.open(scored / "records" / "test")
        return [
            {k: v.tolist() for k, v in sorted(store.read(b)._arrays.items())}
            for b in range(store.index.num_blocks)
        ]

    def maps() -> object:
        store = StoredMaps.open(scored / "maps" / "test", split_hash(split), len(split))
        return [np.asarray(b.maps["resize"]).tolist() for b in store.batches(np.arange(len(split)))]

    def manifest() -> object:
        found = load_manifest(world.data)
        return found.hash(), found.classes

    def cached() -> object:
        found = PixelFile(pixels, len(training), 32)
        return [found[i].tolist() for i in range(len(training))]

    def weights() -> object:
        return {k: v.tolist() for k, v in load_classifier(run).state_dict().items()}

    def kept_checkpoint() -> object:
        shutil.rmtree("reading", ignore_errors=True)
        Path("reading").mkdir()
        shutil.copy(checkpoint, "reading")
        found = newest_checkpoint(Path("reading"), lambda text: None)
        return None if found is None else (found.position, {k: v.tolist() for k, v in found.tensors.items()})

    known = set(load_run(run).record)

    def record() -> object:
        return {k: v for k, v in load_run(run).record.items() if k in known}

    def log() -> object:
        shutil.copy(run / "log.jsonl", "log.copy")
        # its lines carry no checksum: what counts is that a resume is not stopped
        trim_log(Path("log.copy"), 3)
        return None

    return {
        "results.json": (scored / "results.json", lambda: numbers(scored)),
        "index.json": (scored / "records/test/index.json", records),
        "block of records": (scored / "records/test/block-000000.npz", records),
        "maps.json": (scored / "maps/test/maps.json", maps),
        "block of maps": (scored / "maps/test/block-000000.npz", maps),
        "run.yaml": (run / "run.yaml", record),
        "log.jsonl": (run / "log.jsonl", log),
        "model.safetensors": (run / "model.safetensors", weights),
        "checkpoint": (checkpoint, kept_checkpoint),
        "manifest.yaml": (world.data / "manifest.yaml", manifest),
        "rows (test.csv)": (world.data / "test.csv", manifest),
        "decoded images": (pixels, cached),
    }


def train_half(world: World) -> None:
    """A run that was stopped by a signal, with its checkpoints."""
    from wsol.training.loop import Trainer

    save = Trainer.save

    def stopped(trainer: Trainer) -> None:
        save(trainer)
        os.kill(os.getpid(), signal.SIGTERM)

    Trainer.save = stopped  # type: ignore[method-assign,assignment]
    world.training("half")()


def damaged(whole: bytes, draw: random.Random) -> bytes:
    """A flipped bit, a cut, bytes exchanged, or a digit or word changed."""
    out, at, how = bytearray(whole), draw.randrange(len(whole)), draw.randrange(8)
    if how < 4:
        out[at] ^= 1 << draw.randrange(8)
    elif how == 4:
        del out[at:]
    elif how == 5:
        del out[at : at + draw.randint(1, 9)]
    elif how == 6:
        digits = [i for i, b in enumerate(out) if 48 <= b <= 57]
        if digits:
            out[draw.choice(digits)] = draw.randrange(48, 58)
    else:
        out[at : at + 4] = draw.choice((b"null", b"1e99", b"true", b"-1  ", b"\0\0\0\0", b'"x" '))
    return bytes(out)


def edits(world: World, count: int, draw: random.Random, outcomes: Counter[tuple[str, str]]) -> None:
    """Damage kept files one by one, each read back through its door."""
    kinds = readers(world)
    truths = {name: repr(read()) for name, (_, read) in kinds.items()}  # as text: NaN is NaN
    for number in range(count):
        name = list(kinds)[number % len(kinds)]
        file, read = kinds[name]
        whole = file.read_bytes()
        file.write_bytes(damaged(whole, draw))
        try:
            found = repr(read())
            outcome = "same values"
            check(found == truths[name], f"{name}: other values, without a word (edit {number})")
        except (UserError, ValueError) as error:
            check(isinstance(error, UserError) or name == "decoded images", f"{name}: {error!r}")
            outcome = "one line"
        finally:
            file.write_bytes(whole)
        outcomes[(f"damaged: {name}", outcome)] += 1


# --- processes of one job -----------------------------------------------------------------------------------


def ranks(world: World, draw: random.Random) -> str:
    """Two or three processes; one is killed or holds another setting. Then one alone continues."""
    count, kind, out = draw.choice((2, 3)), draw.choice(("killed", "another setting")), "several"
    clean(out)
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port = place.getsockname()[1]
    odd = draw.randrange(count)
    batch = ("--batch-size", "6") if count == 3 else ()

    def body(rank: int) -> None:
        os.environ.update(
            RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(count), WSOL_SILENCE_SECONDS="10"
        )
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), WSOL_JOIN_SECONDS="20")
        torch.set_num_threads(1)
        world.training(out, *batch, *(("--lr", "0.5") if kind == "another setting" and rank == odd else ()))()

    children = [start(partial(body, rank), world.log) for rank in range(count)]
    if kind == "killed":
        time.sleep(draw.uniform(0, 2.0))
        os.kill(children[odd], signal.SIGKILL)
    codes = [finish(child) for child in children]
    expected = {0, 2, -signal.SIGKILL} if kind == "killed" else {2}
    check(set(codes) <= expected, f"{kind} of {count}: exit codes {codes}")
    if kind == "killed":
        world.run(world.training(out, *batch, "--accumulate", str(count)))
        check(not leftovers(out), f"left {leftovers(out)}")
    return f"one of several processes: {kind}"


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
        ("ranks", 20),
        ("seed", 0),
    ):
        parser.add_argument(f"--{name}", type=int, default=count)
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no case after so many minutes")
    options = parser.parse_args()
    torch.set_num_threads(1)
    draw, outcomes, began = random.Random(options.seed), Counter[tuple[str, str]](), time.monotonic()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        world = World(Path(folder))
        took: dict[str, float] = {}
        faults: list[tuple[int, Callable[[], str]]] = [
            (options.kills, lambda: killed(world, draw, took)),
            (options.pairs, lambda: pair(world, draw)),
            (options.disturbed, lambda: disturbed(world, draw)),
            (options.ranks, lambda: ranks(world, draw)),
        ]
        try:
            for count, fault in faults:
                for number in range(count):
                    if time.monotonic() - began > 60 * options.minutes:
                        break
                    outcomes[(fault(), "as wanted")] += 1
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
