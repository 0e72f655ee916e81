"""Simultaneous bands over all thresholds."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.coverage.populations import METHODS, POPULATION, planted_hits
from benchmarks.coverage.sample import Curves, Rng, Row, weights
from eval.statistics.bands import Band
from eval.statistics.counts import least_variance


def bands(images: int) -> Callable[[Rng, int], Row]:
    """How often the simultaneous band holds the whole true curve, of one method and of the difference."""
    draws = [planted_hits(name)[0] for name in METHODS]
    truths = [100 * h.mean(0, dtype=np.float64) for h in draws]

    def once(rng: Rng, number: int) -> Row:
        rows = rng.integers(0, POPULATION, images)
        tests = [Curves.of([h[rows]], weights(images, number), 0) for h in draws]
        found: Row = {}
        for name, value, boot, real in (
            ("one method", tests[0].whole[0], tests[0].resampled[0], truths[0]),
            (
                "difference",
                tests[1].whole[0] - tests[0].whole[0],
                tests[1].resampled[0] - tests[0].resampled[0],
                truths[1] - truths[0],
            ),
        ):
            least = least_variance(images)
            band = Band.simultaneous(value, boot, boot.var(0, ddof=1) + least, np.inf, least=least)
            found[name] = 100.0 * bool(((band.low <= real) & (real <= band.high)).all())
        return found

    return once
