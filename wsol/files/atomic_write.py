"""Files that are whole or absent: written beside their place, flushed to the disk, then renamed.

A reader, or a process that starts after a crash, sees the old content or the new one, never a mixture.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

UNFINISHED = ".unfinished"


def write_durably(path: str | os.PathLike[str], content: bytes | str | Callable[[BinaryIO], object]) -> Path:
    """Replace a file's content in one step and return its path.

    `content` is the bytes, the text (written as UTF-8), or a function that writes to an open binary stream.
    When anything fails (a full disk, say) the old file stays as it was, the half-written one is removed,
    and the error goes on to the caller.
    """
    path = Path(path)
    scratch = path.with_name(f".{path.name}.{os.getpid()}{UNFINISHED}")
    try:
        with scratch.open("wb") as stream:
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
    sync_folder(path.parent)
    return path


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


def _writer_runs(scratch: Path) -> bool:
    """Whether the process whose number a half-written file carries is alive on this host."""
    number = scratch.name.removesuffix(UNFINISHED).rpartition(".")[2]
    if not number.isdigit() or os.name == "nt":  # on Windows signal 0 would end the process
        return False
    try:
        os.kill(int(number), 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # somebody else's process of that number
        return True
    return True


def remove_unfinished(folder: str | os.PathLike[str]) -> int:
    """Remove what killed processes left half-written in a folder; files of processes that still run stay.

    On a folder that several hosts share, call it only while no other host writes there. Returns how many files were
    removed; a missing folder has none.
    """
    leftovers = [file for file in Path(folder).glob(f".*{UNFINISHED}") if not _writer_runs(file)]
    for leftover in leftovers:
        leftover.unlink(missing_ok=True)
    return len(leftovers)
