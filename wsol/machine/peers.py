"""Processes of one job: found within a stated time, watched while they work, and held to the same settings.

Each process says every few seconds that it lives, and listens to the next one (by rank, in a ring). One that has not
been heard of for `WSOL_SILENCE_SECONDS` (60) was stopped, or its host is gone: its listener ends with one line, and
through the lost connections so do the others. A process that does not come within `WSOL_JOIN_SECONDS` (120) ends the
job before it begins.
"""

from __future__ import annotations

import contextlib
import faulthandler
import hashlib
import os
import socket
import sys
import threading
import time
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from torch import distributed

import wsol
from wsol.errors import EXIT_USER_ERROR, UserError

_BEAT_SECONDS = 2.0
_LEFT = b"left"
_STANDARD_ERROR = 2
_LAST_WORK_SECONDS = 0.2


def seconds_from_environment(name: str, default: int) -> int:
    """A limit in whole seconds; `UserError` where the variable holds anything else."""
    text = os.environ.get(name, str(default))
    if not text.isdigit() or not int(text):
        raise UserError(f"{name} must be a whole number of seconds, at least 1, got {text!r:.40}")
    return int(text)


def find_peers(rank: int, size: int) -> distributed.TCPStore:
    """The store that all processes of the job share; `UserError` naming those that did not come in time."""
    limit = seconds_from_environment("WSOL_JOIN_SECONDS", 120)
    host, port = os.environ.get("MASTER_ADDR", "127.0.0.1"), os.environ.get("MASTER_PORT", "29500")
    hosted = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    began = time.monotonic()
    if rank or hosted:
        _wait_for_first(host, port, limit)
    store = None
    # a first process that is stopped leaves calls of its store waiting without an end
    stuck = threading.Timer(limit + _BEAT_SECONDS, _end_process, [rank, size, _unanswered(host, port, limit)])
    stuck.daemon = True
    stuck.start()
    try:
        store = distributed.TCPStore(
            host,
            int(port),
            size,
            is_master=rank == 0 and not hosted,
            timeout=timedelta(seconds=limit),
            wait_for_workers=False,
            multi_tenant=True,
        )
        store.set(f"here/{rank}", "")
        missing = list(range(size))
        told = False
        while True:
            missing = [r for r in missing if not store.check([f"here/{r}"])]
            waited = time.monotonic() - began
            if not missing:
                return store
            if waited > limit:
                break
            if waited > 10 and not told and rank == 0:
                told = True
                sys.stderr.write(f"waiting for {_named(missing)} of {size} to join, {limit} s at most\n")
            time.sleep(0.05)
    except (RuntimeError, ValueError) as error:
        if store is not None:
            raise UserError("stopped because the first process ended; its own message says why") from error
        raise UserError(_unanswered(host, port, limit)) from error
    finally:
        stuck.cancel()
    raise UserError(
        f"{_named(missing)} did not join within {limit} s; look at their own messages, then start all {size} again "
        "(WSOL_JOIN_SECONDS sets another limit)"
    )


def _wait_for_first(host: str, port: str, limit: float) -> None:
    """Return when the first process listens; `UserError` where it does not in time. The store's own attempts end in a
    page of C++ frames."""
    end = time.monotonic() + limit
    while True:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
            return
        except (OSError, ValueError, OverflowError) as error:
            if time.monotonic() > end or not isinstance(error, OSError):
                raise UserError(_unanswered(host, port, limit)) from error
        time.sleep(0.05)


def _unanswered(host: str, port: str, limit: float) -> str:
    return (
        f"the first process of the job did not answer at {host}:{port} within {limit:g} s; look at its own message, "
        "and at MASTER_ADDR and MASTER_PORT"
    )


def _end_process(rank: int, size: int, why: str) -> None:
    """End now: the main thread waits inside a call that nothing else ends."""
    sys.stderr.write(f"error: process {rank} of {size}: {why}\n")
    sys.stderr.flush()
    os._exit(EXIT_USER_ERROR)


def _named(ranks: list[int]) -> str:
    return f"process{'es' if len(ranks) > 1 else ''} {', '.join(map(str, ranks[:8]))}"


