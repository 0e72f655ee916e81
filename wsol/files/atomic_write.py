"""Files and folders that are whole or absent: written beside their place, flushed to the disk, then renamed.

A reader, or a process that starts after a crash, sees the old content or the new one, never a mixture. What is being
written has a random name, and its writer holds a lock on it (`wsol.files.lock`): so processes of several containers or
hosts do not meet, and what a killed one left is known by nobody holding it.
"""

from __future__ import annotations

import glob
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from wsol.files.lock import Taken, let_go, take

UNFINISHED = ".unfinished"
_SURELY_LEFT_SECONDS = 24 * 3600
"""Where a file system has no locks: from this age on, what is half-written counts as left behind."""


def write_durably(
    path: str | os.PathLike[str],
    content: bytes | str | Callable[[BinaryIO], object],
    *,
    tidy: bool = True,
) -> Path:
    """Replace a file's content in one step and return its path.

    `content` is the bytes, the text (written as UTF-8), or a function that writes to an open binary stream.
    When anything fails (a full disk, say) the old file stays as it was, the half-written one is removed,
    and the error goes on to the caller. What killed processes left of the same file is removed first, which lists
    the folder; `tidy` is off where thousands of files go into one.
    """
    path = Path(path)
    if tidy:
        remove_unfinished(path.parent, _scratch_names(path))
    scratch, stream, lock = _begin(path)
    try:
        with stream:
            if callable(content):
                content(stream)
            else:
                stream.write(content.encode() if isinstance(content, str) else content)
            stream.flush()
            os.fsync(stream.fileno())
        scratch.replace(path)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise
    finally:
        let_go(lock)
    sync_folder(path.parent)
    return path


def _begin(path: Path) -> tuple[Path, BinaryIO, int | None]:
    """A new file beside `path`, open for writing and locked by this process."""
    while True:
        scratch = _scratch_name(path)
        stream = scratch.open("xb")
        try:
            lock = take(scratch)
            if scratch.exists():
                return scratch, stream, lock
            let_go(lock)
        except (Taken, FileNotFoundError):  # somebody who tidies up was quicker than our lock
            pass
        stream.close()


def _scratch_name(path: Path) -> Path:
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}{UNFINISHED}")


def _scratch_names(path: Path) -> str:
    """The pattern of every name that `_scratch_name` gives."""
    return f".{glob.escape(path.name)}.{'[0-9a-f]' * 16}{UNFINISHED}"


@contextmanager
def scratch_folder(place: Path) -> Iterator[Path]:
    """A new empty folder beside `place`, to be filled and renamed to it; removed on leaving where that was not done.

    What killed processes left of earlier ones is removed first.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    remove_unfinished(place.parent, _scratch_names(place))
    scratch = _scratch_name(place)
    scratch.mkdir()
    lock = None
    with suppress(Taken):
        lock = take(scratch)
    try:
        yield scratch
    finally:
        if scratch.is_dir():
            shutil.rmtree(scratch, ignore_errors=True)
        let_go(lock)


def sync_folder(folder: Path) -> None:
    """Flush a folder's list of names, so that a rename in it survives a power cut; nothing where
    unsupported.
    """
    try:
        handle = os.open(folder, os.O_RDONLY)
    except OSError:  # Windows opens no folders
        return
    try:
        os.fsync(handle)
    except OSError:  # some network file systems refuse
        pass
    finally:
        os.close(handle)


def remove_unfinished(folder: str | os.PathLike[str], pattern: str = f".*{UNFINISHED}") -> int:
    """Remove what killed processes left half-written in a folder; what a process still writes stays.

    Returns how many files and folders were removed; a missing folder has none.
    """
    removed = 0
    for leftover in Path(folder).glob(pattern):
        try:
            lock = take(leftover)
        except (Taken, FileNotFoundError):
            continue
        try:
            if lock is None and not _old(leftover):
                continue
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                with suppress(PermissionError):  # Windows: still open
                    leftover.unlink(missing_ok=True)
            removed += 1
        finally:
            let_go(lock)
    return removed


def _old(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime > _SURELY_LEFT_SECONDS
    except OSError:
        return False
