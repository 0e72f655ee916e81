"""Conduct a study: datasets, runs, a comparison for each dataset and network, the pooled verdict, the page."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from eval.overview.table import print_overview
from eval.study.design import read_design
from eval.study.engine import interrupted_by_sigterm, slurm_parameters
from eval.study.jobs import jobs_of
from eval.study.measured import is_measured, require_measured
from eval.study.plan import print_plan
from eval.study.results import STUDY, write_results
from eval.study.run import prepare_datasets, run_jobs
from wsol.errors import UserError
from wsol.files.atomic_write import write_durably
from wsol.files.regular import read_text
from wsol.files.strict_json import read_json
from wsol.manifest import load_manifest

DESIGN = "design.yaml"


def conduct(
    file: Path,
    out: Path | None,
    *,
    plan: bool,
    workers: int,
    processes: int,
    cluster: str,
    slurm: Sequence[str],
    only: Sequence[str],
) -> None:
    """Bring a study to its end, print every run in a table a dataset and network, and the primary outcome; or say what
    that would take.

    The design is copied into the folder first; a folder that holds another design is refused, because the question was
    to be stated before the results. Raises `UserError` where a run fails, after all others were run.
    """
    for name, value in (("workers", workers), ("processes", processes)):
        if value < 1:
            raise UserError(f"--{name} must be at least 1, got {value}")
    design = read_design(file)
    unknown = sorted(set(only) - set(design.datasets))
    if unknown:
        raise UserError(
            f"--only: the study has no dataset '{unknown[0]}'; it has {', '.join(design.datasets)}"
        )
    out = out or Path("runs") / f"study-{design.name}"
    if not plan:
        require_design(file, out)
    prepare_datasets(design.datasets, out)
    if is_measured(design.primary):
        for name, dataset in design.datasets.items():
            require_measured(design.primary, load_manifest(dataset.folder(name, out)))
    jobs = [j for j in jobs_of(design, out) if not only or j.dataset in only]
    console = Console(stderr=True)
    if plan:
        print_plan(design, jobs, out, workers=workers)
        return
    keep_design(file, out)
    try:
        with interrupted_by_sigterm():
            failed = run_jobs(
                jobs,
                out,
                workers=workers,
                processes=processes,
                cluster=cluster,
                slurm=slurm_parameters(slurm),
                report=lambda text: console.print(text, highlight=False, markup=False, soft_wrap=True),
            )
    except KeyboardInterrupt:
        console.print("stopped; the same command continues where this one ended", highlight=False)
        raise
    if failed:
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        raise UserError(
            f"{len(failed)} of {len(jobs)} runs failed: {failed[0]}{more}; the same command tries again"
        )
    unfinished = [j.name for j in jobs if j.state() != "scored"]
    if unfinished:
        raise UserError(
            f"{len(unfinished)} runs are still running elsewhere, such as {unfinished[0]}; call again"
        )
    page = write_results(design, jobs, out)
    for cell in dict.fromkeys((j.dataset, j.network) for j in jobs):
        print_overview([j.folder for j in jobs if (j.dataset, j.network) == cell])
    for outcome in read_json(out / STUDY)["outcomes"]:
        if outcome["role"] == "primary":
            sys.stdout.write(f"{outcome['sentence']} Interval: {outcome['population']}.\n")
    sys.stdout.write(f"study: {page}\n")


def keep_design(file: Path, out: Path) -> None:
    """Copy the design into the study's folder, from which moment on it is fixed; `UserError` as `require_design`."""
    require_design(file, out)
    kept = out / DESIGN
    out.mkdir(parents=True, exist_ok=True)
    if not kept.is_file():
        write_durably(kept, read_text(file))


def require_design(file: Path, out: Path) -> None:
    """`UserError` where the folder holds the runs of another design."""
    kept = out / DESIGN
    if kept.is_file() and read_text(kept) != read_text(file):
        raise UserError(
            f"'{kept}' is the design that '{out}' was begun with, and '{file}' differs from it; give the changed "
            "design a folder of its own with --out (runs of equal recipe can be moved there)"
        )
