"""Blocks of images: raw maps and records are kept as one sealed .npz a block (`wsol.files.arrays`), whole or absent."""

from __future__ import annotations

from pathlib import Path

BLOCK = 512
"""Images per block; fixed, because the bootstrap draws block by block and results must not depend on batch size."""


def block_path(folder: Path, block: int) -> Path:
    """The file of one block of images."""
    return folder / f"block-{block:06d}.npz"
