"""What each kind of error costs: the points that a perfect repair of it alone would give.

After TIDE (Bolya et al., ECCV 2020, arXiv 2008.08115), for one box an image. A repair changes one thing and leaves the
rest: the true box is the one of best IoU, and an image counts where its class is right and its IoU passes. Repairs are
not exclusive (a box may be both displaced and too large), so gains do not add up; the kinds of `error_kinds` are.

    class        the class is right
    threshold    the image's own best threshold
    part         the box is grown to cover the true box; what it has outside stays
    too large    the box is cut to the true box
    displaced    the box keeps its size and moves onto the true box's centre
    several      the true box is the one around all true boxes that are covered by more than 30 %, where several are
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.analysis.error_kinds import THRESHOLDS
from eval.analysis.paired_statistics import adjusted, paired_difference
from eval.analysis.per_image import PerImage, means_of_images
from eval.metrics.bootstrap import Bootstrap
from eval.protocols import Protocol
from eval.records.store import Records
from eval.statistics.components import Sampled
from eval.statistics.counts import least_variance, score_interval

if TYPE_CHECKING:
    import numpy.typing as npt

REPAIRED = {
    "class": "the class is right",
    "threshold": "each image's own best threshold",
    "part": "the box grows to cover the true one",
    "too large": "the box is cut to the true one",
    "displaced": "the box moves onto the true one's centre",
    "several": "the true boxes that it covers count as one",
}
REPAIRS = tuple(REPAIRED)


@dataclass(frozen=True)
class Repaired:
    """N images: which count as they are (`right`), and which would after each repair [N, R]; `scored` [N]. `classes`:
    whether something predicts classes; where nothing does, `class` repairs nothing."""

    right: npt.NDArray[np.bool_]
    after: npt.NDArray[np.bool_]
    scored: npt.NDArray[np.bool_]
    classes: bool

    @property
    def gained(self) -> npt.NDArray[np.float32]:
        """1 where a repair turns a miss into a hit [N, R]."""
        return np.asarray(self.after & ~self.right[:, None], np.float32)


def best_iou_of_images(records: Records, protocol: Protocol) -> npt.NDArray[np.float32]:
    """Each image's best IoU over all thresholds [N]."""
    found = []
    for block in records.blocks():
        maps = block.channel(protocol.channel)
        reached = (
            np.arange(256)[None, :] < np.maximum(maps.max_level, 1)[:, None]
        )  # levels that a threshold has
        found.append(np.where(reached, maps.iou(protocol.contours, protocol.gt_boxes), 0).max(1))
    return np.concatenate(found)


def repaired(
    image: PerImage,
    best_iou: npt.NDArray[np.float32],
    protocol: Protocol,
    true_xyxy: npt.NDArray[np.int64],
    offsets: npt.NDArray[np.int64],
) -> Repaired:
    """Every repair of every image.

    Args:
        image: the protocol's decisions at its threshold.
        best_iou: of `best_iou_of_images` [N].
        protocol: of boxes; its first IoU threshold decides.
        true_xyxy: [M, 4] in the frame, those of image i at offsets[i] : offsets[i + 1].
        offsets: [N + 1].
    """
    limit = protocol.iou_thresholds[0]
    over = np.greater_equal if protocol.iou_comparison == ">=" else np.greater
    classes = bool((image.top1 >= 0).all())
    knows = image.top1 == 1 if classes else np.ones(len(image.scored), bool)
    shaped = _reshaped(image.box_xyxy.astype(np.int64), true_xyxy, offsets)
    right_box = over(image.iou, np.float32(limit)) & image.scored
    right = right_box & knows
    after = np.stack(
        [
            right_box,
            over(best_iou, np.float32(limit)) & knows,
            *((over(shaped[:, k], limit) & knows) for k in range(4)),
        ],
        axis=1,
    )
    return Repaired(right, (after | right[:, None]) & image.scored[:, None], image.scored, classes)


