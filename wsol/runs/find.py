"""The runs under a folder, and the one that a command means when none is named."""

from __future__ import annotations

import os
from pathlib import Path

from wsol.errors import UserError
from wsol.runs.record import RECORD, RUNS, TRAIN_ONE, Run, load_run
from wsol.wrapping import tell


def all_runs(root: str | os.PathLike[str] = RUNS) -> list[Run]:
    """Every readable run under a folder, the one started last first; none when the folder is missing.

    A run whose record cannot be read is left out, with a line on stderr."""
    found = []
    for file in Path(root).glob(f"*/{RECORD}"):
        try:
            found.append(load_run(file.parent))
        except UserError as error:
            tell(f"note: passed over: {error}")
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
    raise UserError(f"no runs under '{root}'; {TRAIN_ONE}")
