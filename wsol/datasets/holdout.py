"""A seeded hold-out of training images, for datasets that ship no train-fullsup split of their own."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


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
        generator = np.random.default_rng([seed, zlib.crc32(name.encode())])
        chosen.extend(members[int(j)] for j in generator.choice(len(members), count, replace=False))
    return np.array(sorted(chosen), np.int64)