def _reshaped(
    boxes: npt.NDArray[np.int64], true: npt.NDArray[np.int64], offsets: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """IoU [N, 4] with the true box of best IoU after part, too large and displaced, and with the hull of several
    covered ones; 0 where a box meets none, or covers none or one."""
    found = np.zeros((len(boxes), 4))
    counts = np.diff(offsets)
    some = np.flatnonzero(counts > 0)
    if not len(some):
        return found
    owner = np.repeat(np.arange(len(boxes)), counts)
    iou, covered = _overlaps(boxes[owner], true)
    best = np.lexsort((np.arange(len(owner)), -iou, owner))[offsets[some]]  # the first of each image's best
    box, wanted = boxes[some], true[best]
    grown = np.concatenate([np.minimum(box[:, :2], wanted[:, :2]), np.maximum(box[:, 2:], wanted[:, 2:])], 1)
    cut = np.concatenate([np.maximum(box[:, :2], wanted[:, :2]), np.minimum(box[:, 2:], wanted[:, 2:])], 1)
    meets = iou[best] > 0
    for k, shape in enumerate((grown, cut)):
        found[some, k] = np.where(meets, _overlaps(shape, wanted)[0], 0)
    own, size = (b[:, 2:] - b[:, :2] + 1 for b in (box, wanted))
    shared = np.minimum(own, size).prod(1)
    found[some, 2] = shared / (own.prod(1) + size.prod(1) - shared)
    inside = covered > THRESHOLDS["multi_instance_covered"]
    far = np.iinfo(np.int64).max
    low = np.minimum.reduceat(np.where(inside[:, None], true[:, :2], far), offsets[some])
    high = np.maximum.reduceat(np.where(inside[:, None], true[:, 2:], -far), offsets[some])
    several = np.add.reduceat(inside.astype(np.int64), offsets[some]) > 1
    hull = np.concatenate([low, high], 1)
    found[some[several], 3] = _overlaps(box[several], hull[several])[0]
    return found


def _overlaps(
    a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """IoU of each box of `a` with that of `b` [K, 4], and the share of the latter that is covered; both ends count."""
    sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2]) + 1
    shared = np.maximum(sides, 0).prod(1)
    areas = [(x[:, 2:] - x[:, :2] + 1).prod(1) for x in (a, b)]
    # boxes that do not meet cut each other to nothing, which the caller passes over
    return shared / np.maximum(areas[0] + areas[1] - shared, 1), shared / areas[1]


def costs_of_errors(found: Repaired, bootstrap: Bootstrap) -> dict[str, Any]:
    """What each repair gains, in points with intervals; `class` is absent where nothing predicts classes."""
    valid = np.repeat(found.scored[:, None], len(REPAIRS), 1)
    gains, boot = means_of_images(found.gained, valid, bootstrap)
    images = int(found.scored.sum())
    entries = {}
    for k, name in enumerate(REPAIRS):
        if name == "class" and not found.classes:
            continue
        ci = score_interval(float(gains[k]), float(np.nanvar(boot[k])), images) if boot.shape[1] else None
        entries[name] = {"gain": float(gains[k]), "ci95": list(ci) if ci else None}
    share = 100 * float(found.right[found.scored].mean()) if images else None
    return {"right": share, "num_images": images, "repairs": entries}


def differences_of_costs(
    baseline: Sequence[Repaired], other: Sequence[Repaired], *, by_seed: bool, bootstrap: Bootstrap
) -> dict[str, Any]:
    """Gains of either method by repair and their paired difference, one family."""
    sides = []
    for runs in (baseline, other):
        valid = [np.repeat(r.scored[:, None], len(REPAIRS), 1) for r in runs]
        sides.append([means_of_images(r.gained, v, bootstrap) for r, v in zip(runs, valid)])
    kept = [
        k for k, name in enumerate(REPAIRS) if name != "class" or all(r.classes for r in (*baseline, *other))
    ]
    images = int(baseline[0].scored.sum())
    family = [
        paired_difference(
            *(Sampled.of([m[k] for m, _ in side], [b[k] for _, b in side]) for side in sides),
            by_seed=by_seed,
            units=bootstrap.units(images),
            least=least_variance(images),
        )
        for k in kept
    ]
    return {REPAIRS[k]: d.as_json() for k, d in zip(kept, adjusted(family))}
