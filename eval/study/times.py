"""How long runs take: as planned from a pilot, and as it was."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eval.study.jobs import Job
from wsol.files.regular import read_text
from wsol.files.strict_json import load_json
from wsol.runs.record import LOG

PILOT = "pilot"


def seconds_of_epochs(folder: Path) -> list[float]:
    """The seconds of a run's logged epochs; empty where it has none."""
    file = folder / LOG
    lines = read_text(file).splitlines() if file.is_file() else []
    return [float(load_json(line, str(file))["seconds"]) for line in lines if line]


def times(jobs: Sequence[Job], out: Path) -> list[dict[str, Any]]:
    """For each dataset and network: its runs, the minutes of training that the pilot of `--plan` promised for one (None
    where there was none), and the median of what they took."""
    found = []
    for dataset, network in dict.fromkeys((j.dataset, j.network) for j in jobs):
        mine = [j for j in jobs if (j.dataset, j.network) == (dataset, network)]
        piloted = seconds_of_epochs(out / PILOT / dataset / network / mine[0].method)
        found.append(
            {
                "dataset": dataset,
                "network": network,
                "runs": len(mine),
                "planned_minutes": statistics.median(piloted) * mine[0].config.epochs / 60
                if piloted
                else None,
                "minutes": statistics.median(sum(seconds_of_epochs(j.folder)) / 60 for j in mine),
            }
        )
    return found
