"""Bootstrap over images: resampling weights that stream block by block, and percentile intervals.

A resample of N images with replacement is a draw from Multinomial(N, 1/N). It is drawn block by block without ever
holding N weights: first how many of the N draws fall into the block given how many are left, then how they spread
inside it. Two runs on the same split with the same seed get the same weights, so their difference is a paired
bootstrap.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

CONFIDENCE = 0.95
RESAMPLES = 1000


@dataclass(frozen=True)
class Bootstrap:
    """How often the images are resampled, and from which seed. No resamples, no intervals."""

    resamples: int = RESAMPLES
    seed: int = 0

    def weights(self, block_sizes: Sequence[int]) -> Iterator[npt.NDArray[np.float32]]:
        """For each block of n images the weights [1 + B, n]: first the whole set, all ones, then each resample."""
        if not self.resamples:
            yield from (np.ones((1, size), np.float32) for size in block_sizes)
            return
        for drawn in resample_weights(block_sizes, self.resamples, self.seed):
            yield np.concatenate([np.ones((1, drawn.shape[1]), np.float32), drawn])


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
        bottom = bottom + weighted_sum(weights, valid.astype(np.float32))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(100 * np.asarray(top) / bottom)


def resample_weights(
    block_sizes: Sequence[int], resamples: int, seed: int
) -> Iterator[npt.NDArray[np.float32]]:
    """For each block of n images the weights [resamples, n]; each row sums to N over all blocks.

    Raises ValueError where there are no images.
    """
    total = int(sum(block_sizes))
    if total <= 0:
        raise ValueError("cannot resample zero images")
    left = np.full(resamples, total, np.int64)
    behind = total
    for number, size in enumerate(block_sizes):
        generator = np.random.Generator(np.random.Philox(key=[seed, number]))
        here = generator.binomial(left, size / behind) if behind > size else left.copy()
        # a multinomial draw by bincount: ten times as fast as numpy's multinomial
        draws = generator.integers(0, size, int(here.sum()), dtype=np.int32)
        cells = np.repeat(np.arange(resamples, dtype=np.int64) * size, here) + draws
        weights = np.bincount(cells, minlength=resamples * size).reshape(resamples, size)
        left -= here
        behind -= size
        yield weights.astype(np.float32)


def percentile_interval(
    values: npt.NDArray[np.float64], confidence: float = CONFIDENCE
) -> tuple[float, float] | None:
    """The central interval of bootstrap values; None where none is defined."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return None
    tail = (1 - confidence) / 2
    low, high = np.quantile(finite, [tail, 1 - tail])
    return float(low), float(high)
