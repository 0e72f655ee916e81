"""Power and planning from a pilot's variance components, under the very law that decides."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

import numpy as np

from eval.statistics.components import METHODS_FROM, UPPER, Components
from eval.statistics.distributions import chi2_ppf, normal_sf, t_isf
from eval.statistics.law import ALPHA

POWER = 0.8
_NODES = 201


@dataclass(frozen=True)
class Side:
    """Variances of one run of a side (or of one pair of runs): `run` on infinitely many images, and `interaction`, run
    x image, for one image."""

    run: float
    interaction: float


@dataclass(frozen=True)
class Pilot:
    """What a comparison has shown about variances, in points squared: `image` is that of method x image for one image
    (it falls with the number of images alone). Without `sides` a study of the runs at hand is planned."""

    image: float
    sides: tuple[Side, ...]

    @classmethod
    def of(cls, components: Components) -> Pilot:
        """Read off components that were estimated on their number of runs and units."""
        n = components.units
        noise = sum(p.noise for p in components.parts)
        sides = tuple(Side(p.excess * p.runs, p.noise * p.runs * n) for p in components.parts)
        return cls(max(0.0, components.image - noise) * n, sides)

    def variance(self, runs: int, images: int) -> float:
        """Of the difference of means over so many runs a side and images."""
        per_run = sum(s.run + s.interaction / images for s in self.sides)
        return self.image / images + per_run / runs


def power(pilot: Pilot, effect: float, runs: int, images: int, alpha: float = ALPHA) -> float:
    """The probability that a true difference of `effect` points is declared, in either direction.

    Exact for normal data: the estimate is normal with the true variance, each side's estimated spread is an independent
    chi-squared multiple, and the test is `eval.statistics.components.Components`'s with that estimate in it; integrated
    over quantiles of the spread. (A noncentral t would have the degrees of freedom fixed, and is off by up to 8 points
    for three runs.)
    """
    deviation = np.sqrt(pilot.variance(runs, images))
    if deviation <= 0:
        return 1.0 if effect else 0.0
    image = pilot.image / images + sum(s.interaction / images for s in pilot.sides) / runs
    if not pilot.sides:
        estimated, df = np.array([image]), np.array([np.inf])
    else:
        nodes = _NODES if len(pilot.sides) == 1 else 41
        chi = chi2_ppf((np.arange(nodes) + 0.5) / nodes, runs - 1) / (runs - 1)
        bound = (runs - 1) / chi2_ppf(1 - UPPER, runs - 1)
        grids = []
        for s in pilot.sides:
            noise = s.interaction / images / runs
            spread = chi * (s.run / runs + noise)
            grids.append(
                [(max(0.0, v - noise), max(0.0, v * bound - noise), (v * bound) ** 2) for v in spread]
            )
        cells = np.array([np.sum(cell, axis=0) for cell in product(*grids)])
        estimated = image + cells[:, 0]
        df = (image + cells[:, 1]) ** 2 / (cells[:, 2] / (runs - 1) + image**2 / max(images - 1, 1))
    cut = t_isf(alpha / 2, np.maximum(1.0, df)) * np.sqrt(estimated)
    above = normal_sf((cut - effect) / deviation)
    below = normal_sf((cut + effect) / deviation)
    return float(np.mean(above + below))


def detectable(pilot: Pilot, runs: int, images: int, *, wanted: float = POWER, alpha: float = ALPHA) -> float:
    """The true difference that is declared with probability `wanted`, in points; 0 where nothing varies."""
    deviation = float(np.sqrt(pilot.variance(runs, images)))
    if deviation <= 0:
        return 0.0
    high = deviation
    while power(pilot, high, runs, images, alpha) < wanted:
        high *= 2
    from scipy.optimize import brentq  # half a second that nothing else of a scoring command needs

    return float(brentq(lambda e: power(pilot, e, runs, images, alpha) - wanted, 0, high, rtol=1e-3))


def runs_needed(
    pilot: Pilot, effect: float, images: int, *, wanted: float = POWER, alpha: float = ALPHA, most: int = 200
) -> int | None:
    """The fewest runs a side (three at least, from which on methods are judged) for an effect; None above `most`: then
    the images are too few for any number of runs."""
    return _fewest(lambda r: power(pilot, effect, r, images, alpha) >= wanted, METHODS_FROM, most)


def images_needed(
    pilot: Pilot,
    effect: float,
    runs: int,
    *,
    wanted: float = POWER,
    alpha: float = ALPHA,
    most: int = 10_000_000,
) -> int | None:
    """The fewest test images for an effect at a number of runs a side; None above `most`: then the runs differ too much
    among themselves for any number of images."""
    return _fewest(lambda n: power(pilot, effect, runs, n, alpha) >= wanted, 2, most)


def _fewest(enough, least: int, most: int) -> int | None:  # type: ignore[no-untyped-def]
    if not enough(most):
        return None
    low, high = least - 1, most
    step = least
    while step < most and not enough(step):
        low, step = step, step * 2
    high = min(step, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
