"""A few images of each split, for smoke runs."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from wsol.manifest import Manifest


def limited(manifest: Manifest, images: int) -> Manifest:
    """The manifest with at most `images` of each split, spread evenly over it, and a note that says so."""
    splits = {
        role: split.take(np.unique(np.linspace(0, len(split) - 1, images).astype(np.int64)))
        if len(split) > images
        else split
        for role, split in manifest.splits.items()
    }
    note = f"only {images} images of each split (--limit); no result about the dataset"
    return dataclasses.replace(manifest, splits=splits, notes=(*manifest.notes, note))
