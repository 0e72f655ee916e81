"""Bootstrap over images: resampling weights that stream block by block.

A resample of N images with replacement is a draw from Multinomial(N, 1/N). It is drawn block by block without ever
holding N weights: first how many of the N draws fall into the block given how many are left, then how they spread
inside it. Two runs on the same split with the same seed get the same weights, so their difference is a paired
bootstrap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from eval.statistics.clusters import cluster_weights
from eval.statistics.selection import CHOOSING_DRAWS

if TYPE_CHECKING:
    import numpy.typing as npt

RESAMPLES = 1000
_CHOOSING = 1 << 40
"""Added to the seed where thresholds are chosen: those images are resampled independently of the scored ones."""


@dataclass(frozen=True, eq=False)
class Bootstrap:
    """How often the images are resampled, and from which seed. No resamples, no intervals.

    `draws` are made for each image there is. With `clusters` [N], the class of every image, whole classes are drawn.
    """

    resamples: int = RESAMPLES
    seed: int = 0
    draws: float = 1.0
    clusters: npt.NDArray[np.integer] | None = None

    def weights(self, block_sizes: Sequence[int]) -> Iterator[npt.NDArray[np.float32]]:
        """For each block of n images the weights [1 + B, n]: first the whole set, all ones, then each resample. Each
        image's weights lie side by side in memory."""
        if not self.resamples:
            yield from (np.ones((1, size), np.float32) for size in block_sizes)
            return
        for drawn in self._resampled(block_sizes):
            weights = np.empty((drawn.shape[1], 1 + len(drawn)), np.float32)
            weights[:, 0], weights[:, 1:] = 1, drawn.T
            yield weights.T

    def _resampled(self, block_sizes: Sequence[int]) -> Iterator[npt.NDArray[np.number]]:
        if self.clusters is None:
            return resample_weights(block_sizes, self.resamples, self.seed, self.draws)
        ends = np.cumsum(block_sizes)
        return cluster_weights(np.split(self.clusters, ends[:-1]), self.resamples, self.seed)

    def choosing(self) -> Bootstrap:
        """The resamples of the images that thresholds are chosen on (`eval.statistics.selection`)."""
        return Bootstrap(self.resamples, self.seed + _CHOOSING, CHOOSING_DRAWS)

    def units(self, images: int) -> int:
        """How many things are drawn: images, or the clusters that they belong to."""
        return images if self.clusters is None else len(np.unique(self.clusters))


DEFAULT_BOOTSTRAP = Bootstrap()
NO_BOOTSTRAP = Bootstrap(resamples=0)


def weighted_sum(
    weights: npt.NDArray[np.float32], values: npt.NDArray[np.floating]
) -> npt.NDArray[np.float64]:
    """Sums over the n images of a block under `Bootstrap.weights` [1 + B, n]: [n, ...] to [1 + B, ...].

    The whole set is added up in float64, the resamples in the precision of `values`.
    """
    total = (weights.astype(values.dtype, copy=False) @ values).astype(np.float64)
    total[0] = values.sum(0, dtype=np.float64)
    return total


def resampled_means(
    blocks: Iterable[tuple[npt.NDArray[np.floating], npt.NDArray[np.bool_]]],
    block_sizes: Sequence[int],
    bootstrap: Bootstrap,
) -> npt.NDArray[np.float64]:
    """Means in percent of the valid values, of the whole set and of each resample, [1 + B, G].

    Each block gives values [n, G] and which of them are valid [n, G]. NaN where nothing is valid.
    """
    top: npt.NDArray[np.float64] | float = 0.0
    bottom: npt.NDArray[np.float64] | float = 0.0
    for (values, valid), weights in zip(blocks, bootstrap.weights(block_sizes)):
        top = top + weighted_sum(weights, np.where(valid, values, 0).astype(values.dtype))
        some = np.flatnonzero(~valid.all(0))
        drawn = np.repeat(weighted_sum(weights, np.ones((len(valid), 1), np.float32)), valid.shape[1], axis=1)
        drawn[:, some] = weighted_sum(weights, valid[:, some].astype(np.float32))
        bottom = bottom + drawn
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(100 * np.asarray(top) / bottom)


def resample_weights(
    block_sizes: Sequence[int], resamples: int, seed: int, draws: float = 1.0
) -> Iterator[npt.NDArray[np.unsignedinteger]]:
    """For each block of n images the weights [resamples, n]; each row sums to int(draws * N) over all blocks.

    Raises ValueError where there are no images.
    """
    total = int(sum(block_sizes))
    if total <= 0:
        raise ValueError("cannot resample zero images")
    left: npt.NDArray[np.int64] = np.full(resamples, int(draws * total), np.int64)
    behind = total
    for number, size in enumerate(block_sizes):
        here, weights = _drawn(seed, number, size, behind, left.tobytes())
        left -= here
        behind -= size
        yield weights.T


@lru_cache(maxsize=128)
def _drawn(
    seed: int, number: int, size: int, behind: int, left: bytes
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.unsignedinteger]]:
    """How many images each resample draws from a block [B], and how often it draws each of them [size, B].

    `left` (int64 [B]) are still to be drawn from the `behind` images of this block and later ones. What is drawn is
    kept for up to 128 blocks (0.5 MB each): a command sums up many things under the same resamples.
    """
    generator = np.random.Generator(np.random.Philox(key=[seed, number]))
    there = np.frombuffer(left, np.int64)
    here = generator.binomial(there, size / behind) if behind > size else there
    # a multinomial draw by bincount: ten times as fast as numpy's multinomial
    drawn = generator.integers(0, size, int(here.sum()), dtype=np.int32)
    cells = np.repeat(np.arange(len(here), dtype=np.int64) * size, here) + drawn
    counts = np.bincount(cells, minlength=len(here) * size).reshape(len(here), size)
    weights = np.ascontiguousarray(counts.astype(np.min_scalar_type(counts.max(initial=0))).T)
    weights.flags.writeable = False
    return here, weights
