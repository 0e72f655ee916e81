"""Several differences looked at together: adjusted p-values (max-T, Holm)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from eval.statistics.components import Components
from eval.statistics.distributions import normal_isf, normal_sf
from eval.statistics.law import ALPHA

if TYPE_CHECKING:
    import numpy.typing as npt

DRAWS = 20_000
_SEED = 20_260


@dataclass(frozen=True)
class Member:
    """One difference of a family: its own p, its components, and its bootstrap values [B] over images."""

    p_value: float
    components: Components
    resampled: npt.NDArray[np.float64]


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values (Scandinavian Journal of Statistics 1979): compare each with 0.05 and the
    probability of any false claim stays below 5 %.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    adjusted = np.zeros(len(p_values))
    worst = 0.0
    for rank, k in enumerate(np.argsort(p_values, kind="stable")):
        worst = max(worst, min(1.0, (len(p_values) - rank) * p_values[k]))
        adjusted[k] = worst
    return [float(p) for p in adjusted]


def _null_draws(family: Sequence[Member]) -> npt.NDArray[np.float64]:
    """|Z| [DRAWS, J] of standard normals that are correlated as the differences are over the resampled images. What
    runs add to the variances counts as independent from one difference to the next, which only makes the largest
    larger (Sidak, JASA 1967)."""
    moved = np.stack([t.resampled - t.resampled.mean() for t in family])
    size = np.sqrt((moved**2).sum(1))
    unit = np.divide(moved, size[:, None], out=np.zeros_like(moved), where=size[:, None] > 0)
    total = np.array([t.components.variance for t in family])
    image = np.array([t.components.image for t in family])
    share = np.sqrt(np.divide(image, total, out=np.ones_like(total), where=total > 0))
    correlation = (unit @ unit.T) * np.outer(share, share)
    np.fill_diagonal(correlation, 1.0)
    values, vectors = np.linalg.eigh(correlation)
    root = vectors * np.sqrt(np.clip(values, 0, None))
    generator = np.random.default_rng(_SEED)
    return np.abs(generator.standard_normal((DRAWS, len(family))) @ root.T)


def max_t(family: Sequence[Member]) -> list[float]:
    """Step-down max-T adjusted p-values (Westfall and Young 1993, algorithm 2.8), never above Holm's nor below the
    difference's own p.

    Each p is put on the normal scale by its own law, so that differences with few degrees of freedom and others stand
    in one family; the largest is compared with the largest of normals that are correlated as the differences are over
    the resamples at hand. Near-copies of one protocol then cost almost nothing. Empty family: empty list.
    """
    if not family:
        return []
    raw = np.array([t.p_value for t in family])
    z = normal_isf(np.clip(raw, 1e-300, 1.0) / 2)
    draws = _null_draws(family)
    order = np.argsort(-z, kind="stable")
    largest = np.maximum.accumulate(draws[:, order][:, ::-1], axis=1)[:, ::-1]
    adjusted = np.zeros(len(raw))
    worst = 0.0
    for rank, k in enumerate(order):
        worst = max(worst, float((largest[:, rank] >= z[k]).sum() + 1) / (DRAWS + 1))
        adjusted[k] = worst
    return [float(p) for p in np.clip(adjusted, raw, holm(raw.tolist()))]


def family_alpha(family: Sequence[Member], alpha: float = ALPHA) -> float:
    """The level at which a single difference of the family is decided when it comes first: the two-sided tail beyond
    the 1 - alpha quantile of the largest |Z|. With one difference it is alpha itself."""
    if len(family) <= 1:
        return alpha
    critical = float(np.quantile(_null_draws(family).max(1), 1 - alpha))
    return float(np.clip(2 * normal_sf(critical), alpha / len(family), alpha))
