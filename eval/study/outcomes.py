"""The differences of two methods in one dataset and network that a study pools: every protocol's, and the primary
outcome's on small objects and on large ones (measures without a threshold: `eval.study.measured`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from eval.analysis.evaluated import Evaluated, Unavailable
from eval.analysis.paired_statistics import Difference
from eval.analysis.subgroups import object_shares
from eval.comparison.build import Comparison
from eval.comparison.controls import gaussian_within
from eval.comparison.run_pairs import Pairing
from eval.comparison.sides import difference_of, sampled
from eval.metrics.bootstrap import DEFAULT_BOOTSTRAP
from eval.metrics.outcomes import Summary
from eval.metrics.summarize import Chosen, summarize
from eval.records.store import RecordsWithin
from eval.statistics.heterogeneity import SMALLEST_GROUP

SMALL = 1 / 3
"""The share of the image below which an object counts as small: boxes in the middle suit larger ones by themselves."""
SIZES = ("objects under a third of the image", "objects of a third and more")


def protocol_differences(
    pairing: Pairing, summaries: Mapping[str, Mapping[str, Summary]]
) -> dict[str, Difference]:
    """The difference under every protocol that each run has."""
    a, b = ([summaries[str(r.folder)] for r in runs] for runs in (pairing.baseline, pairing.other))
    names = [n for n in a[0] if all(n in found for found in (*a, *b))]
    return {
        n: difference_of(
            sampled([s[n] for s in a]),
            sampled([s[n] for s in b]),
            a[0][n],
            pairing.by_seed,
            DEFAULT_BOOTSTRAP,
        )
        for n in names
    }


@dataclass(frozen=True)
class BySize:
    """The primary outcome of every run, by its folder, on the images of each of `SIZES` that has enough of them; of the
    centre Gaussian likewise; and why a size is left out. Each keeps the threshold that it has on all images."""

    runs: Mapping[str, Mapping[str, Summary]]
    gaussian: Mapping[str, Summary]
    left_out: Mapping[str, str]

    def differences(self, pairing: Pairing, primary: str) -> dict[str, Difference]:
        """The difference of two methods on each size, under the names that the study pools them by."""
        return {
            f"{primary}, {size}": _difference(
                [own[str(r.folder)] for r in pairing.baseline],
                [own[str(r.folder)] for r in pairing.other],
                by_seed=pairing.by_seed,
            )
            for size, own in self.runs.items()
        }

    def against_gaussian(self, method: str, runs: Sequence[Evaluated]) -> list[dict[str, Any]]:
        """A method against the centre Gaussian on each size."""
        found = []
        for size, control in self.gaussian.items():
            own = [self.runs[size][str(r.folder)] for r in runs]
            difference = _difference([control], own, by_seed=False, trained=False)
            images = control.num_scored
            found.append({"size": size, "images": images, "method": method, **difference.as_json()})
        return found


def outcomes_by_size(comparison: Comparison, primary: str) -> BySize:
    """The primary outcome on small objects and on large ones, run by run; only where a protocol of boxes decides, the
    dataset is at hand, and the images are not too few for an interval."""
    runs = {str(r.folder): r for p in comparison.pairings for r in (*p.baseline, *p.other)}
    first = next(iter(runs.values()))
    protocol = first.protocols.get(primary)
    if isinstance(comparison.manifest, Unavailable):
        return BySize({}, {}, dict.fromkeys(SIZES, comparison.manifest.reason))
    if protocol is None or protocol.metric != "box_accuracy":
        return BySize({}, {}, dict.fromkeys(SIZES, f"{primary} decides on no boxes"))
    split = comparison.manifest[1]
    shares = object_shares(split)
    insides = dict(zip(SIZES, (shares < SMALL, shares >= SMALL)))
    unknown = int((np.isnan(shares) & (np.diff(split.box_offsets) > 0)).sum())
    beside = f", and the size of {unknown} is not known" if unknown else ""
    left_out = {
        size: f"{n} images, fewer than {SMALLEST_GROUP}{beside}"
        for size, inside in insides.items()
        if (n := int(inside.sum())) < SMALLEST_GROUP
    }
    kept = {size: inside for size, inside in insides.items() if size not in left_out}
    found: dict[str, dict[str, Summary]] = {size: {} for size in kept}
    for folder, run in runs.items():
        given = run.chosen([protocol], DEFAULT_BOOTSTRAP)
        if protocol.threshold == "oracle":
            given = {primary: Chosen(tuple(run.thresholds(primary)))}
        for size, inside in kept.items():
            within = RecordsWithin(run.store, inside)
            summary = summarize(within, [protocol], thresholds=given, bootstrap=DEFAULT_BOOTSTRAP)[primary]
            assert isinstance(summary, Summary), summary.reason  # it was computed on all images
            found[size][folder] = summary
    gaussian: dict[str, Summary] = {}
    if protocol.class_gate == "none":
        control = gaussian_within(
            comparison.manifest, first, protocol, list(kept.values()), DEFAULT_BOOTSTRAP
        )
        gaussian = {size: summary for size, summary in zip(kept, control) if summary is not None}
    return BySize(found, gaussian, left_out)


def _difference(
    baseline: Sequence[Summary], other: Sequence[Summary], *, by_seed: bool, trained: bool = True
) -> Difference:
    return difference_of(
        sampled(baseline, trained=trained), sampled(other), other[0], by_seed, DEFAULT_BOOTSTRAP
    )
