"""Two-way variance components of a difference: images, runs (training seeds), and their interaction.

A run's number on N images is, to first order, mean + run + (method x image)/N + (run x image)/N. The spread between
runs already holds run x image / N, and so does the bootstrap of their mean; adding both would count it twice. With
d_r the number (or paired difference) of run r and d_rb the same in resample b,

    image  = Var_b(mean_r d_rb)                              method x image and, once, run x image
    spread = Var_r(d_r) / R                                  run and run x image
    noise  = max(0, (mean_r Var_b(d_rb) - image) / (R - 1))  run x image alone
    V      = image + max(0, spread - noise)

Runs are paired where both sides have the same seeds; otherwise every run of both sides takes part and spread and noise
are those of each side, summed. Degrees of freedom follow Satterthwaite (Biometrics 1946), nu = V^2 / sum(s^2 / (R-1)),
with each side's spread s replaced in that formula, and only there, by its upper confidence bound at `UPPER`: with the
estimate itself a spread that came out small by chance also claims many degrees of freedom, and three seeds then reject
a true hypothesis in up to 7.8 % (docs/statistics.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from eval.statistics.distributions import chi2_ppf
from eval.statistics.law import Law

if TYPE_CHECKING:
    import numpy.typing as npt

UPPER = 0.7
METHODS_FROM = 3
"""Runs a side from which on a verdict speaks of methods."""


@dataclass(frozen=True)
class Sampled:
    """A number of each run of one method: `values` [R] as published, their bootstrap values [R, B] (B may be 0).

    `optimism` [R] is what is subtracted from a value to centre its interval (see `eval.statistics.selection`).
    `trained` is False for what has no training to repeat (a control, a fixed rule).
    """

    values: npt.NDArray[np.float64]
    resampled: npt.NDArray[np.float64]
    optimism: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros(1))
    trained: bool = True

    @classmethod
    def of(
        cls,
        values: Sequence[float],
        resampled: Sequence[npt.NDArray[np.float64] | None],
        optimism: Sequence[float] | None = None,
        *,
        trained: bool = True,
    ) -> Sampled:
        """From one entry a run; without bootstrap values of every run there are none."""
        found = [r for r in resampled if r is not None]
        boot = np.stack(found) if len(found) == len(values) else np.zeros((len(values), 0))
        shift = np.zeros(len(values)) if optimism is None else np.asarray(optimism, np.float64)
        return cls(np.asarray(values, np.float64), boot, shift, trained)

    @property
    def runs(self) -> int:
        return len(self.values)

    @property
    def mean(self) -> float:
        return float(self.values.mean())

    @property
    def centre(self) -> float:
        return float((self.values - self.optimism).mean())


@dataclass(frozen=True)
class RunPart:
    """What the runs of one side (or of the pairs) add to the variance of the mean over `runs` of them."""

    runs: int
    spread: float
    noise: float

    @property
    def excess(self) -> float:
        """Spread beyond what run x image noise explains."""
        return max(0.0, self.spread - self.noise)

    @property
    def upper_spread(self) -> float:
        """Upper confidence bound of the spread."""
        df = self.runs - 1
        return float(self.spread * df / chi2_ppf(1 - UPPER, df))


@dataclass(frozen=True)
class Components:
    """Variance of a difference of means, by source, in points squared.

    `parts` is empty where the sentence is on the runs at hand alone. `units` is the number of images, or of clusters
    where these are resampled.
    """

    image: float
    parts: tuple[RunPart, ...]
    units: int

    @property
    def variance(self) -> float:
        return self.image + sum(p.excess for p in self.parts)

    @property
    def df(self) -> float:
        """Satterthwaite's degrees of freedom, at least 1; infinite where nothing varies."""
        upper = self.image + sum(max(0.0, p.upper_spread - p.noise) for p in self.parts)
        squares = sum(p.upper_spread**2 / (p.runs - 1) for p in self.parts)
        squares += self.image**2 / max(self.units - 1, 1)
        return max(1.0, upper**2 / squares) if squares > 0 else np.inf

    def law(self, value: float) -> Law:
        """The law of an estimate with these components."""
        return Law(value, self.variance, self.df)


def run_part(values: npt.NDArray[np.float64], resampled: npt.NDArray[np.float64]) -> RunPart:
    """The part of runs with `values` [R] and bootstrap values [R, B]. Raises ValueError for fewer than two runs."""
    runs = len(values)
    if runs < 2:
        raise ValueError("a spread between runs needs at least two of them")
    shared = float(resampled.mean(0).var(ddof=1))
    single = float(resampled.var(axis=1, ddof=1).mean())
    return RunPart(runs, float(values.var(ddof=1) / runs), max(0.0, (single - shared) / (runs - 1)))


def components_of(
    baseline: Sampled, other: Sampled, *, paired: bool, units: int, least: float = 0.0
) -> Components:
    """Components of the difference of two methods' means over runs.

    Args:
        baseline, other: evaluated on the same resamples.
        paired: run i of one has the seed of run i of the other.
        units: images, or clusters.
        least: what is added to the image part, so that no handful of images gives a variance of zero
            (see `eval.statistics.counts`).

    Where either trained side has a single run, the components are of the images alone: the sentence is on these runs.

    Raises ValueError on paired methods with unequal numbers of runs.
    """
    if paired and baseline.runs != other.runs:
        raise ValueError(f"paired by seed, but {baseline.runs} and {other.runs} runs")
    moved = other.resampled.mean(0) - baseline.resampled.mean(0)
    # a bootstrap of n units has a variance smaller by (n - 1) / n
    image = float(np.nanvar(moved, ddof=1)) * units / max(units - 1, 1) + least
    trained = [s for s in (baseline, other) if s.trained]
    if not trained or min(s.runs for s in trained) < 2:
        return Components(image, (), units)
    if paired and len(trained) == 2:
        pairs = run_part(other.values - baseline.values, other.resampled - baseline.resampled)
        return Components(image, (pairs,), units)
    return Components(image, tuple(run_part(s.values, s.resampled) for s in trained), units)
