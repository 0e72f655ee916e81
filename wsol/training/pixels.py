"""Decoded, resized images of a split as one memory-mapped uint8 array, kept from run to run.

On two cores, processes that decode compete with the network; after the first run nothing is left to decode.
The file's name is a digest of the rows, the place of the files and the side, so that other data never meets
old pixels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from wsol.files.atomic_write import remove_unfinished, write_durably
from wsol.loading import ImageReader, ordered_map, resize_rgb
from wsol.manifest import split_hash

if TYPE_CHECKING:
    import numpy.typing as npt

    from wsol.manifest import Split

CACHE = Path("data") / "cache"
AUTO_LIMIT_BYTES = 2 << 30
_CHUNK = 64  # images decoded per piece of work


def pixel_bytes(images: int, side: int) -> int:
    """Size of the array of a split."""
    return images * side * side * 3


def pixel_file(split: Split, root: str, side: int, folder: Path = CACHE) -> Path:
    """Where the array of a split is kept. A root that was replaced or touched gives another name."""
    place = Path(root).resolve()
    changed = next((p.stat().st_mtime_ns for p in (place, *place.parents) if p.exists()), 0)
    text = f"pillow-bilinear {split_hash(split)} {place} {changed} {side}"
    return folder / f"{hashlib.sha256(text.encode()).hexdigest()[:20]}-{side}.npy"


def open_pixels(file: Path, images: int, side: int) -> npt.NDArray[np.uint8]:
    """Map an existing array [images, side, side, 3], read-only; ValueError when it is not of that shape."""
    pixels = np.load(file, mmap_mode="r", allow_pickle=False)
    if pixels.shape != (images, side, side, 3) or pixels.dtype != np.uint8:
        raise ValueError(f"'{file}' holds {pixels.dtype} {pixels.shape}")
    return pixels


def make_pixels(
    file: Path,
    split: Split,
    root: str,
    side: int,
    *,
    workers: int,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Decode a whole split into a file; `progress` is told how many images are done.

    The file appears when it is complete. A missing or corrupt image is a `UserError`, a full disk an
    `OSError`.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    remove_unfinished(file.parent)
    chunks = [range(i, min(i + _CHUNK, len(split))) for i in range(0, len(split), _CHUNK)]
    job = Decode(ImageReader(split, root), side)

    def write(stream: BinaryIO) -> None:
        head = {"descr": "|u1", "fortran_order": False, "shape": (len(split), side, side, 3)}
        np.lib.format.write_array_header_1_0(stream, head)
        done = 0
        for pixels in ordered_map(
            job, chunks, workers=workers
        ):  # plain writes: a mapped file on a full disk kills
            stream.write(pixels.data)
            done += len(pixels)
            if progress:
                progress(done)

    write_durably(file, write)


@dataclass(frozen=True)
class Decode:
    """Work for a process: images of a split, decoded and resized, as uint8 [n, side, side, 3]."""

    reader: ImageReader
    side: int

    def __call__(self, rows: range | npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        out = np.empty((len(rows), self.side, self.side, 3), np.uint8)
        for i, row in enumerate(rows):
            out[i] = resize_rgb(self.reader.read(int(row)), self.side)
        return out
