"""What kind of mistake each image is: the error taxonomy of TS-CAM (Gao et al., ICCV 2021, arXiv 2103.14862).

In this order, as its released code decides: classification (the top class is wrong); correct (IoU passes); multi-
instance (of several true boxes more than one is covered by more than 30 %); part (more than 50 % of the predicted box
lies in the true box); more (at least 70 % of the true box is covered); other. The true box is the one of best IoU.
Where nothing predicts a class, the first kind does not occur; compared runs are then all asked without the class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.analysis.paired_statistics import adjusted, paired_difference
from eval.analysis.per_image import PerImage, means_of_images
from eval.boxes.frames import split_boxes
from eval.metrics.bootstrap import Bootstrap
from eval.statistics.components import Sampled
from eval.statistics.counts import least_variance

if TYPE_CHECKING:
    import numpy.typing as npt

    from eval.boxes.frames import Frame
    from wsol.manifest import Split

CLASSIFICATION = "classification"
KINDS = ("correct", CLASSIFICATION, "multi-instance", "part", "more", "other")
THRESHOLDS = {
    "multi_instance_covered": 0.3,
    "part_inside": 0.5,
    "more_covered": 0.7,
}
UNSCORED = -1


def classify(
    image: PerImage, true_xyxy: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64]
) -> npt.NDArray[np.int8]:
    """Index into `KINDS` for each image [N]; -1 where it has no true box.

    `true_xyxy` [M, 4] in the frame, those of image i at offsets[i] : offsets[i + 1]. Areas count both ends.
    """
    kinds = np.full(len(image.scored), UNSCORED, np.int8)
    predicted = image.box_xyxy.astype(np.int64)
    owner = np.repeat(np.arange(len(kinds)), np.diff(offsets))
    box = predicted[owner]
    width = np.minimum(box[:, 2], true_xyxy[:, 2]) - np.maximum(box[:, 0], true_xyxy[:, 0]) + 1
    height = np.minimum(box[:, 3], true_xyxy[:, 3]) - np.maximum(box[:, 1], true_xyxy[:, 1]) + 1
    shared = np.maximum(width, 0) * np.maximum(height, 0)
    own, true = _area(box), _area(true_xyxy)
    iou, inside, covered = shared / (own + true - shared), shared / own, shared / true
    for i in np.flatnonzero(image.scored):
        rows = slice(int(offsets[i]), int(offsets[i + 1]))
        best = int(np.argmax(iou[rows]))
        if image.top1[i] == 0:
            kind = CLASSIFICATION
        elif image.hit[i, 0]:
            kind = "correct"
        elif (covered[rows] > THRESHOLDS["multi_instance_covered"]).sum() > 1:
            kind = "multi-instance"
        elif inside[rows][best] > THRESHOLDS["part_inside"]:
            kind = "part"
        elif covered[rows][best] >= THRESHOLDS["more_covered"]:
            kind = "more"
        else:
            kind = "other"
        kinds[i] = KINDS.index(kind)
    return kinds


def without_class_unless_all(images: Sequence[PerImage]) -> list[PerImage]:
    """The same runs with no class prediction in any, where one has none: else what is 'correct' for that one (the box)
    is less than for the others (class and box)."""
    if all((image.top1 >= 0).all() for image in images):
        return list(images)
    return [replace(image, top1=np.full_like(image.top1, -1)) for image in images]


def _area(boxes: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    return np.asarray((boxes[:, 2] - boxes[:, 0] + 1) * (boxes[:, 3] - boxes[:, 1] + 1))


def true_boxes(split: Split, frame: Frame) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Every true box of a split in a frame, and where each image's begin."""
    return split_boxes(split, np.arange(len(split), dtype=np.int64), frame)


def taxonomy_shares(
    baseline: Sequence[npt.NDArray[np.int8]],
    other: Sequence[npt.NDArray[np.int8]],
    *,
    by_class: bool,
    by_seed: bool,
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    """Share of images of each kind by method with the paired difference, in percent; the kinds are one family. Without
    `by_class`, where a side predicts no class, the kind `classification` is absent."""

    def sampled(runs: Sequence[npt.NDArray[np.int8]]) -> list[tuple[Any, Any]]:
        found = []
        for kinds in runs:
            one_hot = kinds[:, None] == np.arange(len(KINDS))[None, :]
            valid = np.repeat((kinds != UNSCORED)[:, None], len(KINDS), axis=1)
            found.append(means_of_images(one_hot.astype(np.float32), valid, bootstrap))
        return found

    a, b = sampled(baseline), sampled(other)
    images = int((baseline[0] != UNSCORED).sum())
    found = [
        paired_difference(
            Sampled.of([m[k] for m, _ in a], [s[k] for _, s in a]),
            Sampled.of([m[k] for m, _ in b], [s[k] for _, s in b]),
            by_seed=by_seed,
            units=bootstrap.units(images),
            least=least_variance(images),
        )
        for k in range(len(KINDS))
    ]
    asked = [k for k, name in enumerate(KINDS) if name != CLASSIFICATION or by_class]
    differences = adjusted([found[k] for k in asked])
    return {KINDS[k]: d.as_json() for k, d in zip(asked, differences)}
