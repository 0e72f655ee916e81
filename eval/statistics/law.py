"""An estimate with its sampling law, from which interval, p-value and equivalence all follow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eval.statistics.distributions import t_isf, t_sf

CONFIDENCE = 0.95
ALPHA = 0.05


@dataclass(frozen=True)
class Law:
    """(estimate - truth) / sqrt(variance) follows Student's t with `df` degrees of freedom (infinite: the normal).

    `value` in percentage points, `variance` in points squared. A variance of 0 says that nothing was seen to vary.
    """

    value: float
    variance: float
    df: float = np.inf

    @property
    def standard_error(self) -> float:
        return float(np.sqrt(self.variance))

    def critical(self, alpha: float = ALPHA) -> float:
        """The two-sided critical value of |t| at a level."""
        return float(t_isf(alpha / 2, self.df))

    def interval(self, confidence: float = CONFIDENCE) -> tuple[float, float]:
        """The central interval; it holds a truth exactly where `p_value(truth)` is at least 1 - confidence.

        >>> [round(v, 2) for v in Law(1.0, 4.0).interval()]
        [-2.92, 4.92]
        """
        half = self.critical(1 - confidence) * self.standard_error
        return self.value - half, self.value + half

    def p_value(self, null: float = 0.0) -> float:
        """Two-sided p of the hypothesis that the truth is `null`."""
        if self.variance <= 0:
            return 1.0 if self.value == null else 0.0
        return float(2 * t_sf(abs(self.value - null) / self.standard_error, self.df))

    def p_not_equivalent(self, margin: float) -> float:
        """p of the hypothesis that the truth lies outside (-margin, margin): the larger of two one-sided tests
        (Schuirmann, Journal of Pharmacokinetics and Biopharmaceutics 1987). Below 0.05 exactly where the 90 % interval
        lies within the margin.

        Raises ValueError where `margin` is not positive.
        """
        if not margin > 0:
            raise ValueError(f"the margin must be positive, got {margin}")
        if self.variance <= 0:
            return 0.0 if abs(self.value) < margin else 1.0
        return float(t_sf((margin - abs(self.value)) / self.standard_error, self.df))
