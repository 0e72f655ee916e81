"""Arrays from files: what a header announces is compared with a limit and with the file before anything is allocated.

Pickles are never read. Our own blocks of arrays (`SealedArrays`) say what made them and hold the checksums of all their
members, so that one that vanished, or a block of other maps, is noticed.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from wsol.errors import UserError
from wsol.files.regular import open_regular

if TYPE_CHECKING:
    import numpy.typing as npt

MAX_ARRAY_BYTES = 1 << 27
"""Largest array read from somebody's file: 134 MB, a map of 5,792 x 5,792 float32."""
MAX_BLOCK_ARRAY_BYTES = 1 << 31
"""Largest array of a block of our own."""
DAMAGE = (
    *(OSError, ValueError, KeyError, EOFError, SyntaxError, MemoryError, RuntimeError),
    *(TypeError, OverflowError, zipfile.BadZipFile, zlib.error, NotImplementedError),
)
"""What numpy, zipfile and HDF5 raise on damaged files."""
_SEAL = "seal.json"


def read_array(stream: IO[bytes], limit: int = MAX_ARRAY_BYTES) -> npt.NDArray[Any]:
    """The array of an .npy stream; ValueError where it is none, holds objects, or announces more than `limit` bytes."""
    version = np.lib.format.read_magic(stream)
    header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}.get(
        version
    )
    if header is None:
        raise ValueError(f"version {version} of the .npy format")
    shape, fortran, dtype = header(stream)  # reads 10,000 bytes at most
    if dtype.hasobject or dtype.itemsize == 0:
        raise ValueError(f"holds {dtype}, not numbers")
    size = require_size(shape, dtype.itemsize, limit)
    data = stream.read(size)
    if len(data) != size:
        raise ValueError(f"cut short: {len(data)} of {size} bytes")
    array = np.frombuffer(data, dtype)
    return array.reshape(shape[::-1]).T if fortran else array.reshape(shape)


def require_size(shape: tuple[int, ...], itemsize: int, limit: int = MAX_ARRAY_BYTES) -> int:
    """The bytes of an array; ValueError where they are more than `limit`."""
    size = math.prod(int(side) for side in shape) * itemsize
    if size < 0 or size > limit or any(side < 0 for side in shape):
        raise ValueError(f"announces an array of {'x'.join(map(str, shape))}, more than {limit} bytes")
    return size


class NpzArrays(Mapping[str, "npt.NDArray[Any]"]):
    """The arrays of an .npz by name, each read when it is asked for. Raises one of `DAMAGE` where it cannot be."""

    def __init__(self, path: Path, limit: int = MAX_ARRAY_BYTES) -> None:
        self._archive = zipfile.ZipFile(open_regular(path))
        self._limit = limit
        self._members = {n.removesuffix(".npy"): n for n in self._archive.namelist() if n.endswith(".npy")}

    def close(self) -> None:
        """Close the file."""
        stream = self._archive.fp
        self._archive.close()
        if stream is not None:
            stream.close()

    def __getitem__(self, name: str) -> npt.NDArray[Any]:
        with self._archive.open(self._members[name]) as stream:
            array = read_array(stream, self._limit)
            stream.read(1)  # at the end the member's checksum is compared
            return array

    def __contains__(self, name: object) -> bool:
        return name in self._members

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)


def sealed_bytes(arrays: Mapping[str, npt.NDArray[Any]], made_by: str) -> bytes:
    """Arrays as a compressed .npz that says what made them; level 1, since the arrays are piecewise constant and higher
    levels gain little."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy")
            entry.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(entry, "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, np.ascontiguousarray(array), allow_pickle=False)
        archive.writestr(zipfile.ZipInfo(_SEAL), _seal_of(archive, made_by))
    return buffer.getvalue()


def _seal_of(archive: zipfile.ZipFile, made_by: str) -> str:
    members = {i.filename: [i.CRC, i.file_size] for i in archive.infolist() if i.filename != _SEAL}
    return json.dumps({"made_by": made_by, "members": members}, sort_keys=True)


class SealedArrays(NpzArrays):
    """A block that `sealed_bytes` wrote. ValueError where its members are not those, or something else made it."""

    def __init__(self, path: Path, made_by: str) -> None:
        super().__init__(path, MAX_BLOCK_ARRAY_BYTES)
        try:
            if self._archive.getinfo(_SEAL).file_size > 1 << 20:
                raise ValueError("its list of members is too long")
            if self._archive.read(_SEAL).decode() != _seal_of(self._archive, made_by):
                raise ValueError("it was changed, or belongs to another evaluation")
        except BaseException:
            self.close()
            raise

    def whole(self) -> bool:
        """Whether every byte passes its checksum."""
        return self._archive.testzip() is None


def intact(path: Path, made_by: str) -> bool:
    """Whether a block is there, made by `made_by`, and every byte of it passes its checksum."""
    try:
        with closing(SealedArrays(path, made_by)) as block:
            return block.whole()
    except (*DAMAGE, UserError):
        return False
