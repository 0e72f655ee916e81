"""Whether a difference differs between groups of images, and what is left of small groups' extremes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy import optimize

if TYPE_CHECKING:
    import numpy.typing as npt

SMALLEST_GROUP = 30
"""Images from which on a group gets an interval and a test of its own."""


def against_the_rest(
    totals: npt.NDArray[np.float64], counts: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """Each group's mean minus the mean over all other groups' images.

    Args:
        totals: summed values by group, [..., G].
        counts: images by group, [..., G].

    Returns [..., G]; NaN for a group without images or without others. No interaction means that each is 0, and the
    test of interaction is the smallest adjusted p of the G.

    >>> against_the_rest(np.array([1.0, 6.0, 3.0]), np.array([1.0, 2.0, 1.0])).tolist()
    [-2.0, 1.0, 0.6666666666666665]
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        rest = (totals.sum(-1, keepdims=True) - totals) / (counts.sum(-1, keepdims=True) - counts)
        return np.asarray(totals / counts - rest)


def shrink(values: Sequence[float], variances: Sequence[float]) -> tuple[list[float], float]:
    """Empirical Bayes: each group's value drawn towards the common mean by as much as noise explains the spread.

    Args:
        values: one a group.
        variances: sampling variance of each, above 0.

    Returns the shrunk values, mean + w (value - mean) with w = spread / (spread + variance), and the spread (a variance
    between groups) by Paule and Mandel's moment equation (Journal of Research NBS 1982); 0 where noise explains all.
    """
    found, noise = np.asarray(values, np.float64), np.asarray(variances, np.float64)
    if len(found) < 2:
        return [float(v) for v in found], 0.0

    def excess(spread: float) -> float:
        weights = 1 / (noise + spread)
        mean = (weights * found).sum() / weights.sum()
        return float((weights * (found - mean) ** 2).sum() - (len(found) - 1))

    spread = 0.0
    if excess(0.0) > 0:
        high = float(found.var()) + 1e-12
        while excess(high) > 0:
            high *= 2
        spread = float(optimize.brentq(excess, 0.0, high))
    weights = 1 / (noise + spread)
    mean = (weights * found).sum() / weights.sum()
    return [float(v) for v in mean + spread / (spread + noise) * (found - mean)], spread
