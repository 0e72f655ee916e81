"""A smoke run: only a few images of each split, under a name of its own."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from eval.evaluation.subject import Subject
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


def limited_subject(subject: Subject, images: int, *, keep_place: bool) -> Subject:
    """The subject with a limited manifest; its results go beside those of the whole dataset unless `keep_place`."""
    out = subject.out if keep_place else subject.out.with_name(f"{subject.out.name}-limit-{images}")
    return dataclasses.replace(
        subject,
        manifest=limited(subject.manifest, images),
        out=out,
        title=f"{subject.title}, {images} images only",
    )
