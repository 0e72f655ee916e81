"""Raw maps of a batch of images, and the ranks of their true classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


class Ranks(NamedTuple):
    """What one view of each image is classified as: the predicted class, and whether the true one is among the first
    one and five; -1 where nothing predicts. Each [n]."""

    predicted: npt.NDArray[np.int32]
    top1: npt.NDArray[np.int8]
    top5: npt.NDArray[np.int8]

    def part(self, some: slice) -> Ranks:
        """Some of the images."""
        return Ranks(self.predicted[some], self.top1[some], self.top5[some])


@dataclass(frozen=True)
class RawBatch:
    """Raw maps of some rows of a split.

    `maps` gives per frame name either [n, h, w] or, where sizes differ, a list of n arrays [h, w]; None stands for a
    map that could not be had, and `status` [n] says why. `predicted`, `top1` and `top5` are the ranks of the whole
    image; `frame_ranks` those of other views, by frame name.
    """

    rows: npt.NDArray[np.int64]
    maps: Mapping[str, Sequence[npt.NDArray[np.floating] | None] | npt.NDArray[np.floating]]
    status: npt.NDArray[np.uint8]
    predicted: npt.NDArray[np.int32]
    top1: npt.NDArray[np.int8]
    top5: npt.NDArray[np.int8]
    frame_ranks: Mapping[str, Ranks] = field(default_factory=dict)

    def part(self, start: int, stop: int) -> RawBatch:
        """Some of the images, as slices count them."""
        some = slice(start, stop)
        return RawBatch(
            self.rows[some],
            {frame: maps[some] for frame, maps in self.maps.items()},
            self.status[some],
            self.predicted[some],
            self.top1[some],
            self.top5[some],
            {frame: ranks.part(some) for frame, ranks in self.frame_ranks.items()},
        )


def ranks_from_logits(logits: npt.NDArray[np.floating], labels: npt.NDArray[np.integer]) -> Ranks:
    """The ranks of logits [n, K] for the true classes `labels` [n]; ties go to the lower class index.

    A row that holds NaN ranks nothing: both flags are 0.
    """
    own = logits[np.arange(len(labels)), labels][:, None]
    classes = np.arange(logits.shape[1])[None, :]
    ahead = ((logits > own) | ((logits == own) & (classes < labels[:, None]))).sum(1)
    ahead[np.isnan(logits).any(1)] = logits.shape[1] + 5
    predicted = logits.argmax(1).astype(np.int32)
    return Ranks(predicted, (ahead < 1).astype(np.int8), (ahead < 5).astype(np.int8))


def unpredicted(n: int) -> Ranks:
    """The ranks of n images for which nothing predicts a class."""
    return Ranks(np.full(n, -1, np.int32), np.full(n, -1, np.int8), np.full(n, -1, np.int8))
