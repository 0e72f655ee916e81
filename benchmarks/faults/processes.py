"""Commands in forked processes: started, waited for within a limit, and nothing left running behind them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from wsol.errors import run_command

LIMIT_SECONDS = 120
HUNG = -999
_NEW_MOUNTS, _NEW_PROCESS_IDS = 0x00020000, 0x20000000
_started: list[int] = []


class Defect(Exception):
    """An outcome that must not be."""


def start(body: Callable[[], object], log: Path) -> int:
    """Run a body as a command in a forked process; returns its process id."""
    child = os.fork()
    if child:
        _started.append(child)
        return child
    code = 99
    try:
        os.setsid()
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        sys.stdout = os.fdopen(1, "w", closefd=False)
        sys.stderr = os.fdopen(2, "w", closefd=False)
        code = run_command(body)  # type: ignore[arg-type]
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stderr.flush()
        os._exit(code)


def finish(child: int, patience: float = LIMIT_SECONDS, kill: bool = False) -> int:
    """The exit code (minus the signal) of a process; after `patience` it is killed, and hung unless that was meant."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return -signal.SIGKILL if kill else HUNG


def check(good: bool, what: str) -> None:
    """Raises Defect, with `what` happened, where an outcome is not as wanted."""
    if not good:
        raise Defect(what)


def check_no_orphans() -> None:
    """Raises Defect where a process of a session that `start` began is still alive after 5 s."""
    sessions, end = set(_started), time.monotonic() + 5
    _started.clear()
    while alive := _in_sessions(sessions):
        check(time.monotonic() < end, f"left running: {alive}")
        time.sleep(0.02)


def _in_sessions(sessions: set[int]) -> list[str]:
    found = []
    for place in Path("/proc").iterdir():
        if place.name.isdigit():
            with contextlib.suppress(OSError):
                state, _, _, session = (place / "stat").read_text().rpartition(")")[2].split()[:4]
                if int(session) in sessions and state != "Z":
                    found.append((place / "cmdline").read_text().replace("\0", " "))
    return found


def descendants(process: int) -> list[int]:
    """Process ids of a process's children and theirs."""
    found = []
    for place in Path(f"/proc/{process}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, place.read_text().split()):
                found += [child, *descendants(child)]
    return found


def small_shared_memory(megabytes: int) -> None:
    """Give this process a /dev/shm of its own of that size. PermissionError where the system does not allow it."""
    _unshare(_NEW_MOUNTS)
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mount(b"none", b"/", None, 0x44000, None)  # MS_REC | MS_PRIVATE: other processes keep theirs
    if libc.mount(b"tmpfs", b"/dev/shm", b"tmpfs", 0, f"size={megabytes}m".encode()):
        raise PermissionError(ctypes.get_errno(), "mounting /dev/shm")


def in_a_container(body: Callable[[], object]) -> Callable[[], object]:
    """A body that runs as process 1 of a namespace of process ids, as in a container of its own. PermissionError where
    the system does not allow it."""

    def inside() -> None:
        _unshare(_NEW_PROCESS_IDS)
        child = os.fork()
        if not child:
            code = 99
            try:
                code = run_command(lambda: (body(), None)[1])
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))

    return inside


def _unshare(what: int) -> None:
    if ctypes.CDLL(None, use_errno=True).unshare(what):
        raise PermissionError(ctypes.get_errno(), "unshare")


def may_have_namespaces() -> bool:
    """Whether this system lets us make namespaces, as root's."""
    child = os.fork()
    if not child:
        try:
            small_shared_memory(1)
            _unshare(_NEW_PROCESS_IDS)
            os._exit(0)
        except OSError:
            os._exit(1)
    return os.waitpid(child, 0)[1] == 0
