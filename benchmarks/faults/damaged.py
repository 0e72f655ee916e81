"""Every kind of kept file, damaged and read back through its door."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.faults.processes import check, finish, start
from benchmarks.faults.world import World, numbers
from eval.maps.stored import StoredMaps
from eval.records.store import RecordStore
from wsol.errors import UserError
from wsol.manifest import load_manifest, split_hash
from wsol.runs.network import load_classifier
from wsol.runs.record import load_run
from wsol.training.checkpoint import newest_checkpoint
from wsol.training.log import trim_log
from wsol.training.loop import Trainer
from wsol.training.pixels import PixelFile, make_pixels, pixel_file


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
