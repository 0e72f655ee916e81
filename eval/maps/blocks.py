"""Blocks of images: raw maps and records are kept as one .npz a block, whole or absent."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

BLOCK = 512
"""Images per block; fixed, because the bootstrap draws block by block and results must not depend on batch size."""


def block_path(folder: Path, block: int) -> Path:
    """The file of one block of images."""
    return folder / f"block-{block:06d}.npz"


def npz_bytes(arrays: Mapping[str, npt.NDArray[Any]]) -> bytes:
    """Arrays as a compressed .npz; level 1, since the arrays are piecewise constant and higher levels gain little."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, array in arrays.items():
            entry = zipfile.ZipInfo(f"{name}.npy")
            entry.compress_type = zipfile.ZIP_DEFLATED
            with archive.open(entry, "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()


def intact(path: Path) -> bool:
    """Whether an .npz is there and every byte of it passes its checksum."""
    try:
        with zipfile.ZipFile(path) as archive:
            return archive.testzip() is None
    except (OSError, zipfile.BadZipFile, zlib.error, EOFError, ValueError, NotImplementedError):
        return False
