"""What a run trains on: the dataset's splits, cut to the asked classes, and where their pixels come from."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wsol.datasets.catalog import open_dataset
from wsol.errors import UserError, describe_os_error
from wsol.loading import ImageReader
from wsol.machine.distributed import World, wait_for_all
from wsol.models.pixels import Interpolation
from wsol.training.batches import Images
from wsol.training.pixels import (
    AUTO_LIMIT_BYTES,
    Decode,
    PixelFile,
    make_pixels,
    pixel_bytes,
    pixel_file,
)
from wsol.training.progress import Reporter, duration, progress_bar

if TYPE_CHECKING:
    from wsol.manifest import Manifest, Split
    from wsol.training.config import TrainConfig

TRAIN, VALIDATION = "train-weaksup", "train-fullsup"


@dataclass(frozen=True)
class Data:
    """A dataset as training sees it: its manifest and the two splits that are used, cut to `classes`."""

    manifest: Manifest
    root: str
    classes: tuple[str, ...]
    train: Split
    validation: Split | None


def open_data(config: TrainConfig) -> Data:
    """The dataset of a config; `UserError` for one without images, an empty split, or too few classes."""
    manifest = open_dataset(config.dataset, data_root=config.data_root)
    if manifest.root is None:
        raise UserError(
            f"dataset '{manifest.dataset}' knows no place of its images (boxes only); pass --data-root FOLDER"
        )
    count = config.classes or len(manifest.classes)
    if count > len(manifest.classes):
        raise UserError(
            f"--classes {count}: dataset '{manifest.dataset}' has only {len(manifest.classes)} classes"
        )
    if count < 2:
        raise UserError(
            f"dataset '{manifest.dataset}' has one class, so that there is nothing to tell it from; a classifier needs "
            "two or more (a class of other images, say)"
        )
    whole = count == len(manifest.classes)
    training = manifest.split(TRAIN)
    training = training if whole else first_classes(training, count)
    validation = manifest.splits.get(VALIDATION)
    if validation is not None and not whole:
        validation = first_classes(validation, count)
    if len(training) == 0:
        raise UserError(f"dataset '{manifest.dataset}' has no training image of its first {count} classes")
    if validation is not None and len(validation) == 0:
        validation = None
    return Data(manifest, manifest.root, manifest.classes[:count], training, validation)


def first_classes(split: Split, count: int) -> Split:
    """The rows whose label is below `count`, in their order."""
    return split.take(np.flatnonzero(split.labels < count))


def open_images(
    split: Split,
    root: str,
    side: int,
    interpolation: Interpolation,
    config: TrainConfig,
    world: World,
    report: Reporter,
) -> Images:
    """A split's images at a side: from the cache (made now where it is missing), or read as they are needed."""
    labels = split.labels.astype(np.int64)
    cached = config.cache == "on" or (
        config.cache == "auto" and pixel_bytes(len(split), side) < AUTO_LIMIT_BYTES
    )
    if not cached:
        return Images(labels, decode=Decode(ImageReader(split, root), side, interpolation))
    file = pixel_file(split, root, side, interpolation=interpolation)
    if world.first and not _usable(file, len(split), side):
        began = time.monotonic()
        with progress_bar(report, "decoding images once", len(split)) as bar:
            try:
                make_pixels(
                    file,
                    split,
                    root,
                    side,
                    workers=config.workers or 0,
                    interpolation=interpolation,
                    progress=bar.advance,
                )
            except OSError as error:
                raise UserError(f"{describe_os_error(error)}; or add --cache off") from error
        took = duration(time.monotonic() - began)
        report.line(f"decoded {len(split):,} images at {side}x{side} once in {took}, kept in {file.parent}")
    wait_for_all(world)
    return Images(labels, pixels=PixelFile(file, len(split), side))


def _usable(file: Path, images: int, side: int) -> bool:
    try:
        PixelFile(file, images, side)
    except (OSError, ValueError):
        return False
    return True
