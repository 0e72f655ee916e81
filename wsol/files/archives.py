"""Unpacking tar archives safely: nothing leaves the folder, no links, no devices, no bombs, all or
nothing."""

from __future__ import annotations

import bz2
import errno
import gzip
import io
import lzma
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

from wsol.errors import UserError
from wsol.files.atomic_write import scratch_folder
from wsol.files.regular import file_stamp, open_regular, read_text
from wsol.files.roots import safe_relative

TAR_ENDINGS = (".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz", ".tbz2", ".txz")
MAX_EXPANSION = 100
"""How many times its own size an archive may unpack to, beyond `FREE_BYTES`. Photographs hardly shrink."""
FREE_BYTES = 1 << 30
MAX_MEMBERS = 10_000_000
MAX_HEADER_BYTES = 1 << 20
"""Largest extended header or long name of a member."""
_EXTENDED = (
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
)
# Failures of the disk; any other while unpacking (a name used twice, too long, a file used as a folder) is the
# archive's.
_THE_DISKS = (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO)

Progress = Callable[[str, int, int], None]


class _Budget:
    """What is left of the bytes and members that one archive may unpack to."""

    def __init__(self, archive: Path, progress: Progress | None) -> None:
        self.archive = archive
        self.size = archive.stat().st_size
        self.left = FREE_BYTES + MAX_EXPANSION * self.size
        self.members = 0
        self.bytes = 0
        self._progress = progress

    def spend(self, count: int) -> None:
        self.members += 1
        self.bytes += count
        self.left -= count
        if count < 0 or self.left < 0 or self.members > MAX_MEMBERS:
            raise UserError(f"'{self.archive}' unpacks to far more than its size, like a bomb; refused")
        if self._progress is not None and self.members % 256 == 1:
            self._progress(f"unpacking {self.archive.name}", min(self.bytes, self.size), self.size)


def is_tar(path: Path) -> bool:
    """Whether a file's name says that it is a tar archive."""
    return path.name.lower().endswith(TAR_ENDINGS)


def unpack_tar(archive: Path, into: Path, *, nested: bool = False, progress: Progress | None = None) -> Path:
    """Unpack a tar archive into the folder `into`, which appears complete or not at all; returns it.

    A folder that this archive was unpacked into before is taken as it is. With `nested`, each `NAME.tar`
    inside becomes a folder NAME, without a temporary copy. Links, devices, and names that leave the folder
    are refused.
    """
    archive = archive.expanduser()
    if not archive.is_file():
        raise UserError(f"archive '{archive}' does not exist")
    marker = into / ".unpacked-from"
    size, changed = file_stamp(archive) or (0, 0)
    stamp = f"{archive.name} {size} {changed}\n"
    if into.exists():
        found = read_text(marker) if marker.is_file() else ""
        if found == stamp:
            return into
        if found.startswith(f"{archive.name} "):
            raise UserError(
                f"'{into}' was unpacked from another '{archive.name}' (its size or its time of change differs); remove "
                "that folder, or choose another --unpack-to"
            )
        if not into.is_dir() or any(into.iterdir()):
            raise UserError(
                f"'{into}' holds something else than '{archive.name}'; choose another --unpack-to"
            )
    with scratch_folder(into) as scratch:
        with open_regular(archive) as stream:
            _unpack_stream(
                cast(io.BufferedReader, stream), str(archive), scratch, nested, _Budget(archive, progress)
            )
        (scratch / marker.name).write_text(stamp, encoding="utf-8")
        if into.is_dir():
            into.rmdir()
        scratch.replace(into)
    return into


def _decompressed(stream: io.BufferedReader) -> IO[bytes]:
    """The stream, unpacked if its first bytes say that it is compressed; these readers check checksums and
    ends."""
    head = stream.peek(6)[:6]  # peeked, since a tar inside a tar cannot be wound back
    if head[:2] == b"\x1f\x8b":
        return cast(IO[bytes], gzip.GzipFile(fileobj=stream))
    if head[:3] == b"BZh":
        return cast(IO[bytes], bz2.BZ2File(stream))
    if head == b"\xfd7zXZ\0":
        return cast(IO[bytes], lzma.LZMAFile(stream))
    return stream


