"""Top-1 Loc split image by image into what drives it: classification, the maps' extent, and the fit of the threshold.

With, for each image, c = the class is right, l = the box is right at the threshold used, o = the box is right at the
run's best threshold over *all* images (all 0 or 1), Top-1 Loc is the mean of c l, and a difference is the exact sum of

    classification   mean (c2 - c1) (l1 + l2) / 2
    extent           mean (o2 - o1) (c1 + c2) / 2                  the maps' foregrounds at their best thresholds
    threshold       -mean ((o2 - l2) - (o1 - l1)) (c1 + c2) / 2    how well the one threshold fits the maps' score scale

(the two-factor split of Kitagawa, JASA 1955, within each image). Two methods with the same maps have exactly 0 in every
term but classification. A split of the overall shares does not: there l is conditional on each method's own correct
images, so that which images are named right passes for better maps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from eval.analysis.evaluated import Evaluated
from eval.analysis.paired_statistics import Difference, adjusted, paired_difference
from eval.analysis.per_image import means_of_images
from eval.metrics.bootstrap import NO_BOOTSTRAP, Bootstrap
from eval.metrics.curves import ThresholdGrid, box_hits
from eval.metrics.outcomes import Summary
from eval.metrics.summarize import summarize
from eval.protocols import Protocol
from eval.records.store import Records
from eval.statistics.components import Sampled
from eval.statistics.counts import least_variance
from eval.statistics.law import ALPHA

TERMS = ("classification", "extent", "threshold")
WORDS = {
    "classification": "classification: one side names more images correctly",
    "extent": "extent of the maps: their boxes differ even at each side's best threshold",
    "threshold": "score scale: the threshold used fits one side's maps better than the other's",
}
NOTHING = "no term differs detectably"
_Float = npt.NDArray[np.float64]
_Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class TopLoc:
    """One run's decisions on every image [N]: class right, box right at the threshold used, box right at the run's best
    threshold over all images; `scored` is false without a true box."""

    correct: _Bool
    localized: _Bool
    best: _Bool
    scored: _Bool


def decisions(records: Records, protocol: Protocol, taus: Sequence[float]) -> TopLoc:
    """The decisions of one run under a protocol with a class condition and one IoU threshold."""
    boxes = replace(protocol, class_gate="none")
    found = summarize(
        records, [replace(boxes, threshold="oracle", fixed_threshold=None)], bootstrap=NO_BOOTSTRAP
    )
    best = next(iter(found.values()))
    at = [taus[0], best.thresholds[0] if isinstance(best, Summary) else taus[0]]
    grids = [ThresholdGrid.build(boxes, (), [tau]) for tau in at]
    columns: dict[str, list[_Bool]] = {k: [] for k in ("correct", "localized", "best", "scored")}
    for block in records.blocks():
        used, most = (box_hits(block, boxes, grid)[0][:, 0] for grid in grids)
        for name, values in (
            ("correct", block.right_class(protocol) == 1),
            ("localized", used),
            ("best", most),
            ("scored", block.num_boxes > 0),
        ):
            columns[name].append(np.asarray(values, bool))
    return TopLoc(**{name: np.concatenate(parts) for name, parts in columns.items()})


def terms_of(a: TopLoc, b: TopLoc) -> _Float:
    """The terms of every image, [N, 3] in the order of `TERMS`; they add up to b's Top-1 Loc minus a's."""
    c1, l1, o1 = (x.astype(np.float64) for x in (a.correct, a.localized, a.best))
    c2, l2, o2 = (x.astype(np.float64) for x in (b.correct, b.localized, b.best))
    classification = (c2 - c1) * (l1 + l2) / 2
    extent = (o2 - o1) * (c1 + c2) / 2
    threshold = -((o2 - l2) - (o1 - l1)) * (c1 + c2) / 2
    return np.stack([classification, extent, threshold], axis=1)


@dataclass(frozen=True)
class Decomposition:
    """The exact split of one protocol's difference; `largest` is a name of `TERMS`, or None: nothing stands out.

    `terms` form a family: their p-values are adjusted for three.
    """

    protocol: str
    terms: dict[str, Difference]
    factors: dict[str, tuple[float, float]]
    """Shares of images in percent, of either method: class right, box right, box right at the best threshold."""

    @property
    def largest(self) -> str | None:
        clear = {
            k: abs(t.value)
            for k, t in self.terms.items()
            if t.adjusted_p is not None and t.adjusted_p < ALPHA
        }
        return max(clear, key=lambda k: clear[k]) if clear else None

    def as_json(self) -> dict[str, Any]:
        tested = any(t.law is not None for t in self.terms.values())
        largest = self.largest
        return {
            "terms": {
                k: {
                    "value": t.value,
                    "ci95": list(t.ci95) if t.ci95 else None,
                    "p_value": t.p_value,
                    "adjusted_p": t.adjusted_p,
                }
                for k, t in self.terms.items()
            },
            "factors": {k: {"baseline": a, "other": b} for k, (a, b) in self.factors.items()},
            "largest": largest,
            "in_words": WORDS[largest] if largest else NOTHING if tested else "not tested",
        }


def decompose(
    baseline: Sequence[Evaluated],
    other: Sequence[Evaluated],
    protocol: Protocol,
    *,
    by_seed: bool,
    bootstrap: Bootstrap,
) -> Decomposition:
    """Split one gated protocol's difference. Unpaired runs are split pair by pair, every run of one with every run of
    the other, which alone makes the terms' means add up."""
    a, b = (
        [decisions(r.store, protocol, r.thresholds(protocol.name)) for r in runs]
        for runs in (baseline, other)
    )
    scored = a[0].scored
    valid = np.repeat(scored[:, None], len(TERMS), axis=1)

    def resampled(x: TopLoc, y: TopLoc) -> _Float:
        means, boot = means_of_images(terms_of(x, y), valid, bootstrap)
        return np.concatenate([means[:, None], boot], axis=1)  # [3, 1 + B]

    pairs = list(zip(a, b)) if by_seed else [(x, y) for x in a for y in b]
    found = np.stack([resampled(x, y) for x, y in pairs])  # [P, 3, 1 + B]
    units = bootstrap.units(int(scored.sum()))
    terms = [
        _term(found[:, k], (len(a), len(b)), by_seed, units, least_variance(int(scored.sum())))
        for k in range(len(TERMS))
    ]

    def share(runs: Sequence[TopLoc], name: str) -> float:
        return 100 * float(np.mean([getattr(r, name)[scored].mean() for r in runs]))

    return Decomposition(
        protocol.name,
        dict(zip(TERMS, adjusted(terms))),
        {name: (share(a, name), share(b, name)) for name in ("correct", "localized", "best")},
    )


def _term(values: _Float, runs: tuple[int, int], by_seed: bool, units: int, least: float) -> Difference:
    """One term over pairs of runs, [P, 1 + B]. Unpaired, its spread is that of the means by run (Hoeffding's
    projection). What is 0 in every image has no variance to be doubted."""
    least = least if np.any(values) else 0.0
    if by_seed:
        zero = np.zeros_like(values)
        sides = (zero, values)
    else:
        grid = values.reshape(*runs, -1)
        sides = (grid.mean((0, 1)) - grid.mean(1), grid.mean(0))
    a, b = (Sampled(s[:, 0], s[:, 1:]) for s in sides)
    return paired_difference(a, b, by_seed=by_seed, units=units, least=least)
