"""Bring every run of a study to its end, several at a time, on this machine or on a Slurm cluster."""

from __future__ import annotations

import gc
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from eval.study.design import StudyDataset
from eval.study.jobs import Job
from wsol.errors import UserError
from wsol.machine.share import ALL, Share, shares

_POLL_SECONDS = 1.0


def prepare_datasets(datasets: Mapping[str, StudyDataset], out: Path) -> None:
    """Make the manifests that a study describes and that are not there yet. `UserError` where that fails."""
    for name, dataset in datasets.items():
        folder = dataset.folder(name, out)
        if (folder / "manifest.yaml").is_file():
            continue
        if not dataset.prepare:
            raise UserError(
                f"dataset '{name}': no manifest at '{folder}'; prepare it with python -m wsol.prepare"
            )
        must_run(
            [sys.executable, "-m", "wsol.prepare", *dataset.prepare, "--out", str(folder)],
            f"preparing dataset '{name}'",
        )


def run_job(commands: Sequence[Sequence[str]], log: str, share: Share = ALL) -> None:
    """Run a job's commands one after the other, on its share of the machine; their output goes to the file `log`.

    A top-level function of plain values, so that a job engine can send it to another process or host. Raises
    RuntimeError with the command and the log's last line where a command fails.
    """
    share.take()
    Path(log).parent.mkdir(parents=True, exist_ok=True)
    with Path(log).open("ab") as stream:
        for command in commands:
            done = subprocess.run(command, stdout=stream, stderr=subprocess.STDOUT, check=False)
            if done.returncode:
                stream.flush()
                lines = Path(log).read_text(encoding="utf-8", errors="replace").strip().splitlines()
                last = lines[-1] if lines else "no output"
                raise RuntimeError(
                    f"{' '.join(command)} ended with exit code {done.returncode}: {last} (log: {log})"
                )


def run_jobs(
    jobs: Sequence[Job],
    out: Path,
    *,
    workers: int,
    processes: int,
    cluster: str,
    slurm: dict[str, Any] | None = None,
    report: Callable[[str], None],
) -> list[str]:
    """Run what is missing, at most `workers` jobs at a time, each in `processes`; on this machine each has its share of
    the cores and GPUs. Returns one line for each job that failed.

    `cluster`: "local" runs processes on this machine, "slurm" submits jobs (both through submitit, which must be
    installed for more than one worker); `slurm` holds submitit's further parameters. A failed job does not stop the
    others. Killed runs are continued by the next call.
    """
    todo = [(job, job.commands(processes)) for job in jobs]
    todo = [(job, commands) for job, commands in todo if commands and job.state() != "running"]
    for job, _ in todo:
        job.write_config()
    if cluster == "local" and workers == 1:
        return _one_by_one(todo, out, report)
    pool = executor(out, cluster, slurm or {})
    waiting = list(todo)
    free = job_shares(workers, processes, cluster)
    active: list[tuple[Job, Any, Share]] = []
    failed: list[str] = []
    while waiting or active:
        while waiting and free:
            (job, commands), share = waiting.pop(0), free.pop(0)
            report(f"started {job.name}")
            active.append((job, pool.submit(run_job, commands, str(job.log), share), share))
        for job, submitted, share in [entry for entry in active if entry[1].done()]:
            active.remove((job, submitted, share))
            free.append(share)
            trouble = submitted.exception()
            if trouble is not None:
                failed.append(_failure(job, trouble, report))
            else:
                report(f"finished {job.name} ({len(waiting)} waiting, {len(active)} running)")
        if active:
            time.sleep(_POLL_SECONDS)
    return failed


def job_shares(workers: int, processes: int, cluster: str) -> list[Share]:
    """What each of several jobs at a time may use. submitit hides every GPU from local jobs that do not ask for one;
    Slurm hands out its own.
    """
    return shares(workers, processes) if cluster == "local" else [ALL] * workers


def _one_by_one(
    todo: Sequence[tuple[Job, list[list[str]]]], out: Path, report: Callable[[str], None]
) -> list[str]:
    failed = []
    for number, (job, commands) in enumerate(todo, 1):
        report(f"{number}/{len(todo)} {job.name}")
        try:
            run_job(commands, str(job.log))
        except RuntimeError as error:
            failed.append(_failure(job, error, report))
    return failed


def _failure(job: Job, error: BaseException, report: Callable[[str], None]) -> str:
    line = f"{job.name}: {str(error).strip().splitlines()[-1]}"
    report(f"failed {line}")
    return line


def executor(out: Path, cluster: str, parameters: Mapping[str, Any]) -> Any:
    """submitit's executor of jobs on this machine ("local") or on Slurm; `UserError` where it is not installed."""
    try:
        import submitit  # optional: the extra `study`
    except ImportError as error:
        raise UserError(
            "several workers and Slurm need the package submitit: pip install 'wsol-eval[study]', or use --workers 1"
        ) from error
    found = submitit.AutoExecutor(folder=str(out / "jobs"), cluster=cluster)
    found.update_parameters(timeout_min=60 * 24, **parameters)
    return found


def forget_jobs() -> None:
    """Delete submitit's jobs that are done: they refer to each other in circles, and what is left of them when Python
    ends prints errors of its own."""
    gc.collect()


def must_run(command: Sequence[str], what: str) -> None:
    """Run a command quietly; `UserError` with its last line of output where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise UserError(
            f"{what} failed: {lines[-1] if lines else 'no output'} (command: {' '.join(command)})"
        )
