"""The difference of two methods on the same images: its law, whom a sentence about it may speak of, and its family.

Both methods are evaluated on the same resamples of the images. What the runs add follows from two-way variance
components (`eval.statistics.components`); interval, p and planning follow from one law.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from scipy.special import bdtr

from eval.statistics.components import METHODS_FROM, Components, Sampled, components_of
from eval.statistics.law import ALPHA, Law
from eval.statistics.multiplicity import Member, family_alpha, holm, max_t
from eval.statistics.planning import POWER, Pilot, detectable

if TYPE_CHECKING:
    import numpy.typing as npt

Scope = Literal["runs", "two seeds", "methods"]
"""Whom a sentence may speak of: the runs at hand, nobody yet (an interval, no verdict), or the methods."""
Correction = Literal["max-t", "holm"]


@dataclass(frozen=True)
class Difference:
    """`value` = other - baseline of the published values, in percentage points.

    `law` is None without resamples; it is centred on the difference of the values less their optimism, which differs
    from `value` where a threshold is chosen on the scored images. `adjusted_p` and `alpha`, the level at which a single
    difference of the family is decided, are those of the family that it was adjusted in (alone: its own p, and 0.05).
    """

    baseline: float
    other: float
    law: Law | None
    components: Components | None
    moved: npt.NDArray[np.float64]
    """Bootstrap values of the difference over images, [B]."""
    runs: tuple[int, int]
    scope: Scope
    per_seed: tuple[float, ...] = ()
    """The difference of each pair of seeds, where runs are paired by seed."""
    adjusted_p: float | None = None
    alpha: float = ALPHA

    @property
    def value(self) -> float:
        return self.other - self.baseline

    @property
    def ci95(self) -> tuple[float, float] | None:
        """Within the 100 points by which two shares can differ; the law knows no such bound."""
        if self.law is None:
            return None
        low, high = self.law.interval()
        return max(low, -100.0), min(high, 100.0)

    @property
    def p_value(self) -> float | None:
        return self.law.p_value() if self.law else None

    def could_show(self, wanted: float = POWER) -> float | None:
        """The true difference that these numbers of runs and images would declare with probability `wanted`, by the law
        and at the level that decide here; None where undefined or where no verdict is given."""
        if self.components is None or self.components.variance <= 0 or self.scope == "two seeds":
            return None
        runs = min(p.runs for p in self.components.parts) if self.components.parts else 1
        pilot = Pilot.of(self.components)
        return detectable(pilot, runs, self.components.units, wanted=wanted, alpha=self.alpha)

    def as_json(self) -> dict[str, Any]:
        return {
            "baseline": self.baseline,
            "other": self.other,
            "difference": self.value,
            "ci95": list(self.ci95) if self.ci95 else None,
            "centre": self.law.value if self.law else None,
            "standard_error": self.law.standard_error if self.law else None,
            "degrees_of_freedom": self.law.df if self.law and np.isfinite(self.law.df) else None,
            "p_value": self.p_value,
            "adjusted_p": self.adjusted_p if self.adjusted_p is not None else self.p_value,
            "scope": self.scope,
            "per_seed": list(self.per_seed),
        }


def paired_difference(
    baseline: Sampled, other: Sampled, *, by_seed: bool, units: int, least: float = 0.0
) -> Difference:
    """The difference of two methods' means over runs.

    Args:
        baseline, other: evaluated on the same resamples.
        by_seed: run i of one has the seed of run i of the other; else all runs of both take part, unpaired.
        units: images, or clusters where these are resampled.
        least: the least variance over images (`eval.statistics.counts.least_variance`); 0 for what is no count.
    """
    if by_seed and baseline.runs != other.runs:
        raise ValueError(f"paired by seed, but {baseline.runs} and {other.runs} runs")
    per_seed = tuple(float(d) for d in other.values - baseline.values) if by_seed else ()
    moved = np.zeros(0)
    law = components = None
    if min(baseline.resampled.shape[1], other.resampled.shape[1]) > 1:
        moved = other.resampled.mean(0) - baseline.resampled.mean(0)
        if np.isfinite(moved).sum() > 1:
            components = components_of(baseline, other, paired=by_seed, units=units, least=least)
            law = components.law(other.centre - baseline.centre)
    return Difference(
        baseline.mean,
        other.mean,
        law,
        components,
        moved,
        (baseline.runs, other.runs),
        scope_of(baseline, other),
        per_seed,
    )


def scope_of(baseline: Sampled, other: Sampled) -> Scope:
    """Whom a sentence on these two sides may speak of; what has no training to repeat does not count."""
    runs = min((s.runs for s in (baseline, other) if s.trained), default=1)
    return "runs" if runs == 1 else "two seeds" if runs < METHODS_FROM else "methods"


def adjusted(family: Sequence[Difference], correction: Correction = "max-t") -> list[Difference]:
    """The same differences with the family's adjusted p and level; those without a law stay as they are."""
    tested = [k for k, d in enumerate(family) if d.law is not None]
    members = []
    for k in tested:
        law, parts = family[k].law, family[k].components
        assert law is not None
        assert parts is not None
        members.append(Member(law.p_value(), parts, np.nan_to_num(family[k].moved, nan=law.value)))
    if correction == "holm":
        p_values, alpha = holm([m.p_value for m in members]), ALPHA / max(len(members), 1)
    else:
        p_values, alpha = max_t(members), family_alpha(members)
    found = list(family)
    for k, p in zip(tested, p_values):
        found[k] = replace(family[k], adjusted_p=p, alpha=alpha)
    return found


def mcnemar_exact(hit_a: npt.NDArray[np.bool_], hit_b: npt.NDArray[np.bool_]) -> dict[str, Any]:
    """McNemar's exact test on two yes/no decisions per image [N]: a two-sided binomial test of the images on which
    they disagree (McNemar, Psychometrika 1947). No disagreement gives p = 1.

    >>> mcnemar_exact(np.array([True, False, False]), np.array([True, True, True]))
    {'only_baseline': 0, 'only_other': 2, 'p_value': 0.5}
    """
    only_a = int((hit_a & ~hit_b).sum())
    only_b = int((hit_b & ~hit_a).sum())
    p = 1.0
    if only_a + only_b:
        p = min(1.0, 2 * float(bdtr(min(only_a, only_b), only_a + only_b, 0.5)))
    return {"only_baseline": only_a, "only_other": only_b, "p_value": p}
