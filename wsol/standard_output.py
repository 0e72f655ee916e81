"""Standard output that cannot be written (a closed pipe, a full disk, none at all) ends no work."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any


class _Forgiving(io.RawIOBase):
    """Writes to a file until that fails, and then nowhere."""

    def __init__(self, raw: io.FileIO, owner: io.TextIOWrapper) -> None:
        self._raw = raw
        self._owner = owner  # else it would close the file
        self.failure: OSError | None = None

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._raw.fileno()

    def isatty(self) -> bool:
        return self._raw.isatty()

    def write(self, data: Any) -> int:
        if self.failure is None:
            try:
                return self._raw.write(data) or 0
            except OSError as error:
                self.failure = error
        return len(memoryview(data))


def forgive_standard_output() -> None:
    """From now on, what cannot be written to standard output is dropped; `lost_output` says why."""
    if sys.stdout is None:  # closed by whoever started the command
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123, SIM115
    stream = sys.stdout
    buffer = getattr(stream, "buffer", None)
    raw = getattr(buffer, "raw", buffer)  # PYTHONUNBUFFERED leaves the buffer out
    if isinstance(raw, io.FileIO) and isinstance(stream, io.TextIOWrapper):
        stream.flush()
        sys.stdout = io.TextIOWrapper(
            io.BufferedWriter(_Forgiving(raw, stream)),
            encoding=stream.encoding,
            errors=stream.errors,
            line_buffering=stream.line_buffering or raw is buffer,
        )


def lost_output() -> str | None:
    """Why output was dropped, in words; None where it was not, or its reader only had enough (`| head -1`)."""
    stream = sys.stdout
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    if not isinstance(raw, _Forgiving):
        return None
    stream.flush()
    if raw.failure is None or raw.failure.errno == errno.EPIPE:
        return None
    return raw.failure.strerror or str(raw.failure)
