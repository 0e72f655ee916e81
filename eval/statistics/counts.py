"""Intervals of shares near 0 and 100 percent: Wilson's score interval for a bootstrapped mean, and the least variance
of a paired difference."""

from __future__ import annotations

import numpy as np

from eval.statistics.distributions import normal_isf
from eval.statistics.law import CONFIDENCE


def score_interval(
    percent: float, variance: float, count: int, confidence: float = CONFIDENCE
) -> tuple[float, float]:
    """Wilson's interval (JASA 1927) of a mean over `count` images of values in [0, 1], in percent.

    `variance` (points squared) is the bootstrap's. The interval is Wilson's for the effective number of images, at
    which a yes or no an image would have that variance (Korn and Graubard, Survey Methodology 1998): `count` itself for
    one decision an image, more where several decisions are averaged. Never of width zero: 0 of n gives
    [0, 100 z^2 / (n + z^2)]. Raises ValueError without images.

    >>> [round(v, 1) for v in score_interval(0.0, 0.0, 100)]
    [0.0, 3.7]
    """
    if count < 1:
        raise ValueError("an interval needs at least one image")
    z = float(normal_isf((1 - confidence) / 2))
    share = min(max(percent, 0.0), 100.0)
    effective = max(float(count), share * (100 - share) / variance) if variance > 0 else float(count)
    weight = z * z / effective
    centre = (share + 50 * weight) / (1 + weight)
    half = z / (1 + weight) * np.sqrt(variance + (100 * z / (2 * effective)) ** 2)
    low = 0.0 if share == 0 else max(0.0, centre - half)  # not 1e-15 for none of n
    high = 100.0 if share == 100 else min(100.0, centre + half)
    return float(low), float(high)


def least_variance(count: int) -> float:
    """What one more disagreement would add to the variance of a paired difference of two shares, in points squared:
    the pseudo-count of Agresti and Min's interval (Statistics in Medicine 2005). Without it two methods that agree on
    every image at hand would differ by exactly nothing, and 0 % against 100 % could not be tested."""
    return (100.0 / (count + 2)) ** 2
