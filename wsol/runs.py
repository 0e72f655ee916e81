"""A run directory: what it holds, how it is written, and how it is found and opened again.

    run.yaml                the record: status, resolved config, classifier, dataset, seeds, versions, timings
    log.jsonl               one line an epoch
    model.safetensors       the weights: of the last epoch once finished, of the last checkpoint before
    checkpoints/            while unfinished: what `--resume` continues from (the newest and the one before)
    .lock                   held by the process that trains here, and by nobody once it has ended or was killed

Every file is replaced in one step, so that a kill at any moment leaves a readable run.
"""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import yaml

from wsol.errors import UserError
from wsol.files.atomic_write import write_durably
from wsol.files.checked_safetensors import load_tensors
from wsol.models import ClassifierSpec, build_classifier, load_state

if TYPE_CHECKING:
    import torch

    from wsol.models import Classifier

SCHEMA = 1
RECORD = "run.yaml"
LOG = "log.jsonl"
WEIGHTS = "model.safetensors"
CHECKPOINTS = "checkpoints"
LOCK = ".lock"
RUNS = Path("runs")

_ATTEMPTS = 5
"""Tries to take a lock, 10 ms apart."""

_TRAIN = "train one with `python train_cutmix.py`"
_NEEDED = ("status", "config", "classifier", "dataset")
_NEEDED_IN = {
    "config": ("method",),
    "classifier": (),
    "dataset": ("name", "manifest", "manifest_hash", "root", "classes"),
}


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
        return "killed" if written == "running" and not held(self.dir) else written

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
        """The regularizer's name."""
        return str(self.record["config"]["method"])

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
    """Write the record; returns the run for chaining."""
    text = yaml.safe_dump({"schema": SCHEMA, **run.record}, sort_keys=False, allow_unicode=True, width=110)
    write_durably(run.dir / RECORD, text)
    return run


def update_run(run: Run, **entries: Any) -> Run:
    """Write the record with top-level entries changed or added; returns the new run."""
    return write_run(replace(run, record={**run.record, **entries}))


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a run directory for this process; a `UserError` when another process trains in it.

    The operating system frees the lock when the process ends, however it ends.
    """
    try:
        import fcntl
    except ImportError:  # Windows: no lock
        yield
        return
    with (folder / LOCK).open("w") as stream:
        for attempt in reversed(range(_ATTEMPTS)):
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if not attempt:
                    raise UserError(
                        f"another process is training in '{folder}'; wait for it, or choose another --out"
                    ) from error
                time.sleep(0.01)  # perhaps somebody is only asking, in `held`
            except OSError:  # a file system without locks
                break
        _HELD.add(stream)
        try:
            yield
        finally:
            _HELD.discard(stream)


def held(folder: Path) -> bool:
    """Whether a process trains in a run directory; True where the system cannot tell."""
    try:
        import fcntl
    except ImportError:  # Windows: no lock
        return True
    try:
        with (folder / LOCK).open() as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:  # the lock is taken, or a file system without locks
        return True
    return False


_HELD: set[TextIO] = set()


def _let_go() -> None:
    """In a forked process: its copy of a lock would outlive the run, and image-reading workers live on for five
    seconds after their parent was killed."""
    for stream in _HELD:
        stream.close()
    _HELD.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


def resume_command(folder: Path) -> str:
    """The line that continues a run."""
    return f"python train_cutmix.py --resume --out {shlex.quote(str(folder))}"


# --- reading ------------------------------------------------------------------------------------------------


def load_run(folder: str | os.PathLike[str]) -> Run:
    """Open a run directory. A missing, foreign or unreadable record is a `UserError`."""
    folder = Path(folder)
    file = folder / RECORD
    try:
        record = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        state = f"holds no {RECORD}" if folder.is_dir() else "is not a directory"
        raise UserError(
            f"'{folder}' is not a run: it {state}; pass a directory under {RUNS}/, or {_TRAIN}"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise UserError(f"{file}: not readable as YAML: {' '.join(str(error).split())}") from error
    except RecursionError as error:
        raise UserError(f"{file}: not readable as YAML: nested too deeply") from error
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        found = record.get("schema") if isinstance(record, dict) else type(record).__name__
        raise UserError(f"{file}: expected a run record of schema {SCHEMA}, got {found!r}")
    missing = [key for key in _NEEDED if key not in record]
    if missing:
        raise UserError(f"{file}: entries {', '.join(missing)} are missing")
    for name, needed in _NEEDED_IN.items():
        entry = record[name]
        if not isinstance(entry, dict) or any(key not in entry for key in needed):
            raise UserError(
                f"{file}: '{name}' is not as training writes it; expected a mapping"
                + (f" with {', '.join(needed)}" if needed else "")
            )
    del record["schema"]
    return Run(folder, record)


def all_runs(root: str | os.PathLike[str] = RUNS) -> list[Run]:
    """Every readable run under a folder, the one started last first; none when the folder is missing."""
    found = []
    for file in Path(root).glob(f"*/{RECORD}"):
        try:
            found.append(load_run(file.parent))
        except UserError:
            continue
    return sorted(found, key=lambda run: (str(run.record.get("started", "")), run.dir.name), reverse=True)


def newest_run(root: str | os.PathLike[str] = RUNS) -> Path:
    """The directory of the finished run that started last; `UserError` when there is none."""
    runs = all_runs(root)
    for run in runs:
        if run.status == "finished" and run.weights.is_file():
            return run.dir
    if runs:
        raise UserError(
            f"no run under '{root}' is finished yet; the newest, '{runs[0].dir}', {runs[0].situation}"
        )
    raise UserError(f"no runs under '{root}'; {_TRAIN}")


def load_classifier(run: Run | str | os.PathLike[str], device: torch.device | str = "cpu") -> Classifier:
    """The trained network of a run, in evaluation mode, on a device.

    Missing or damaged weights, or weights of another network, are a `UserError`.
    """
    if not isinstance(run, Run):
        run = load_run(run)
    if not run.weights.is_file():
        raise UserError(f"run '{run.dir}' has no {WEIGHTS}; it {run.situation}")
    tensors, _ = load_tensors(run.weights)
    model = build_classifier(run.spec)
    load_state(model, tensors, str(run.weights), allow_new_head=False)
    return model.to(device).eval()


# --- provenance ---------------------------------------------------------------------------------------------


def software_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that decide numbers; those not installed are left out."""
    found = {"python": platform.python_version()}
    for name in ("wsol-eval", "torch", "torchvision", "timm", "numpy", "Pillow", "safetensors"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_state() -> dict[str, Any] | None:
    """Commit of this project's checkout and whether files differ from it; None outside a git checkout."""
    here = Path(__file__).resolve().parent.parent

    def ask(*arguments: str) -> str:
        command = ["git", "-C", str(here), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        if not (here / ".git").exists():
            return None
        return {
            "sha": ask("rev-parse", "HEAD"),
            "dirty": bool(ask("status", "--porcelain", "--untracked-files=no")),
        }
    except (OSError, subprocess.SubprocessError):
        return None


def command_line() -> list[str]:
    """The command as typed, without the interpreter."""
    return [Path(sys.argv[0]).name, *sys.argv[1:]]
