"""One run's intervals: how often they hold the truth of its population."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.coverage.populations import POPULATION, pixel_histograms, planted_hits
from benchmarks.coverage.sample import CHOOSING, PARTS, Curves, Rng, Row, choosing_curves, truth, weights
from eval.metrics.pixels import average_precision
from eval.statistics.counts import score_interval
from eval.statistics.law import Law

_FIXED = 51
"""Column of the threshold 0.2."""


def _inside(interval: tuple[float, float], true: float) -> float:
    return 100.0 * (interval[0] <= true <= interval[1])


def single(name: str, images: int) -> Callable[[Rng, int], Row]:
    """Coverage of one run's intervals: fixed, oracle and, for each size of train-fullsup, transferred thresholds."""
    population = planted_hits(name)
    fixed = 100 * float(population[0][:, _FIXED].mean())

    def once(rng: Rng, number: int) -> Row:
        rows = rng.integers(0, POPULATION, images)
        test = Curves.of([h[rows] for h in population], weights(images, number))
        at = test.resampled[0][:, _FIXED]
        interval = score_interval(float(test.whole[0][_FIXED]), float(at.var()), images)
        found = {"fixed": _inside(interval, fixed)}
        for protocol, part in PARTS:
            best, real = test.best(part), truth(name, protocol)
            found[f"oracle {protocol}"] = _inside(score_interval(best.centre, best.variance, images), real)
            maxima = np.mean([r.max(1) for r in test.resampled[part]], axis=0)
            plain = np.percentile(maxima, [2.5, 97.5])
            found[f"oracle {protocol}, percentiles"] = _inside((plain[0], plain[1]), real)
        for choosing in CHOOSING:
            (other,) = choosing_curves(rng, choosing, number, population)
            for protocol, part in PARTS:
                moved = test.at_best_of(other, part)
                found[f"transferred {protocol} from {choosing}"] = _inside(
                    score_interval(moved.value, moved.variance, images), truth(name, protocol, choosing)
                )
        return found

    return once


def pixels(images: int) -> Callable[[Rng, int], Row]:
    """Coverage of the interval of PxAP."""
    inside, outside = pixel_histograms()
    real = float(average_precision(inside.sum(0, dtype=np.float64), outside.sum(0, dtype=np.float64)))

    def once(rng: Rng, number: int) -> Row:
        rows = rng.integers(0, POPULATION, images)
        weight = weights(images, number)
        a, b = inside[rows], outside[rows]
        value = float(average_precision(a.sum(0, dtype=np.float64), b.sum(0, dtype=np.float64)))
        boot = average_precision((weight @ a).astype(np.float64), (weight @ b).astype(np.float64))
        return {"pxap": _inside(Law(value, float(boot.var(ddof=1)), images - 1).interval(), real)}

    return once


def edges(percent: float, images: int) -> Callable[[Rng, int], Row]:
    """Coverage of one run's interval at a share near 0: the score interval, and percentiles beside it."""

    def once(rng: Rng, number: int) -> Row:
        hit = (rng.random(images) < percent / 100).astype(np.float32)
        boot = 100 * (weights(images, number) @ hit) / images
        plain = np.percentile(boot, [2.5, 97.5])
        return {
            "score interval": _inside(
                score_interval(100 * float(hit.mean()), float(boot.var()), images), percent
            ),
            "percentiles": _inside((plain[0], plain[1]), percent),
        }

    return once
