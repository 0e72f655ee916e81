"""Moments at which a process can be killed while it writes files, and a real SIGKILL at one of them."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from wsol.files.atomic_write import UNFINISHED

Happened = Callable[[str, Path], None]
"""Told what is happening to which file; for a half-written file the path it will have."""


def lay(happened: Happened) -> None:
    """Call `happened` before a write, in its middle, before the flush, before and after a rename, before and after a
    file is removed. In a child process only, since nothing is put back."""
    fsync, replace, unlink, path_open = os.fsync, Path.replace, Path.unlink, Path.open

    def counted_fsync(handle: int) -> None:
        happened("flush", Path())
        fsync(handle)

    def counted_replace(path: Path, target: Any) -> Path:
        happened("before rename", Path(target))
        result = replace(path, target)
        happened("renamed", Path(target))
        return result

    def counted_unlink(path: Path, missing_ok: bool = False) -> None:
        there = path.exists()
        if there:
            happened("before removal", path)
        unlink(path, missing_ok)
        if there:
            happened("removed", path)

    def counted_open(path: Path, mode: str = "r", *rest: Any, **named: Any) -> Any:
        stream = path_open(path, mode, *rest, **named)
        if path.name.endswith(UNFINISHED):
            stream.write = _halves(stream.write, stream.flush, happened, final_name(path))  # type: ignore
        return stream

    os.fsync = counted_fsync  # type: ignore[assignment]
    Path.replace = counted_replace  # type: ignore[method-assign,assignment]
    Path.unlink = counted_unlink  # type: ignore[method-assign,assignment]
    Path.open = counted_open  # type: ignore[method-assign,assignment]


def final_name(scratch: Path) -> Path:
    """`.NAME.RANDOM.unfinished` to `NAME`, in the same folder."""
    return scratch.with_name(scratch.name.removesuffix(UNFINISHED).rpartition(".")[0].removeprefix("."))


def _halves(
    write: Callable[[bytes], int], flush: Callable[[], None], happened: Happened, path: Path
) -> Callable[[bytes], int]:
    def halved(data: bytes) -> int:
        happened("begun", path)
        middle = len(data) // 2
        write(data[:middle])
        flush()
        happened("half written", path)
        return middle + write(data[middle:])

    return halved


class Fuse:
    """Kills the process by SIGKILL at the n-th of the moments that are counted, whichever threads they come from."""

    def __init__(self, moment: int) -> None:
        self.left = moment
        self._lock = threading.Lock()

    def burn(self) -> None:
        """Count a moment."""
        with self._lock:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def in_a_child(body: Callable[[], object]) -> int:
    """Run in a forked process; returns its exit code, or minus the signal that killed it."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            body()
            code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)
