"""A seeded hold-out of training images, for datasets that ship no train-fullsup split of their own."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from wsol.manifest import Split

if TYPE_CHECKING:
    import numpy.typing as npt


def class_generator(name: str, seed: int) -> np.random.Generator:
    """A class's own generator, so that its draws do not depend on which other classes are present."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def holdout_indices(
    image_ids: Sequence[str],
    labels: npt.NDArray[np.int32],
    classes: Sequence[str],
    per_class: int,
    seed: int,
) -> npt.NDArray[np.int64]:
    """Ascending indices of `per_class` images of every class (fewer where a class has fewer than twice as
    many: then half of them, so that training keeps the larger share).

    Each class draws from its own generator, seeded by (seed, class name), over its image ids in sorted order:
    the choice depends neither on the order of the files nor on which other classes are present.

    >>> ids, labels = ["a", "b", "c", "d"], np.array([0, 0, 1, 1], np.int32)
    >>> holdout_indices(ids, labels, ["x", "y"], per_class=1, seed=0).tolist()
    [0, 3]
    """
    if per_class < 0:
        raise ValueError(f"per_class must be 0 or more, got {per_class}")
    order = np.argsort(labels, kind="stable")
    bounds = np.searchsorted(labels[order], np.arange(len(classes) + 1))
    chosen: list[int] = []
    for k, name in enumerate(classes):
        members = sorted((int(i) for i in order[bounds[k] : bounds[k + 1]]), key=lambda i: image_ids[i])
        count = min(per_class, len(members) // 2)
        generator = class_generator(name, seed)
        chosen.extend(members[int(j)] for j in generator.choice(len(members), count, replace=False))
    return np.array(sorted(chosen), np.int64)


def hold_out(
    train: Split, classes: Sequence[str], per_class: int, seed: int
) -> tuple[dict[str, Split], tuple[str, ...]]:
    """The two training splits, and the note that says how train-fullsup came about."""
    held = holdout_indices(train.image_ids, train.labels, classes, per_class, seed)
    rest = np.setdiff1d(np.arange(len(train)), held)
    splits = {"train-weaksup": train.take(rest), "train-fullsup": train.take(held)}
    counts = np.bincount(train.labels[held], minlength=len(classes))[np.unique(train.labels)]
    most = int(counts.max(initial=0))
    taken = f"{most}" if (counts == most).all() else f"at most {most}"
    note = (
        f"train-fullsup is not the dataset's own: it is a hold-out of {taken} training images a class "
        f"(seed {seed}), taken out of train-weaksup"
    )
    return splits, (note,)


def hold_out_boxed(
    splits: dict[str, Split], classes: Sequence[str], per_class: int, seed: int
) -> tuple[str, ...]:
    """Move a hold-out of boxed training images to train-fullsup, in place, and say so; nothing where that
    would take a class's only one."""
    train = splits["train-weaksup"]
    boxed = np.flatnonzero(np.diff(train.box_offsets) > 0)
    if not len(boxed):
        return ("no train-fullsup: no val split and no training image with a box",)
    parted, notes = hold_out(train.take(boxed), classes, per_class, seed)
    held = set(parted["train-fullsup"].image_ids)
    if not held:
        return ("no train-fullsup: no class has two training images with boxes",)
    rest = np.array([k for k, image_id in enumerate(train.image_ids) if image_id not in held], np.int64)
    splits["train-weaksup"], splits["train-fullsup"] = train.take(rest), parted["train-fullsup"]
    return notes
