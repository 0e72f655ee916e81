"""The differences of two methods in one dataset and network that a study pools: every protocol's, those of measures
without a threshold, and the primary outcome's on small objects and on large ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.analysis.evaluated import Evaluated, Unavailable
from eval.analysis.paired_statistics import Difference, paired_difference
from eval.analysis.per_image import PerImage
from eval.analysis.subgroups import difference_within, object_shares
from eval.comparison.build import Comparison
from eval.comparison.controls import gaussian_by_image
from eval.comparison.run_pairs import Pairing
from eval.comparison.sides import difference_of, sampled
from eval.metrics.bootstrap import DEFAULT_BOOTSTRAP, resampled_means
from eval.metrics.outcomes import Summary
from eval.statistics.components import Sampled
from eval.statistics.heterogeneity import SMALLEST_GROUP

if TYPE_CHECKING:
    import numpy.typing as npt

ENERGY = "energy on "
TOP1 = "top-1 accuracy"
SMALL = 1 / 3
"""The share of the image below which an object counts as small: boxes in the middle suit larger ones by themselves."""
SIZES = ("objects under a third of the image", "objects of a third and more")


def protocol_differences(pairing: Pairing, summaries: dict[str, dict[str, Summary]]) -> dict[str, Difference]:
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


def measured_differences(pairing: Pairing) -> dict[str, Difference]:
    """The differences of outcomes without a threshold: top-1 accuracy, without which a map says little, and, where
    masks were recorded, the map's positive energy on the object and on each part."""
    index = pairing.baseline[0].store.index
    names: dict[str, tuple[str, int | None]] = {
        TOP1: ("top1", None),
        f"{ENERGY}object": ("energy_object", None),
        **{f"{ENERGY}{part}": ("energy_parts", k) for k, part in enumerate(index.part_names)},
    }
    units = DEFAULT_BOOTSTRAP.units(index.num_images)
    found = {}
    for name, (array, column) in names.items():
        a, b = (_means(runs, array, column) for runs in (pairing.baseline, pairing.other))
        if a is not None and b is not None:
            found[name] = paired_difference(a, b, by_seed=pairing.by_seed, units=units)
    return found


def _means(runs: Sequence[Evaluated], array: str, column: int | None) -> Sampled | None:
    """The mean of a per-image measure in percent, run by run, with its resamples; None where it was not recorded."""
    means = []
    for run in runs:
        blocks = []
        for block in run.store.blocks():
            values = block.measure(array)
            if values is None:
                return None
            chosen = (values if column is None else values[:, column])[:, None]
            blocks.append((chosen, np.isfinite(chosen) & (chosen >= 0)))
        if not any(fine.any() for _, fine in blocks):
            return None
        means.append(resampled_means(blocks, [len(v) for v, _ in blocks], DEFAULT_BOOTSTRAP)[:, 0])
    return Sampled.of([float(m[0]) for m in means], [m[1:] for m in means])


def size_differences(pairing: Pairing, comparison: Comparison, primary: str) -> dict[str, Difference]:
    """The primary outcome's difference on images whose largest object is small, and on the others; only where a
    protocol of boxes decides, image sizes are known, and the images are not too few for an interval
    (`sizes_left_out`). Each run keeps its threshold: the intervals leave out how it was chosen."""
    a, b = (_decisions(runs, comparison, primary) for runs in (pairing.baseline, pairing.other))
    found = {
        f"{primary}, {name}": difference_within(
            a, b, inside, by_seed=pairing.by_seed, bootstrap=DEFAULT_BOOTSTRAP
        )
        for name, inside in _sizes(comparison).items()
        if a and b
    }
    return {name: d for name, d in found.items() if d is not None}


def sizes_against_gaussian(
    methods: Mapping[str, Sequence[Evaluated]], comparison: Comparison, primary: str
) -> list[dict[str, Any]]:
    """Each method against the centre Gaussian by the primary outcome, on small objects and on the others; as
    `size_differences`."""
    sizes, first = _sizes(comparison), next(iter(methods.values()))[0]
    own = {m: d for m, runs in methods.items() if (d := _decisions(runs, comparison, primary))}
    if isinstance(comparison.manifest, Unavailable) or not sizes or not own:
        return []
    protocol = first.protocols[primary]
    control = gaussian_by_image(comparison.manifest, first, protocol, DEFAULT_BOOTSTRAP)
    if control is None:
        return []
    found = []
    for size, inside in sizes.items():
        for method, decisions in own.items():
            difference = difference_within(
                [control],
                decisions,
                inside,
                by_seed=False,
                bootstrap=DEFAULT_BOOTSTRAP,
                baseline_trained=False,
            )
            if difference is not None:
                images = int((inside & control.scored).sum())
                found.append({"size": size, "images": images, "method": method, **difference.as_json()})
    return found


def sizes_left_out(comparison: Comparison, primary: str) -> dict[str, str]:
    """Which of `SIZES` has no outcome here, and why."""
    if isinstance(comparison.manifest, Unavailable):
        return dict.fromkeys(SIZES, comparison.manifest.reason)
    decisions = [d for (_, name), d in comparison.decisions.items() if name == primary]
    if not decisions:
        return dict.fromkeys(SIZES, f"{primary} decides on no boxes")
    counts = {size: int((inside & decisions[0].scored).sum()) for size, inside in _sizes(comparison).items()}
    unknown = int(np.isnan(object_shares(comparison.manifest[1])).sum())
    beside = f", and the size of {unknown} is not known" if unknown else ""
    return {
        s: f"{n} images, fewer than {SMALLEST_GROUP}{beside}" for s, n in counts.items() if n < SMALLEST_GROUP
    }


def _decisions(runs: Sequence[Evaluated], comparison: Comparison, primary: str) -> list[PerImage]:
    """Those of every run; empty where a run has none."""
    found = [comparison.decisions.get((str(r.folder), primary)) for r in runs]
    return [d for d in found if d is not None] if None not in found else []


def _sizes(comparison: Comparison) -> dict[str, npt.NDArray[np.bool_]]:
    """The images of each of `SIZES`; empty where the dataset is not at hand."""
    if isinstance(comparison.manifest, Unavailable):
        return {}
    shares = object_shares(comparison.manifest[1])
    return dict(zip(SIZES, (shares < SMALL, shares >= SMALL)))
