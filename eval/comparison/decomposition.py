"""Top-1 Loc split exactly into what drives it: classification, the maps' extent, and the fit of the threshold.

With c = share of images classified correctly (in percent), l = share localised among those at the protocol's own
threshold, o = the same at its best threshold, g = o - l the loss by not using the best threshold:

    Top-1 Loc = c * l = c * (o - g)

and a difference of two methods is the exact sum (Kitagawa, JASA 1955) of

    classification   (c2 - c1) * (l1 + l2) / 2
    extent           (o2 - o1) * (c1 + c2) / 2      the maps' foregrounds at their best threshold
    threshold       -(g2 - g1) * (c1 + c2) / 2      how well that one threshold fits the maps' score scale

Every term is re-computed in each bootstrap resample, maximum included. `largest` names the term that stands out: the
largest in absolute size among those whose interval, corrected for three terms, misses zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from eval.analysis.evaluated import Evaluated
from eval.analysis.paired_statistics import Difference, Sampled, paired_difference
from eval.metrics.bootstrap import Bootstrap, weighted_sum
from eval.metrics.curves import ThresholdGrid, box_hits
from eval.protocols import Protocol
from eval.records.store import Records

TERMS = ("classification", "extent", "threshold")
WORDS = {
    "classification": "classification: one method names more images correctly",
    "extent": "extent of the maps: their boxes differ even at each method's best threshold",
    "threshold": "score scale: the threshold used fits one method's maps better than the other's",
}
NOTHING = "no term differs detectably"
_Float = npt.NDArray[np.float64]


@dataclass(frozen=True)
class TopLoc:
    """One run's factors as fractions [1 + B]: the whole set first, then each resample."""

    correct: _Float
    localized: _Float
    best: _Float

    @property
    def gap(self) -> _Float:
        return self.best - self.localized


def factors(records: Records, protocol: Protocol, taus: Sequence[float], bootstrap: Bootstrap) -> TopLoc:
    """c, l and o of one run under a protocol with a class condition and one IoU threshold. NaN where undefined (no
    image classified correctly)."""
    present: set[int] = set()
    for block in records.blocks():
        present.update(np.unique(block.channel(protocol.channel).max_level).tolist())
    everywhere = replace(protocol, threshold="oracle", fixed_threshold=None)
    grid = ThresholdGrid.build(everywhere, sorted(present))
    own = ThresholdGrid.build(protocol, sorted(present), taus)
    rows = 1 + bootstrap.resamples
    n, correct, localized = np.zeros(rows), np.zeros(rows), np.zeros(rows)
    curve = np.zeros((rows, len(grid.taus)))
    for block, weights in zip(records.blocks(), bootstrap.weights(records.index.block_sizes)):
        scored = (block.num_boxes > 0).astype(np.float32)
        n += weighted_sum(weights, scored)
        correct += weighted_sum(weights, scored * (block.right_class(protocol) == 1))
        localized += weighted_sum(weights, box_hits(block, protocol, own)[0][:, 0])
        curve += weighted_sum(weights, box_hits(block, everywhere, grid)[0])
    with np.errstate(invalid="ignore", divide="ignore"):
        return TopLoc(correct / n, localized / correct, curve.max(1) / correct)


def _terms(a: TopLoc, b: TopLoc) -> dict[str, _Float]:
    mean_correct = (a.correct + b.correct) / 2
    return {
        "classification": 100 * (b.correct - a.correct) * (a.localized + b.localized) / 2,
        "extent": 100 * (b.best - a.best) * mean_correct,
        "threshold": -100 * (b.gap - a.gap) * mean_correct,
    }


@dataclass(frozen=True)
class Decomposition:
    """The exact split of one protocol's difference; `largest` is a name of `TERMS`, or None: nothing stands out."""

    protocol: str
    terms: dict[str, Difference]
    factors: dict[str, Difference]
    """correct, localized, best: each method's own value and their difference, in percent."""
    largest: str | None

    @property
    def tested(self) -> bool:
        """Whether there is a bootstrap to say that a term differs."""
        return any(t.p_value is not None for t in self.terms.values())

    def as_json(self) -> dict[str, Any]:
        return {
            "terms": {k: _brief(v) for k, v in self.terms.items()},
            "factors": {k: v.as_json() for k, v in self.factors.items()},
            "largest": self.largest,
            "in_words": WORDS[self.largest] if self.largest else NOTHING if self.tested else "not tested",
        }


def _brief(term: Difference) -> dict[str, Any]:
    return {"value": term.value, "ci95": list(term.ci95) if term.ci95 else None, "p_value": term.p_value}


def decompose(
    baseline: Sequence[Evaluated],
    other: Sequence[Evaluated],
    protocol: Protocol,
    *,
    by_seed: bool,
    bootstrap: Bootstrap,
) -> Decomposition | None:
    """Split one gated protocol's difference; None where a method classifies nothing correctly."""

    def all_factors(runs: Sequence[Evaluated]) -> list[TopLoc]:
        return [factors(r.store, protocol, r.thresholds(protocol.name), bootstrap) for r in runs]

    found_a, found_b = all_factors(baseline), all_factors(other)
    if not all(np.isfinite(f.localized[0]) for f in (*found_a, *found_b)):
        return None
    if by_seed:
        split = [[_terms(a, b)] for a, b in zip(found_a, found_b)]
    else:
        split = [[_terms(a, b) for b in found_b] for a in found_a]
    terms = {
        name: _term(np.array([[t[name] for t in row] for row in split]), by_seed=by_seed, seed=bootstrap.seed)
        for name in TERMS
    }
    parts = {}
    for name in ("correct", "localized", "best"):
        a, b = (
            Sampled(
                100 * np.array([getattr(f, name)[0] for f in fs]),
                100 * np.stack([getattr(f, name)[1:] for f in fs]),
            )
            for fs in (found_a, found_b)
        )
        parts[name] = paired_difference(a, b, by_seed=by_seed, seed=bootstrap.seed)
    return Decomposition(protocol.name, terms, parts, _largest(terms))


def _term(values: _Float, *, by_seed: bool, seed: int) -> Difference:
    """One term over runs. `values` [R, 1, 1 + B] are of pairs of seeds; unpaired, [R1, R2, 1 + B] are of every run of
    one method with every run of the other, which alone makes the terms' means add up to the difference of the means.
    The seeds' spread is then that of the means by run (Hoeffding's projection)."""
    if by_seed:
        value = values[:, 0]
        zero = np.zeros_like(value)
        return paired_difference(
            Sampled(zero[:, 0], zero[:, 1:]), Sampled(value[:, 0], value[:, 1:]), by_seed=True, seed=seed
        )
    by_other = values.mean(0)  # [R2, 1 + B]
    by_baseline = values.mean((0, 1)) - values.mean(1)  # [R1, 1 + B], around 0
    return paired_difference(
        Sampled(by_baseline[:, 0], by_baseline[:, 1:]),
        Sampled(by_other[:, 0], by_other[:, 1:]),
        by_seed=False,
        seed=seed,
    )


def _largest(terms: dict[str, Difference]) -> str | None:
    clear = {
        k: abs(t.value) for k, t in terms.items() if t.p_value is not None and t.p_value * len(terms) < 0.05
    }
    return max(clear, key=lambda k: clear[k]) if clear else None
