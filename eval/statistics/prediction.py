"""What one would bet on: the difference that a further pair of trainings would show on the same images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eval.statistics.components import METHODS_FROM, Sampled
from eval.statistics.distributions import t_isf, t_sf
from eval.statistics.law import CONFIDENCE


@dataclass(frozen=True)
class NewPair:
    """For one further training of either method: the interval that holds the difference of their values on these
    images, and the probability that the other method's is the higher."""

    low: float
    high: float
    probability: float


def new_pair(
    baseline: Sampled, other: Sampled, *, paired: bool, confidence: float = CONFIDENCE
) -> NewPair | None:
    """The prediction interval D +- t s sqrt(1 + 1/R) over the differences of R pairs of runs; unpaired, the two sides'
    variances are summed and the degrees of freedom are Welch's (Hahn and Meeker, Statistical Intervals, 4.7).

    The images stay as they are: the spread between runs already holds the interaction of runs and images, so nothing
    has to be estimated but that spread. Assumes that numbers of runs are normal. None with fewer than three runs a
    trained side, or where runs do not differ at all.
    """
    sides = [s for s in (baseline, other) if s.trained]
    if not sides or min(s.runs for s in sides) < METHODS_FROM:
        return None
    groups = [other.values - baseline.values] if paired and len(sides) == 2 else [s.values for s in sides]
    parts = [(float(g.var(ddof=1)) * (1 + 1 / len(g)), len(g) - 1) for g in groups]
    variance = sum(v for v, _ in parts)
    if variance <= 0:
        return None
    df = variance**2 / sum(v * v / k for v, k in parts)
    error = np.sqrt(variance)
    difference = other.mean - baseline.mean
    half = float(t_isf((1 - confidence) / 2, df) * error)
    return NewPair(difference - half, difference + half, float(t_sf(-difference / error, df)))
