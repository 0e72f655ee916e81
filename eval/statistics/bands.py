"""Curves over thresholds with simultaneous limits: of one method, and of the difference of two."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from eval.statistics.components import Sampled, components_of
from eval.statistics.distributions import normal_isf, normal_sf, t_isf
from eval.statistics.law import CONFIDENCE

if TYPE_CHECKING:
    import numpy.typing as npt


@dataclass(frozen=True)
class Band:
    """A curve over thresholds with limits that hold at all of them at once, [T] each."""

    value: npt.NDArray[np.float64]
    low: npt.NDArray[np.float64]
    high: npt.NDArray[np.float64]

    @classmethod
    def simultaneous(
        cls,
        value: npt.NDArray[np.float64],
        resampled: npt.NDArray[np.float64],
        variance: npt.NDArray[np.float64],
        df: npt.NDArray[np.float64] | float,
        confidence: float = CONFIDENCE,
        least: float = 0.0,
    ) -> Band:
        """The sup-t band (Montiel Olea and Plagborg-Moller, Journal of Applied Econometrics 2019) of a curve.

        Near 0 and 100 % a sample may show no variation. `least` is what `variance` holds for that at the level of one
        interval (`least_variance`); the pseudo-count behind it grows with the square of the critical value, and so does
        it here.

        Args:
            value: the curve, [T].
            resampled: its bootstrap values, [B, T].
            variance, df: of each point's law, [T]; runs included where there are several.
            confidence: that the whole true curve lies inside.
        """
        moved = resampled - resampled.mean(0)
        spread = moved.std(0, ddof=1)
        seen = spread > 1e-9
        largest = (
            np.max(np.abs(moved[:, seen]) / spread[seen], axis=1) if seen.any() else np.zeros(len(moved))
        )
        least_critical = float(normal_isf((1 - confidence) / 2))
        critical = max(float(np.quantile(largest, confidence)), least_critical)
        half = t_isf(normal_sf(critical), df) * np.sqrt(
            variance + least * ((critical / least_critical) ** 2 - 1)
        )
        return cls(value, value - half, value + half)

    def within(self, low: float, high: float) -> Band:
        """The same with limits that the curve cannot leave, such as 0 and 100 percent."""
        return Band(self.value, np.maximum(self.low, low), np.minimum(self.high, high))


@dataclass(frozen=True)
class RunCurves:
    """The accuracy curves of one method's runs in percent: `values` [R, T], `resampled` [R, B, T].

    `trained` is False for what has no training to repeat (a control).
    """

    values: npt.NDArray[np.float64]
    resampled: npt.NDArray[np.float64]
    trained: bool = True

    def at(self, threshold: int) -> Sampled:
        """The runs' numbers at one of the T thresholds."""
        return Sampled(self.values[:, threshold], self.resampled[:, :, threshold], trained=self.trained)


def curve_band(
    runs: RunCurves, baseline: RunCurves | None = None, *, paired: bool = False, units: int, least: float
) -> Band:
    """The mean curve of a method's runs with its band; with `baseline` the difference of the two mean curves.

    Args:
        runs, baseline: over the same thresholds and evaluated on the same resamples.
        paired: run i of one has the seed of run i of the other.
        units, least: as in `eval.statistics.components.components_of`, whose law each point has.
    """
    if baseline is None:
        nothing = np.zeros_like(runs.values[:1]), np.zeros_like(runs.resampled[:1])
        baseline = RunCurves(*nothing, trained=False)
    value = runs.values.mean(0) - baseline.values.mean(0)
    moved = runs.resampled.mean(0) - baseline.resampled.mean(0)
    if (
        min((len(c.values) for c in (runs, baseline) if c.trained), default=1) < 2
    ):  # the images alone: all points at once
        variance = moved.var(0, ddof=1) * units / max(units - 1, 1) + least
        return Band.simultaneous(value, moved, variance, max(units - 1, 1), least=least)
    laws = [
        components_of(baseline.at(t), runs.at(t), paired=paired, units=units, least=least).law(0.0)
        for t in range(len(value))
    ]
    variance, df = np.array([w.variance for w in laws]), np.array([w.df for w in laws])
    return Band.simultaneous(value, moved, variance, df, least=least)
