"""Files that this project wrote itself."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.anatomies import (
    mutate_npy,
    mutate_safetensors,
)
from benchmarks.doors.door import Door, Reader, in_zip, mutate_yaml, resealed, seeded
from benchmarks.mutations import (
    mutate_csv,
    mutate_json_lines,
)
from eval.maps.stored import StoredMaps
from eval.metrics.results_json import read_results
from eval.overview.table import print_overview
from eval.records.store import RecordStore
from tests.helpers.builders_eval import Planted, build_dataset, evaluated_run
from tests.helpers.dummy_network import TinyNet
from tests.helpers.evaluations import make_run
from wsol.files.checked_safetensors import load_tensors, save_tensors
from wsol.manifest import load_manifest, split_hash
from wsol.runs.record import load_run
from wsol.training.log import trim_log


def own_records(folder: Path) -> list[Door]:
    """Files that this project wrote itself, read as its commands read them; `folder` keeps what they lie beside."""
    manifest = build_dataset(folder / "data", test=24, fullsup=8, files=False)
    scored = evaluated_run(folder / "scored", manifest, Planted(), bootstrap=20) / "eval"
    make_run(folder / "run", folder / "data" / "manifest")
    records, maps = scored / "records" / "test", scored / "maps" / "test"
    split = manifest.split("test")

    def beside(original: Path, read: Callable[[Path], object]) -> Reader:
        """Reads a copy of the folder in which one file is the mutated one."""

        def reader(file: Path) -> object:
            there = file.parent / "there"
            shutil.copytree(original.parent, there)
            file.replace(there / original.name)
            return read(there)

        return reader

    def stored(there: Path) -> object:
        store = RecordStore.open(there)
        return [[block._arrays[name].shape for name in block._arrays] for block in store.blocks()]

    def kept(there: Path) -> object:
        store = StoredMaps.open(there, split_hash(split), len(split))
        return [len(batch.maps["resize"]) for batch in store.batches(np.arange(len(split)))]

    def run(there: Path) -> object:
        found = load_run(there)
        return (
            found.spec,
            found.make_method(),
            found.classes,
            found.manifest_folder,
            found.status,
            found.weights,
        )

    def log(there: Path) -> object:
        trim_log(there / "log.jsonl", 3)
        return None

    head = maps / "maps.json"
    lines = b"".join(
        json.dumps({"epoch": k, "train_loss": 1.5, "seconds": 2.0}).encode() + b"\n" for k in range(4)
    )
    (folder / "log").mkdir()
    (folder / "log" / "log.jsonl").write_bytes(lines)
    index, results, record = records / "index.json", scored / "results.json", folder / "run" / "run.yaml"
    block, rows = records / "block-000000.npz", folder / "data" / "manifest"
    listed = partial(mutate_yaml, seal=True)
    return [
        Door(
            "own: results.json",
            [results.read_bytes()],
            resealed,
            lambda f: read_results(f.rename(f.with_name("results.json"))),
            2,
        ),
        Door("own: results.json, listed", [results.read_bytes()], resealed, overview, 0.2),
        Door("own: index.json", [index.read_bytes()], resealed, beside(index, stored)),
        Door("own: maps.json", [head.read_bytes()], resealed, beside(head, kept)),
        Door("own: blocks", [block.read_bytes()], partial(in_zip, mutate_npy), beside(block, stored), 2),
        Door("own: run.yaml", [record.read_bytes()], listed, beside(record, run), 2),
        Door("own: log.jsonl", [lines], mutate_json_lines, beside(folder / "log" / "log.jsonl", log)),
        Door(
            "own: manifest.yaml",
            [(rows / "manifest.yaml").read_bytes()],
            listed,
            beside(rows / "manifest.yaml", load_manifest),
        ),
        Door(
            "own: manifest rows",
            [(rows / "test.csv").read_bytes()],
            mutate_csv,
            beside(rows / "test.csv", edited),
        ),
        Door(
            "own: weights",
            [seeded(lambda f: save_tensors(f, TinyNet().state_dict(), {"a": 1}))],
            mutate_safetensors,
            load_tensors,
            2,
        ),
    ]


def edited(there: Path) -> object:
    """A manifest whose rows may differ from its checksum, as `prepare --check` reads it."""
    return load_manifest(there, edited=True).hash()


def overview(file: Path) -> object:
    """The table of scored runs, without its text."""
    file.rename(file.with_name("results.json"))
    with contextlib.redirect_stdout(io.StringIO()):
        print_overview([file.parent])
    return None
