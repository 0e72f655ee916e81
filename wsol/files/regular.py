"""The door for every file that is read: a regular one, of a stated size at most.

A named pipe would keep its reader waiting for ever, a device never ends; both are refused by a look at what was opened,
not at what the name was a moment before.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path
from typing import BinaryIO

from wsol.errors import UserError

MAX_FILE_BYTES = 1 << 30
"""Largest file read into memory as a whole."""
MAX_TEXT_BYTES = 256 << 20
"""Largest text of our own (records, results, settings) read into memory."""


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file for reading; `UserError` for a folder, pipe, socket or device. Other failures stay OSErrors."""
    handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0))
    try:
        mode = os.fstat(handle).st_mode
        if not stat.S_ISREG(mode):
            kind = "folder" if stat.S_ISDIR(mode) else "pipe" if stat.S_ISFIFO(mode) else "device or socket"
            raise UserError(f"'{os.fspath(path)}' is a {kind}, not a file; put a regular file in its place")
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def read_bytes(path: str | os.PathLike[str], limit: int = MAX_FILE_BYTES) -> bytes:
    """The whole content of a regular file; `UserError` for another kind or more than `limit` bytes."""
    with open_regular(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        data = stream.read(limit + 1) if size <= limit else b""
    if size > limit or len(data) > limit:
        raise UserError(f"'{os.fspath(path)}' holds {size} bytes, more than the {limit} that are read")
    return data


def read_text(path: str | os.PathLike[str], limit: int = MAX_TEXT_BYTES) -> str:
    """The whole content of a UTF-8 text; `UserError` where it is none. A byte-order mark is dropped."""
    data = read_bytes(path, limit)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UserError(
            f"{os.fspath(path)}:{line}: not UTF-8 text (byte {data[error.start]:#04x})"
        ) from error


def file_sha256(path: str | os.PathLike[str]) -> str:
    """SHA-256 over a regular file's bytes."""
    digest = hashlib.sha256()
    with open_regular(path) as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def file_stamp(path: str | os.PathLike[str]) -> tuple[int, int] | None:
    """(size in bytes, time of change in ns), which differ when a file was replaced; None where there is none."""
    try:
        found = Path(path).stat()
    except (OSError, ValueError):
        return None
    return found.st_size, found.st_mtime_ns
