"""Jobs through submitit, on this machine or on Slurm: started, given their share, ended with the command."""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from wsol.errors import UserError
from wsol.machine.share import ALL, Share, shares

_SECONDS_TO_SAVE = 60.0


class Engine:
    """Several jobs at a time, each on its share; a context that ends the local ones with the command.

    `cluster`: "local" or "slurm"; `parameters` are submitit's. Raises `UserError` where submitit is not installed.
    """

    def __init__(
        self, out: Path, cluster: str, workers: int, processes: int, parameters: Mapping[str, Any]
    ) -> None:
        try:
            import submitit  # optional: the extra `study`
        except ImportError as error:
            raise UserError(
                "several workers and Slurm need the package submitit: pip install 'wsol-eval[study]', or use "
                "--workers 1"
            ) from error
        self._pool = submitit.AutoExecutor(folder=str(out / "jobs"), cluster=cluster)
        self._pool.update_parameters(timeout_min=60 * 24, **parameters)
        self._local = cluster == "local"
        self._jobs: list[Any] = []
        self.shares = shares(workers, processes) if self._local else [ALL] * workers
        """What each job at a time may use. submitit hides every GPU from local jobs that do not ask for one; Slurm
        hands out its own."""

    def submit(self, work: Callable[..., Any], *arguments: Any, share: Share) -> Any:
        """Start `work(*arguments, share=share)`, a top-level function of plain values; submitit's job."""
        with ctrl_c_kept_from_children():
            job = self._pool.submit(work, *arguments, share=share)
        self._jobs.append(job)
        return job

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and issubclass(kind, KeyboardInterrupt) and self._local:
            self._end()
        self._jobs.clear()
        gc.collect()  # jobs refer to each other in circles: those left when Python ends print errors of their own

    def _end(self) -> None:
        """Ask every local job to save and end, and wait for it."""
        running = [job for job in self._jobs if not job.done()]
        for job in running:
            with suppress(ProcessLookupError):
                os.kill(int(job.job_id), signal.SIGTERM)  # a local job's id is its process's
        until = time.monotonic() + _SECONDS_TO_SAVE
        while time.monotonic() < until and not all(job.done() for job in running):
            time.sleep(0.1)


@contextmanager
def interrupted_by_sigterm() -> Iterator[None]:
    """SIGTERM raises KeyboardInterrupt, as Ctrl-C does; outside the main thread nothing changes."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def ctrl_c_kept_from_children() -> Iterator[None]:
    """Processes started now do not see the Ctrl-C that a terminal sends to all of its own: they are told one by one. A
    second signal would end a training before it has saved."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def slurm_parameters(given: Sequence[str]) -> dict[str, int | str]:
    """Parameters of Slurm jobs from NAME=VALUE."""
    found: dict[str, int | str] = {}
    for entry in given:
        name, equals, value = entry.partition("=")
        if not equals:
            raise UserError(f"--slurm: expected NAME=VALUE, got '{entry}'")
        found[name] = int(value) if value.isdigit() else value
    return found
