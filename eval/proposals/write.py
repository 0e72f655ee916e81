"""The boxes of a split's images as a CSV."""

from __future__ import annotations

import csv
import io
import sys

from eval.proposals.config import ProposeConfig
from eval.proposals.regions import most_distinct, proposals
from eval.terminal.progress import progress
from wsol.datasets.catalog import open_dataset
from wsol.errors import UserError
from wsol.files.atomic_write import write_durably
from wsol.loading import ImageReader


def propose(config: ProposeConfig) -> None:
    """Write a box for each image of the config's split and say where."""
    manifest = open_dataset(config.dataset, data_root=config.data_root, roles=[config.split])
    split = manifest.split(config.split)
    if manifest.root is None:
        raise UserError(f"dataset '{manifest.dataset}' does not say where its images are; give --data-root")
    reader = ImageReader(split, manifest.root)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["image_id", "x0", "y0", "x1", "y1"])
    with progress("proposing", len(split)) as advance:
        for row, image_id in enumerate(split.image_ids):
            rgb = reader.read(row)
            box = most_distinct(rgb, proposals(rgb))
            writer.writerow([image_id, *(f"{v:g}" for v in box.round(2))])
            advance(1)
    write_durably(config.out, text.getvalue())
    sys.stdout.write(f"boxes: {config.out} ({len(split)} images)\n")
