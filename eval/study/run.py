"""Bring every run of a study to its end, several at a time, on this machine or on a Slurm cluster."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from eval.study.design import StudyDataset
from eval.study.engine import Engine, ctrl_c_kept_from_children, interrupted_by_sigterm
from eval.study.jobs import Job
from wsol.datasets.catalog import manifests_folder
from wsol.errors import UserError
from wsol.machine.share import ALL, Share

_POLL_SECONDS = 1.0
_RAISED = "RuntimeError: "
"""How a traceback begins to say what `run_job` raises."""


def prepare_datasets(datasets: Mapping[str, StudyDataset], out: Path) -> None:
    """Make the manifests that a study describes and that are not there yet. `UserError` where that fails."""
    for name, dataset in datasets.items():
        folder = dataset.folder(name, out)
        if (folder / "manifest.yaml").is_file():
            continue
        if not dataset.prepare:
            raise UserError(
                f"dataset '{name}': no manifest at '{folder}', nor of that name in {manifests_folder()}/; prepare it "
                "with python -m wsol.prepare"
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
            code = _run(command, stream)
            if code:
                stream.flush()
                lines = Path(log).read_text(encoding="utf-8", errors="replace").strip().splitlines()
                last = lines[-1] if lines else "no output"
                raise RuntimeError(f"{' '.join(command)} ended with exit code {code}: {last} (log: {log})")


def _run(command: Sequence[str], stream: IO[bytes]) -> int:
    """Run a command and return its exit code; what interrupts this process ends the command too, after it has saved."""
    with interrupted_by_sigterm():
        with ctrl_c_kept_from_children():
            process = subprocess.Popen(command, stdout=stream, stderr=subprocess.STDOUT)
        try:
            return process.wait()
        except KeyboardInterrupt:
            process.terminate()
            process.wait()
            raise


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
    waiting = list(todo)
    active: list[tuple[Job, Any, Share]] = []
    failed: list[str] = []
    with Engine(out, cluster, workers, processes, slurm or {}) as engine:
        free = list(engine.shares)
        while waiting or active:
            while waiting and free:
                (job, commands), share = waiting.pop(0), free.pop(0)
                report(f"started {job.name}")
                active.append((job, engine.submit(run_job, commands, str(job.log), share=share), share))
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
    said = str(error).strip().splitlines()
    # submitit gives the whole traceback, and then where its own logs are
    raised = [line.removeprefix(_RAISED) for line in said if line.startswith(_RAISED)]
    line = f"{job.name}: {(raised or said)[-1]}"
    report(f"failed {line}")
    return line


def must_run(command: Sequence[str], what: str) -> None:
    """Run a command quietly; `UserError` with its last line of output where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise UserError(
            f"{what} failed: {lines[-1] if lines else 'no output'} (command: {' '.join(command)})"
        )
