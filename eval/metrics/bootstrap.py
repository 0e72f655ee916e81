"""Bootstrap over images: resampling weights that stream block by block, and percentile intervals.

A resample of N images with replacement is a draw from Multinomial(N, 1/N). It is drawn block by block without ever
holding N weights: first how many of the N draws fall into the block given how many are left, then how they spread
inside it. Two runs on the same split with the same seed get the same weights, so their difference is a paired
bootstrap.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

CONFIDENCE = 0.95
RESAMPLES = 1000


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
        # throwing `here` balls into `size` boxes, which numpy's multinomial does ten times slower
        throws = generator.integers(0, size, int(here.sum()), dtype=np.int32)
        cells = np.repeat(np.arange(resamples, dtype=np.int64) * size, here) + throws
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
