"""Where a difference comes from: images by object size, by number of instances, by class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.analysis.paired_statistics import Sampled, paired_difference
from eval.analysis.per_image import PerImage, means_of_images
from eval.metrics.bootstrap import Bootstrap

if TYPE_CHECKING:
    import numpy.typing as npt

    from wsol.manifest import Split

SIZE_EDGES = (0.1, 0.25, 0.5)
"""Share of the image that its largest true box takes: bounds between small, medium, large and very large."""
SIZE_NAMES = ("under 10 %", "10 to 25 %", "25 to 50 %", "50 % and more")
INSTANCE_NAMES = ("1", "2", "3 and more")


def size_groups(split: Split) -> npt.NDArray[np.int64]:
    """Index into `SIZE_NAMES` for each image; -1 without a box or a stated image size."""
    boxes, sizes = split.boxes_xyxy, split.sizes_wh.astype(np.float64)
    owner = np.repeat(np.arange(len(split)), np.diff(split.box_offsets))
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    largest = np.zeros(len(split))
    np.maximum.at(largest, owner, area)
    whole = sizes.prod(1)
    known = (whole > 0) & (np.diff(split.box_offsets) > 0)
    share = np.divide(largest, whole, out=np.zeros(len(split)), where=known)
    return np.where(known, np.searchsorted(SIZE_EDGES, share, side="right"), -1)


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
) -> list[dict[str, Any]]:
    """For each group that occurs: number of images, both values, paired difference, and `contribution`, its share of
    the overall difference in points (contributions of all groups add up to the difference).

    Each run keeps the threshold it has on the whole set.
    """
    scored = baseline[0].scored
    present = [g for g in range(len(names)) if (scored & (groups == g)).any()]
    member = np.stack([groups == g for g in present], axis=1) & scored[:, None]  # [N, G]

    def sampled(runs: Sequence[PerImage]) -> list[tuple[Any, Any]]:
        return [
            means_of_images(
                np.repeat(r.hit.mean(1, dtype=np.float32)[:, None], len(present), 1), member, bootstrap
            )
            for r in runs
        ]

    if not present:
        return []
    a, b = sampled(baseline), sampled(other)
    total = int(scored.sum())
    found = []
    for k, g in enumerate(present):
        difference = paired_difference(
            Sampled.of([m[k] for m, _ in a], [s[k] for _, s in a]),
            Sampled.of([m[k] for m, _ in b], [s[k] for _, s in b]),
            by_seed=by_seed,
            seed=bootstrap.seed,
        )
        n = int(member[:, k].sum())
        found.append(
            {
                "group": names[g],
                "images": n,
                **difference.as_json(),
                "contribution": difference.value * n / total,
            }
        )
    return found
