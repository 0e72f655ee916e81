"""The state a run continues from: what it holds, where it lies, and which of the two kept files is used.

Each checkpoint is one checksummed file (`wsol.files.checked_safetensors`) that appears whole or not at all. The newest
and the one before are kept, so that a damaged newest one costs some minutes, not the run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch

from wsol.errors import UserError
from wsol.files.atomic_write import remove_unfinished
from wsol.files.checked_safetensors import DamagedFileError, load_tensors, save_tensors
from wsol.files.typed import check_types

SCHEMA = 1
KEPT = 2


@dataclass
class Position:
    """How far a run has come, and what it has measured on the way; the part of the state that is not tensors.

    `step` counts optimizer steps since the start; `epoch` (from 0) and `step_in_epoch` say the same. `sums` are the
    epoch's running totals: loss, correct share, images. `seconds` is the time spent training so far.
    """

    step: int = 0
    epoch: int = 0
    step_in_epoch: int = 0
    sums: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    seconds: float = 0.0
    epoch_seconds: float = 0.0
    best: dict[str, Any] | None = None


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read and found whole."""

    path: Path
    position: Position
    tensors: dict[str, torch.Tensor]
    values: dict[str, Any]

    def group(self, name: str) -> dict[str, torch.Tensor]:
        """The tensors of one group (`model`, `momentum`, `chance`: random states), without their group's name."""
        return {k.removeprefix(f"{name}/"): v for k, v in self.tensors.items() if k.startswith(f"{name}/")}


def write_checkpoint(
    folder: Path,
    position: Position,
    groups: Mapping[str, Mapping[str, torch.Tensor]],
    values: Mapping[str, Any],
) -> Path:
    """Write a checkpoint and remove all but the newest two. `values` are plain ones (JSON)."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{position.step:09d}.safetensors"
    tensors = {f"{group}/{name}": tensor for group, named in groups.items() for name, tensor in named.items()}
    save_tensors(path, tensors, {"schema": SCHEMA, "position": asdict(position), "values": dict(values)})
    for old in checkpoint_files(folder)[KEPT:]:
        old.unlink(missing_ok=True)
    return path


def checkpoint_files(folder: Path) -> list[Path]:
    """The checkpoints in a folder, newest first."""
    return sorted(folder.glob("step-*.safetensors"), reverse=True)


def newest_checkpoint(folder: Path, say: Callable[[str], None]) -> Checkpoint | None:
    """The newest whole checkpoint; None where there is none at all.

    A damaged one is passed over, with a line to `say`, and set aside under another name so that it never
    counts as one of the two that are kept. When every one is damaged, `UserError`.
    """
    remove_unfinished(folder)
    files = checkpoint_files(folder)
    for path in files:
        try:
            tensors, values = load_tensors(path)
            if values.get("schema") != SCHEMA:
                raise DamagedFileError(f"'{path}' is of schema {values.get('schema')!r}, expected {SCHEMA}")
            check_types(values, {"position": dict, "values": dict, "values.parts": int}, str(path), "")
            return Checkpoint(path, Position(**values["position"]), tensors, values["values"])
        except DamagedFileError as error:
            path.replace(path.with_suffix(".damaged"))
            say(
                f"{error}; it is set aside as {path.with_suffix('.damaged').name}, and the one before is used"
            )
    damaged = len(list(folder.glob("step-*.damaged")))  # set aside just now, or by an earlier --resume
    if damaged:
        raise UserError(
            f"all {damaged} checkpoints in '{folder}' are damaged; start again with another --out, or bring back "
            "a copy of one"
        )
    return None