class _Entry(tarfile.TarInfo):
    """A header that is looked at before what it announces is read: tarfile reads long names and extended headers whole,
    and a header of a few bytes can announce gigabytes of them."""

    def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _EXTENDED and self.size > MAX_HEADER_BYTES:
            raise UserError(
                f"a header announces {self.size} bytes of names, more than the {MAX_HEADER_BYTES} that are read"
            )
        if self.type == tarfile.GNUTYPE_SPARSE:
            raise UserError("sparse files are not unpacked; pack it again without --sparse")
        return cast(tarfile.TarInfo, super()._proc_member(tar))  # type: ignore[misc]


_READS_AT_THE_END = 10  # a sound archive is asked once or twice


class _Tail:
    """A stream that remembers the last block that was read from it, and ends who reads on behind its end: tarfile
    passes over what a header announces block by block, whether or not there are any, and that can be 10**19 bytes."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._reads_left = _READS_AT_THE_END
        self.last = b""

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._reads_left -= not data
        if self._reads_left < 0:
            raise EOFError("it ends before what its headers announce")
        self.last = (self.last + data[-tarfile.BLOCKSIZE :])[-tarfile.BLOCKSIZE :]
        return data


def _unpack_stream(stream: io.BufferedReader, where: str, into: Path, nested: bool, budget: _Budget) -> None:
    try:
        tail = _Tail(_decompressed(stream))
        with tarfile.open(fileobj=cast(Any, tail), mode="r|", tarinfo=_Entry) as tar:
            for member in tar:
                cast(Any, tar).members = []  # else a million headers stay in memory
                _unpack_member(tar, member, where, into, nested, budget)
        # An archive cut between two files reads like a shorter one: only the empty block at its end tells.
        while block := tail.read(1 << 16):
            budget.spend(len(block))
        if tail.last != bytes(tarfile.BLOCKSIZE):
            raise UserError(f"'{where}' is cut short; download it again")
    except UserError as error:
        if where not in str(error):
            raise UserError(f"'{where}': {error}") from error
        raise
    except Exception as error:  # damaged archives make the decoders raise nearly anything
        if isinstance(error, OSError) and error.errno in _THE_DISKS:
            raise
        raise UserError(f"'{where}' is not a readable tar archive ({error}); download it again") from error


def _unpack_member(
    tar: tarfile.TarFile, member: tarfile.TarInfo, where: str, into: Path, nested: bool, budget: _Budget
) -> None:
    name = member.name.removeprefix("./").rstrip("/")
    if name in ("", "."):
        return
    if not safe_relative(name):
        raise UserError(f"'{where}' names a file outside its folder ({member.name!r}); refused")
    if member.issym() or member.islnk():
        raise UserError(f"'{where}' holds a link ({name!r}); refused")
    target = into / name
    if member.isdir():
        target.mkdir(parents=True, exist_ok=True)
        return
    if not member.isfile():
        raise UserError(f"'{where}' holds {name!r}, which is neither a file nor a folder; refused")
    source = tar.extractfile(member)
    if source is None:
        raise UserError(f"'{where}': {name!r} cannot be read; download it again")
    if nested and name.endswith(".tar"):
        _unpack_stream(
            cast(io.BufferedReader, source),
            f"{where}/{name}",
            into / name.removesuffix(".tar"),
            False,
            budget,
        )
        return
    budget.spend(member.size)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists():
        raise UserError(f"'{where}' holds {name!r} more than once; refused: it is unclear which one counts")
    with target.open("xb") as out:
        shutil.copyfileobj(source, out, 1 << 20)
    if target.stat().st_size != member.size:
        raise UserError(f"'{where}': {name!r} is cut short; download it again")
