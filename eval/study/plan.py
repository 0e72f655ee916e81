"""What a study would take, from measured speed, and what difference it could detect, from measured spread."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from eval.comparison.planning import pilot_of
from eval.power.table import COMPARE, pilots
from eval.statistics.components import METHODS_FROM
from eval.statistics.planning import POWER, detectable
from eval.study.design import Design
from eval.study.jobs import Job
from eval.study.results import COMPARISONS
from eval.study.run import must_run
from eval.study.times import PILOT, seconds_of_epochs
from wsol.errors import UserError
from wsol.files.regular import read_text


@dataclass(frozen=True)
class Cost:
    """Seconds of one run of a (dataset, network): an epoch of training, and everything else with evaluation."""

    epoch: float
    rest: float


def cost_of(job: Job, out: Path) -> Cost:
    """Measure a (dataset, network): from a finished run, else from a pilot of one epoch and its evaluation.

    The pilot is kept in `out`/pilot and measured once.
    """
    pilot = replace(
        job,
        folder=out / PILOT / job.dataset / job.network / job.method,
        config=replace(job.config, epochs=1, warmup_epochs=0, decay_every=1),
    )
    timing = pilot.folder.with_name(f"{job.method}.seconds")
    if not timing.is_file():
        pilot.write_config()
        began = time.monotonic()
        for command in pilot.commands():
            must_run(command, f"the pilot of {job.dataset}/{job.network}")
        timing.write_text(f"{time.monotonic() - began:.2f}\n", encoding="utf-8")
    own, in_pilot = (seconds_of_epochs(folder) for folder in (job.folder, pilot.folder))
    return Cost(
        statistics.median_high(own or in_pilot or [0.0]),
        max(0.0, float(read_text(timing)) - sum(in_pilot)),
    )


def print_plan(design: Design, jobs: Sequence[Job], out: Path, *, workers: int) -> None:
    """A table of runs, state and time for each dataset and network, and the sum over `workers`."""
    console = Console(width=None if sys.stdout.isatty() else 100)
    table = Table(title=f"{design.name}: {len(jobs)} runs", box=box.SIMPLE, title_justify="left")
    for column in ("dataset", "network"):
        table.add_column(column, overflow="fold")
    for column in ("runs", "to do", "seconds\nan epoch", "minutes\na run", "hours\nleft"):
        table.add_column(column, justify="right", no_wrap=True)  # names give way, numbers do not
    left = 0.0
    cells = dict.fromkeys((j.dataset, j.network) for j in jobs)
    for dataset, network in cells:
        mine = [j for j in jobs if (j.dataset, j.network) == (dataset, network)]
        todo = [j for j in mine if j.state() != "scored"]
        cost = cost_of(mine[0], out)
        hours = sum(j.config.epochs * cost.epoch + cost.rest for j in todo) / 3600
        left += hours
        minutes = (mine[0].config.epochs * cost.epoch + cost.rest) / 60
        table.add_row(
            dataset,
            network,
            str(len(mine)),
            str(len(todo)),
            f"{cost.epoch:.1f}",
            f"{minutes:.1f}",
            f"{hours:.2f}",
        )
    console.print(table)
    console.print(
        f"left: {left:.1f} hours of work, {left / workers:.1f} hours with {workers} at a time (measured one at a time; "
        "jobs that share memory or a disk slow each other down)"
    )
    for dataset, network in cells:
        console.print(
            f"{dataset}, {network}: {_could_show(design, out / COMPARISONS / f'{dataset}-{network}')}"
        )


def _could_show(design: Design, comparison: Path) -> str:
    """The difference that the study could detect with its seeds, from a comparison that is there."""
    if not (comparison / COMPARE).is_file():
        return "what difference it could detect is known from two runs of each method on (eval.power)"
    try:
        plans = pilots(comparison / COMPARE)
    except UserError as error:
        return str(error)
    seeds = design.seeds if isinstance(design.seeds, int) else len(design.seeds)
    if seeds < METHODS_FROM:
        return f"{seeds} seeds a side give no verdict on methods"
    said = [
        f"{name}: {detectable(pilot_of(plan), seeds, int(plan['images'])):.1f} points"
        for name, plan in plans.items()
    ]
    images, protocol = next((int(p["images"]), p["protocol"]) for p in plans.values())
    return (
        f"{seeds} seeds a side on {images:,} images would find, with a power of {100 * POWER:.0f} % by {protocol}, "
        + "; ".join(said)
    )
