"""Where a difference comes from: images by object size, by number of instances, by class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.analysis.paired_statistics import Difference, adjusted, paired_difference
from eval.analysis.per_image import PerImage, group_sums
from eval.metrics.bootstrap import Bootstrap
from eval.statistics.components import Sampled
from eval.statistics.counts import least_variance
from eval.statistics.heterogeneity import SMALLEST_GROUP, against_the_rest, shrink

if TYPE_CHECKING:
    import numpy.typing as npt

    from wsol.manifest import Split

SIZE_EDGES = (0.1, 0.25, 0.5)
"""Share of the image that its largest true box takes: bounds between small, medium, large and very large."""
SIZE_NAMES = ("under 10 %", "10 to 25 %", "25 to 50 %", "50 % and more")
INSTANCE_NAMES = ("1", "2", "3 and more")


def object_shares(split: Split) -> npt.NDArray[np.float64]:
    """The share of each image, [N], that its largest true box takes; NaN without a box or a stated image size."""
    boxes, sizes = split.boxes_xyxy, split.sizes_wh.astype(np.float64)
    owner = np.repeat(np.arange(len(split)), np.diff(split.box_offsets))
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    largest = np.zeros(len(split))
    np.maximum.at(largest, owner, area)
    whole = sizes.prod(1)
    known = (whole > 0) & (np.diff(split.box_offsets) > 0)
    return np.divide(largest, whole, out=np.full(len(split), np.nan), where=known)


def size_groups(split: Split) -> npt.NDArray[np.int64]:
    """Index into `SIZE_NAMES` for each image; -1 without a box or a stated image size."""
    shares = object_shares(split)
    return np.where(np.isnan(shares), -1, np.searchsorted(SIZE_EDGES, shares, side="right"))


def instance_groups(num_boxes: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
    """Index into `INSTANCE_NAMES` for each image; -1 without a box."""
    return np.asarray(np.minimum(num_boxes.astype(np.int64), 3) - 1)


def group_differences(
    baseline: Sequence[PerImage],
    other: Sequence[PerImage],
    groups: npt.NDArray[np.integer],
    names: Sequence[str],
    *,
    by_seed: bool,
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    """Whether the difference of two methods differs between groups of images, and each group's own.

    `groups`: for each group that occurs its number of images, both values, the paired difference, `contribution` (its
    share of the overall difference in points; contributions add up to it) and `against_rest`, its difference minus that
    over all other images. Groups under 30 images have values and neither interval nor test. `interaction_p` is the
    smallest p of the `against_rest`, adjusted for all: the test that groups differ at all. `shrunk` is each tested
    group's difference drawn towards the mean by as much as noise explains their spread.

    Each run keeps the threshold that it has on the whole set.
    """
    scored = baseline[0].scored
    present = [g for g in range(len(names)) if (scored & (groups == g)).any()]
    if not present:
        return {"groups": [], "interaction_p": None, "tested": 0}
    place = np.full(len(names), -1)
    place[present] = np.arange(len(present))
    inside = np.where(scored & (groups >= 0), place[groups], -1)  # [N], into `present`
    counts = np.bincount(inside[inside >= 0], minlength=len(present))
    placed = int(counts.sum())

    def sampled(runs: Sequence[PerImage]) -> tuple[list[Any], list[Any]]:
        hits = np.stack([r.hit.mean(1, dtype=np.float32) for r in runs], axis=1)
        totals, drawn = group_sums(hits, inside, len(present), bootstrap)  # [R, 1 + B, G], [1 + B, G]
        with np.errstate(invalid="ignore", divide="ignore"):
            own = 100 * totals / drawn
        rest = 100 * against_the_rest(totals, drawn)
        return [(o[0], o[1:].T) for o in own], [(r[0], r[1:].T) for r in rest]

    (own_a, rest_a), (own_b, rest_b) = sampled(baseline), sampled(other)

    def side(pieces: Sequence[Any], k: int) -> Sampled:
        return Sampled.of([m[k] for m, _ in pieces], [b[k] for _, b in pieces])

    total = int(scored.sum())
    tested = [k for k in range(len(present)) if counts[k] >= SMALLEST_GROUP]
    contrasts: dict[int, Difference] = {}
    if len(present) > 1:
        found = [
            paired_difference(
                side(rest_a, k),
                side(rest_b, k),
                by_seed=by_seed,
                units=bootstrap.units(int(counts[k])),
                least=least_variance(int(counts[k])),
            )
            for k in tested
            if counts[k] < placed
        ]
        contrasts = dict(zip((k for k in tested if counts[k] < placed), adjusted(found)))
    rows = []
    differences: dict[int, Difference] = {}
    for k, g in enumerate(present):
        n = int(counts[k])
        difference = paired_difference(
            side(own_a, k),
            side(own_b, k),
            by_seed=by_seed,
            units=bootstrap.units(n),
            least=least_variance(n),
        )
        entry: dict[str, Any] = {"group": names[g], "images": n, **difference.as_json()}
        entry["contribution"] = difference.value * n / total
        if k in tested:
            differences[k] = difference
        else:
            entry.update(dict.fromkeys(("ci95", "p_value", "adjusted_p", "standard_error", "centre")))
        if k in contrasts:
            c = contrasts[k]
            entry["against_rest"] = {"difference": c.value, "adjusted_p": c.adjusted_p}
        rows.append(entry)
    laws = {k: d.law for k, d in differences.items() if d.law is not None}
    spread = None
    if len(laws) > 1:
        shrunk, spread = shrink([law.value for law in laws.values()], [law.variance for law in laws.values()])
        for k, value in zip(laws, shrunk):
            rows[k]["shrunk"] = value
    p_values = [c.adjusted_p for c in contrasts.values() if c.adjusted_p is not None]
    return {
        "groups": rows,
        "interaction_p": min(p_values) if p_values and len(contrasts) > 1 else None,
        "tested": len(tested),
        "spread_between_groups": None if spread is None else float(np.sqrt(spread)),
    }