class Watch:
    """Says that this process lives and listens to the next one, until `leave`.

    One thread talks to the store, another looks at the clock: where the store's own process was stopped, the first one
    waits without an end.
    """

    def __init__(self, store: distributed.TCPStore, rank: int, size: int) -> None:
        self._store: Any = store.clone() if hasattr(store, "clone") else store  # a connection of its own
        self._rank, self._size = rank, size
        self._limit = seconds_from_environment("WSOL_SILENCE_SECONDS", 60)
        self._heard = time.monotonic()
        self._end = threading.Event()
        self._talker = threading.Thread(target=self._talk, name="peers", daemon=True)
        for thread in (self._talker, threading.Thread(target=self._watch, name="silence", daemon=True)):
            thread.start()

    def leave(self) -> None:
        """Stop, and say so, so that nobody takes the silence for a death."""
        self._end.set()
        self._talker.join(self._limit)
        if not self._talker.is_alive():
            with contextlib.suppress(RuntimeError):  # the process that kept the store may be gone
                self._store.set(f"alive/{self._rank}", _LEFT.decode())

    def _talk(self) -> None:
        next_rank = (self._rank + 1) % self._size
        last, count = b"", 0
        while not self._end.wait(_BEAT_SECONDS):
            count += 1
            try:
                self._store.set(f"alive/{self._rank}", str(count))
                said = (
                    self._store.get(f"alive/{next_rank}")
                    if self._store.check([f"alive/{next_rank}"])
                    else b""
                )
            except RuntimeError:
                said = last
            if said != last or said == _LEFT:
                self._heard, last = time.monotonic(), said

    def _watch(self) -> None:
        while not self._end.wait(_BEAT_SECONDS):
            if time.monotonic() - self._heard > self._limit:
                next_rank = (self._rank + 1) % self._size
                _end_process(
                    self._rank,
                    self._size,
                    f"process {next_rank} has not been heard of for {self._limit} s (it was stopped, or its host is "
                    "gone); what was saved is whole, start all processes again to continue",
                )


def destroy_group() -> None:
    """Leave the process group; where that does not end within `WSOL_SILENCE_SECONDS`, the process does.

    Gloo's destructor waits, without giving Python's lock away, for a thread that may still want that lock to end its
    last work (seen twice with torch 2.6, on a busy machine), so that thread is given time first. Should it not be
    enough, no Python code runs any more: the clock is faulthandler's own, and says where it was.
    """
    time.sleep(_LAST_WORK_SECONDS)
    limit = seconds_from_environment("WSOL_SILENCE_SECONDS", 60)
    faulthandler.dump_traceback_later(limit, exit=True, file=_STANDARD_ERROR)
    try:
        distributed.destroy_process_group()
    finally:
        faulthandler.cancel_dump_traceback_later()


def agree(size: int, facts: Mapping[str, Any]) -> None:
    """Return when every process holds the same facts; `UserError` naming the first that differ, in every process.

    A collective call: all processes must make it. Inner mappings are compared entry by entry; values by their text.
    """
    if size == 1:
        return
    mine = _flat(facts)
    held: list[dict[str, str]] = [{} for _ in range(size)]
    distributed.all_gather_object(held, mine)
    for rank, theirs in enumerate(held):
        odd = [k for k in {**held[0], **theirs} if held[0].get(k) != theirs.get(k)]
        if odd:
            shown = ", ".join(
                f"{k} is {_short(theirs.get(k))} instead of {_short(held[0].get(k))}" for k in odd[:3]
            )
            more = f" and {len(odd) - 3} more" if len(odd) > 3 else ""
            raise UserError(
                f"process {rank} works with other settings or data than the first process: {shown}{more}; start all "
                "processes with the same command, dataset, weights and version"
            )


def _flat(facts: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in facts.items():
        if isinstance(value, Mapping):
            found.update(_flat(value, f"{prefix}{key}."))
        else:
            found[f"{prefix}{key}"] = repr(value)
    return found


def _short(text: str | None) -> str:
    return "absent" if text is None else text if len(text) <= 24 else f"{text[:21]}..."


def code_hash() -> str:
    """SHA-256 over the project's Python files, wherever they lie."""
    root = Path(wsol.__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for file in sorted(f for package in ("wsol", "eval") for f in (root / package).rglob("*.py")):
        digest.update(file.relative_to(root).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


def naming_the_process(rank: int, size: int, error: BaseException) -> UserError | None:
    """An error of one process of several as a line that says whose; one that only lost a peer says that, and not more.
    None where it is to be raised as it is."""
    if isinstance(error, UserError):
        text = str(error)
        named = text.startswith("process ") and " of " in text[:24]
        return None if named else UserError(f"process {rank} of {size}: {error}")
    if isinstance(error, RuntimeError) and any(sign in str(error) for sign in _PEER_GONE):
        return UserError(
            f"process {rank} of {size}: stopped because another process ended; its own message says why"
        )
    return None


# How gloo, NCCL and the store say that a process at the other end is gone.
_PEER_GONE = (
    *(
        "Connection closed by peer",
        "Connection reset by peer",
        "Broken pipe",
        "remote process exited",
        "Gloo",
    ),
    *("gloo", "NCCL", "Connection refused", "failed to recv", "failed to send", "sendBytes failed"),
)
