"""The part of a manifest that a classifier with fewer classes can be scored on."""

from __future__ import annotations

import numpy as np

from wsol.errors import UserError
from wsol.manifest import Manifest


def first_classes(manifest: Manifest, num_classes: int, who: str) -> Manifest:
    """The manifest with labels below `num_classes` only; the whole one where the numbers agree.

    Raises `UserError` where the classifier knows more classes than the manifest has.
    """
    there = len(manifest.classes)
    if num_classes > there:
        raise UserError(
            f"{who} has {num_classes} classes, but dataset '{manifest.dataset}' has {there}; name the dataset that it "
            "was trained on with --dataset"
        )
    if num_classes == there:
        return manifest
    splits = {
        role: split.take(np.flatnonzero(split.labels < num_classes))
        for role, split in manifest.splits.items()
    }
    note = f"only the first {num_classes} of {there} classes"
    return Manifest(
        manifest.dataset,
        manifest.classes[:num_classes],
        splits,
        manifest.root,
        manifest.part_names,
        manifest.corners,
        (*manifest.notes, note),
    )
