"""Decoded, resized images of a split in one file, kept from run to run.

On two cores, processes that decode compete with the network; after the first run nothing is left to decode.
The file's name is a digest of the rows, the side, and the place, size and time of change of every image, so that other
data never meets old pixels. Each image's checksum lies behind the pixels and is compared when the image is first used:

    uint8 [N, side, side, 3], uint32 [N] (CRC-32 of each image), 32 bytes (SHA-256 of the name and the checksums)
"""

from __future__ import annotations

import hashlib
import threading
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from wsol.errors import UserError
from wsol.files.atomic_write import remove_unfinished, write_durably
from wsol.files.regular import open_regular
from wsol.loading import ImageReader, images_state, ordered_map
from wsol.manifest import split_hash
from wsol.models.pixels import Interpolation
from wsol.views import resize_rgb

if TYPE_CHECKING:
    import numpy.typing as npt

    from wsol.manifest import Split

CACHE = Path("data") / "cache"
AUTO_LIMIT_BYTES = 2 << 30
_CHUNK = 64  # images decoded per piece of work


def pixel_bytes(images: int, side: int) -> int:
    """Size of the pixels of a split."""
    return images * side * side * 3


def pixel_file(
    split: Split, root: str, side: int, folder: Path = CACHE, interpolation: Interpolation = "bilinear"
) -> Path:
    """Where the pixels of a split are kept. An image that was replaced gives another name."""
    recipe = f"pillow-{interpolation}-2 {split_hash(split)} {Path(root).resolve()} {side}"
    digest = hashlib.sha256(recipe.encode())
    digest.update(images_state(split, root).encode())
    return folder / f"{digest.hexdigest()[:20]}-{side}.pixels"


class PixelFile:
    """The decoded images [side, side, 3] of a split, read one by one as they are asked for.

    Read, not mapped: a mapped file that somebody cuts would end the process without a word. Raises ValueError where the
    file is not whole or not of this split.
    """

    def __init__(self, file: Path, images: int, side: int) -> None:
        self.file = file
        self._images = images
        self._shape = (side, side, 3)
        self._size = side * side * 3
        self._stream = open_regular(file)
        self._lock = threading.Lock()
        self._seen = np.zeros(images, bool)
        place = images * self._size
        self._stream.seek(place)
        tail = self._stream.read(4 * images + 33)
        self._checksums = np.frombuffer(tail[: 4 * images], np.uint32) if len(tail) >= 4 * images else None
        if self._checksums is None or tail[4 * images :] != _seal(file.name, self._checksums):
            self._stream.close()
            raise ValueError(f"'{file}' is not whole")

    def __len__(self) -> int:
        return self._images

    def __getitem__(self, row: int) -> npt.NDArray[np.uint8]:
        """The image at a row; `UserError` where the file was cut or changed since it was written."""
        image = np.empty(self._shape, np.uint8)
        with self._lock:
            self._stream.seek(int(row) * self._size)
            count = self._stream.readinto(image.data.cast("B"))  # type: ignore[attr-defined]
        assert self._checksums is not None
        if count != self._size or (not self._seen[row] and zlib.crc32(image.data) != self._checksums[row]):
            raise UserError(
                f"the decoded images in '{self.file}' were cut or changed since they were written (row {row}); delete "
                "that file and start the command again"
            )
        self._seen[row] = True
        return image


def _seal(name: str, checksums: npt.NDArray[np.uint32]) -> bytes:
    return hashlib.sha256(name.encode() + checksums.tobytes()).digest()


def make_pixels(
    file: Path,
    split: Split,
    root: str,
    side: int,
    *,
    workers: int,
    interpolation: Interpolation = "bilinear",
    progress: Callable[[int], None] | None = None,
) -> None:
    """Decode a whole split into a file; `progress` is told how many images are done.

    The file appears when it is complete. A missing or corrupt image, or one that was replaced meanwhile, is a
    `UserError`, a full disk an `OSError`.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    remove_unfinished(file.parent)
    chunks = [range(i, min(i + _CHUNK, len(split))) for i in range(0, len(split), _CHUNK)]
    job = Decode(ImageReader(split, root), side, interpolation)
    before = images_state(split, root)

    def write(stream: BinaryIO) -> None:
        checksums: list[int] = []
        for pixels in ordered_map(
            job, chunks, workers=workers
        ):  # plain writes: a mapped file on a full disk kills
            stream.write(pixels.data)
            checksums.extend(zlib.crc32(image.data) for image in pixels)
            if progress:
                progress(len(checksums))
        if images_state(split, root) != before:
            raise UserError(
                f"images under '{root}' were replaced while they were decoded; start the command again"
            )
        table = np.array(checksums, np.uint32)
        stream.write(table.tobytes() + _seal(file.name, table))

    write_durably(file, write)


@dataclass(frozen=True)
class Decode:
    """Work for a process: images of a split, decoded and resized, as uint8 [n, side, side, 3]."""

    reader: ImageReader
    side: int
    interpolation: Interpolation = "bilinear"

    def __call__(self, rows: range | npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        out = np.empty((len(rows), self.side, self.side, 3), np.uint8)
        for i, row in enumerate(rows):
            out[i] = resize_rgb(self.reader.read(int(row)), self.side, self.interpolation)
        return out
