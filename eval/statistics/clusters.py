"""Resampling whole clusters (classes) instead of images: intervals for new classes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


def cluster_weights(
    labels: Sequence[npt.NDArray[np.integer]], resamples: int, seed: int
) -> Iterator[npt.NDArray[np.float32]]:
    """For each block of images the weights [resamples, n] of a bootstrap over clusters: all images of a cluster are
    drawn as often as it is.

    Args:
        labels: the cluster of every image, block by block, [n] each.
        resamples, seed: as in `eval.metrics.bootstrap.resample_weights`.

    With C clusters a law takes C units (`eval.statistics.components.components_of`). Raises ValueError for fewer than
    two clusters.
    """
    present = np.unique(np.concatenate([np.asarray(block) for block in labels]))
    count = len(present)
    if count < 2:
        raise ValueError("clusters cannot be resampled where there are fewer than two")
    generator = np.random.Generator(np.random.Philox(key=[seed, count]))
    drawn = generator.multinomial(count, np.full(count, 1 / count), resamples).astype(np.float32)
    for block in labels:
        yield drawn[:, np.searchsorted(present, block)]
