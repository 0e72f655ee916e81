"""Who writes in a folder: a lock on the folder itself, which no deleted file can lift.

The operating system frees it when the process ends, however it ends. File systems that lock no folders (NFS) get the
lock on a file `.lock` inside; where there are no locks at all (Windows), nothing is held and nothing refused.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wsol.errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"
_ATTEMPTS = 5
"""Tries to take a lock, 10 ms apart: perhaps somebody is only asking, in `is_locked`."""
_HELD: set[int] = set()
"""Descriptors of the locks of this process."""


class Taken(Exception):
    """Another process holds the lock."""


def take(path: Path, *, shared: bool = False) -> int | None:
    """Lock a file or folder without waiting; a descriptor for `let_go`, None where nothing can be locked.

    Raises `Taken` when another process holds it, FileNotFoundError when it is not there.
    """
    if fcntl is None:
        return None
    if path.is_dir():
        tries = [(path, os.O_RDONLY), (path / LOCK, os.O_RDWR | (0 if shared else os.O_CREAT))]
    else:
        tries = [(path, os.O_RDWR)]
    for place, flags in tries:
        try:
            handle = os.open(place, flags | os.O_CLOEXEC, 0o644)
        except FileNotFoundError:
            if place == path:
                raise
            return None
        except OSError:  # not ours to write
            continue
        try:
            fcntl.flock(handle, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(handle)
            raise Taken from error
        except OSError:  # a file system that does not lock this
            os.close(handle)
            continue
        _HELD.add(handle)
        return handle
    return None


def let_go(handle: int | None) -> None:
    """Free what `take` locked."""
    if handle is not None and handle in _HELD:
        _HELD.discard(handle)
        os.close(handle)


@contextmanager
def locked(folder: Path, doing: str) -> Iterator[None]:
    """Hold a folder for this process; a `UserError` when another process does.

    `doing` is what the holders of such a folder do ("training", "scoring").
    """
    handle = None
    for attempt in reversed(range(_ATTEMPTS)):
        try:
            handle = take(folder)
            break
        except Taken as error:
            if not attempt:
                raise UserError(
                    f"another process is {doing} in '{folder}'; wait for it, or choose another --out"
                ) from error
            time.sleep(0.01)
    try:
        yield
    finally:
        let_go(handle)


def is_locked(folder: Path) -> bool:
    """Whether a process holds a folder; True where the system cannot tell."""
    if fcntl is None:
        return True
    try:
        handle = take(folder, shared=True)
    except FileNotFoundError:
        return False
    except Taken:
        return True
    if handle is None:
        return (folder / LOCK).exists()
    let_go(handle)
    return False


def _let_go_after_fork() -> None:
    """In a forked process: its copy of a lock would outlive the holder, and image-reading workers live on for five
    seconds after their parent was killed."""
    for handle in tuple(_HELD):
        let_go(handle)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go_after_fork)
