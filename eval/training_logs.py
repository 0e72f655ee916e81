"""Further logs of a training, for programs in which people look at them: a CSV file, Weights & Biases."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from wsol.errors import UserError
from wsol.files.atomic_write import write_durably
from wsol.files.regular import read_bytes

if TYPE_CHECKING:
    from wsol.training.config import TrainConfig


class TrainingLog(Protocol):
    """A log that is told of every epoch."""

    def add(self, epoch: int, scalars: Mapping[str, float]) -> None:
        """Take an epoch's numbers; an epoch that comes again, after a kill, replaces what was there of it."""


class CsvLog:
    """`log.csv`: a line an epoch, a column a number; columns that begin later are blank before."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "log.csv"

    def add(self, epoch: int, scalars: Mapping[str, float]) -> None:
        rows = [row for row in self._rows() if row["epoch"].isdigit() and int(row["epoch"]) < epoch]
        numbers = {name: repr(value) for name, value in scalars.items() if name != "epoch"}
        rows.append({"epoch": str(epoch), **numbers})
        text = io.StringIO()
        writer = csv.DictWriter(
            text, list(dict.fromkeys(n for row in rows for n in row)), lineterminator="\n"
        )
        writer.writeheader()
        writer.writerows(rows)
        write_durably(self._file, text.getvalue())

    def _rows(self) -> list[dict[str, str]]:
        if not self._file.is_file():
            return []
        rows = csv.DictReader(io.StringIO(read_bytes(self._file).decode("utf-8", "replace")))
        return [{k: v or "" for k, v in row.items() if k} for row in rows if row.get("epoch")]


class WandbLog:
    """A run of Weights & Biases in the run's folder; a resumed training goes on in it."""

    def __init__(self, folder: Path, settings: Mapping[str, Any]) -> None:
        wandb = import_wandb()
        identity = f"{folder.resolve().parent.name}-{folder.name}"
        self._run = wandb.init(
            project="wsol-eval",
            name=folder.name,
            id=identity,
            dir=str(folder),
            config=dict(settings),
            resume="allow",
        )

    def add(self, epoch: int, scalars: Mapping[str, float]) -> None:
        self._run.log(dict(scalars), step=epoch)


def open_logs(config: TrainConfig, folder: Path) -> list[TrainingLog]:
    """The logs that `--log` names, in the run's folder."""
    logs: list[TrainingLog] = []
    if "csv" in config.log:
        logs.append(CsvLog(folder))
    if "wandb" in config.log:
        logs.append(WandbLog(folder, config.to_dict()))
    return logs


def import_wandb() -> Any:
    """The optional package, or a UserError that says how to get it."""
    try:
        import wandb
    except ImportError as error:
        raise UserError("--log wandb needs the package wandb: install the extra `wandb`") from error
    return wandb
