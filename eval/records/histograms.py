"""Score histograms of an image inside and outside its mask: all that metrics of masks need of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


def histogram_edges(step: float) -> npt.NDArray[np.float64]:
    """Bin edges: arange(0, 1, step), then 1, 2, 3; the last two bins hold exactly 1 and nothing."""
    return np.append(np.arange(0, 1, step), [1.0, 2.0, 3.0])


def score_histograms(
    score: npt.NDArray[np.float64],
    mask: npt.NDArray[np.bool_],
    ignore: npt.NDArray[np.bool_] | None,
    edges: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Counts of scores per bin [e_i, e_i+1) inside the mask and outside it, ignored pixels left out of both.

    `score` [H, W] lies in [0, 1]. Pixels both ignored and in the mask count as mask.
    """
    values = score.ravel()
    # the edges are equally spaced below 1 up to rounding, so the quotient is off by one bin at most
    bins = np.minimum((values * (len(edges) - 3)).astype(np.int32), len(edges) - 3)
    bins -= edges[bins] > values
    bins += edges[bins + 1] <= values
    inside = mask.ravel()
    outside = ~inside if ignore is None else ~inside & ~ignore.ravel()
    count = len(edges) - 1
    return (
        np.bincount(bins[inside], minlength=count).astype(np.int32),
        np.bincount(bins[outside], minlength=count).astype(np.int32),
    )
