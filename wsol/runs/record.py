"""A run directory: what it holds, how it is written, and how it is opened again.

    run.yaml                the record: status, resolved config, classifier, dataset, seeds, versions, timings
    log.jsonl               one line an epoch
    model.safetensors       the weights: of the last epoch once finished, of the last checkpoint before
    checkpoints/            while unfinished: what `--resume` continues from (the newest and the one before)

The process that trains holds a lock on the directory (`wsol.files.lock`). Every file is replaced in one step, so that a
kill at any moment leaves a readable run. The record carries a checksum of itself (`wsol.files.seal`).
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from wsol.errors import UserError, unknown_name
from wsol.files.atomic_write import write_durably
from wsol.files.lock import is_locked
from wsol.files.seal import sealed, unsealed
from wsol.files.strict_yaml import dump_yaml, read_yaml
from wsol.files.typed import check_types
from wsol.methods import Method, method_from_dict
from wsol.models.spec import ClassifierSpec

SCHEMA = 1
RECORD = "run.yaml"
LOG = "log.jsonl"
WEIGHTS = "model.safetensors"
CHECKPOINTS = "checkpoints"
RUNS = Path("runs")
TRAIN_ONE = "train one with `python train_cutmix.py`"

_SHAPE = {
    "status": str,
    "config": dict,
    "config.method": str,
    "classifier": dict,
    "dataset.name": str,
    "dataset.manifest": str,
    "dataset.manifest_hash": str,
    "dataset.root": (str, None),
    "dataset.classes": [str],
}
_STATUSES = ("running", "interrupted", "finished")


@dataclass(frozen=True)
class Run:
    """A run directory and its record (the content of run.yaml, plain values only)."""

    dir: Path
    record: Mapping[str, Any]

    @property
    def status(self) -> str:
        """`running`, `killed`, `interrupted` or `finished`.

        A killed run cannot say so: its record stays at `running`, but nobody holds its directory any more.
        """
        written = str(self.record["status"])
        return "killed" if written == "running" and not is_locked(self.dir) else written

    @property
    def situation(self) -> str:
        """The status as words to put after "run X", with the way on."""
        status = self.status
        if status in ("finished", "running"):
            return f"is {status}"
        return f"was {status}; continue it with `{resume_command(self.dir)}`"

    @property
    def config(self) -> dict[str, Any]:
        """The resolved training config, every default filled in."""
        return dict(self.record["config"])

    @property
    def spec(self) -> ClassifierSpec:
        """What `build_classifier` needs to build this run's network."""
        return ClassifierSpec.from_dict(self.record["classifier"])

    @property
    def method(self) -> str:
        """The training method's name."""
        return str(self.record["config"]["method"])

    def make_method(self) -> Method:
        """The training method with its settings; `UserError` for one that is not registered here."""
        entry = self.record.get("method", self.record.get("regularizer"))  # the key's name until version 0.1
        if entry is None:
            entry = {"name": self.method}
        if not isinstance(entry, dict):
            raise UserError(f"{self.dir / RECORD}: 'method' is not as training writes it; expected a mapping")
        try:
            return method_from_dict(entry)
        except UserError as error:
            raise UserError(
                f"{self.dir / RECORD}: {error}; load it with the version, or the program, that trained it"
            ) from error

    @property
    def dataset(self) -> str:
        """Name of the dataset in its manifest."""
        return str(self.record["dataset"]["name"])

    @property
    def manifest_folder(self) -> str:
        """What `open_dataset` takes to find the manifest again: the name or folder that was trained on."""
        return str(self.record["dataset"]["manifest"])

    @property
    def data_root(self) -> str | None:
        """Where the images were read from."""
        root = self.record["dataset"]["root"]
        return None if root is None else str(root)

    @property
    def manifest_hash(self) -> str:
        """`Manifest.hash()` of the data trained on."""
        return str(self.record["dataset"]["manifest_hash"])

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes the network knows, by label; with `--classes N` the manifest's first N."""
        return tuple(str(c) for c in self.record["dataset"]["classes"])

    @property
    def weights(self) -> Path:
        """The file of the weights; it exists from the first checkpoint on."""
        return self.dir / WEIGHTS


# --- writing ------------------------------------------------------------------------------------------------


def next_free_dir(method: str, root: str | os.PathLike[str] = RUNS) -> Path:
    """Make and return `root/method-N` with the first free N; safe against other processes doing so."""
    root = Path(root)
    root.mkdir(parents=True, exist_ok=True)
    number = 0
    while True:
        candidate = root / f"{method}-{number}"
        try:
            candidate.mkdir()
        except FileExistsError:
            number += 1
        else:
            return candidate


def write_run(run: Run) -> Run:
    """Write the record with its checksum; returns the run for chaining."""
    write_durably(run.dir / RECORD, dump_yaml(sealed({"schema": SCHEMA, **run.record})))
    return run


def update_run(run: Run, **entries: Any) -> Run:
    """Write the record with top-level entries changed or added; returns the new run."""
    return write_run(replace(run, record={**run.record, **entries}))


def resume_command(folder: Path) -> str:
    """The line that continues a run."""
    return f"python train_cutmix.py --resume --out {shlex.quote(str(folder))}"


# --- reading ------------------------------------------------------------------------------------------------


def load_run(folder: str | os.PathLike[str]) -> Run:
    """Open a run directory. A missing, foreign, edited or unreadable record is a `UserError`."""
    folder = Path(folder)
    file = folder / RECORD
    try:
        record = read_yaml(file)
    except (FileNotFoundError, NotADirectoryError) as error:
        state = f"holds no {RECORD}" if folder.is_dir() else "is not a directory"
        raise UserError(
            f"'{folder}' is not a run: it {state}; pass a directory under {RUNS}/, or {TRAIN_ONE}"
        ) from error
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        found = record.get("schema") if isinstance(record, dict) else type(record).__name__
        raise UserError(f"{file}: expected a run record of schema {SCHEMA}, got {found!r:.60}")
    record = unsealed(
        record,
        str(file),
        "bring back the file that training wrote, or, to keep an edit, remove its line sha256",
        needed=False,
    )
    check_types(record, _SHAPE, str(file), "bring back the file that training wrote")
    if record["status"] not in _STATUSES:
        raise UserError(f"{file}: {unknown_name('status', record['status'], _STATUSES)}")
    del record["schema"]
    return Run(folder, record)
