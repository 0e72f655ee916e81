"""The reference's evaluators under their own names, so that its forks change one import:

    from eval.drop_in import BoxEvaluator, MaskEvaluator      # was: from evaluation import ...

Same arguments, attributes, values and types of exception as wsolevaluation's `evaluation.py` (Choe et al., CVPR 2020;
names of both its releases); written anew on this project's own rules, and as fast as these.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.boxes.best_iou import best_iou_per_level, boxes_at_level
from eval.boxes.frames import resize_mask
from eval.boxes.geometry import inclusive_iou, rescaled
from eval.maps.normalization import quantize
from eval.metrics.pixels import average_precision
from eval.records.histograms import score_histograms
from wsol.errors import UserError
from wsol.files.regular import read_text
from wsol.files.roots import open_root
from wsol.images import decode_grey

if TYPE_CHECKING:
    import numpy.typing as npt

RESIZE_LENGTH = 224


def calculate_multiple_iou(box_a: npt.ArrayLike, box_b: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """IoU with both ends counted, [N, 4] and [M, 4] to [N, M]. RuntimeError for a box with x1 < x0 or y1 < y0."""
    try:
        return inclusive_iou(box_a, box_b)
    except ValueError as error:
        raise RuntimeError(str(error)) from error


def resize_bbox(
    box: Iterable[float], image_size: Sequence[int], resize_size: Sequence[int]
) -> tuple[int, int, int, int]:
    """A box of an image of (width, height) in one of another size, truncated.

    >>> resize_bbox((1, 2, 4, 3), (10, 20), (35, 10))
    (3, 1, 14, 1)
    """
    width, height = (int(v) for v in resize_size)
    try:
        found = np.trunc(rescaled([list(box)], image_size, (width, height), "box"))[0]
    except UserError as error:
        raise RuntimeError(str(error)) from error
    x0, y0, x1, y1 = (int(v) for v in found)
    return x0, y0, x1, y1


def compute_bboxes_from_scoremaps(
    scoremap: npt.NDArray[np.floating],
    scoremap_threshold_list: Iterable[float],
    multi_contour_eval: bool | None = None,
) -> Any:
    """Boxes of a map [H, W] in [0, 1] at each threshold.

    Without `multi_contour_eval` a list of one box a threshold, as the first release gives; with it, as the second: a
    list of arrays [K, 4] and the list of their K. ValueError for a map that is none.
    """
    levels = _levels(scoremap)
    rule = "all" if multi_contour_eval else "largest"
    found = [boxes_at_level(levels, int(t * levels.max()), rule) for t in scoremap_threshold_list]  # type: ignore[arg-type]
    if multi_contour_eval is None:
        return [boxes[0].tolist() for boxes in found]
    return found, [len(boxes) for boxes in found]


def _levels(scoremap: npt.NDArray[np.floating]) -> npt.NDArray[np.uint8]:
    if not isinstance(scoremap, np.ndarray) or scoremap.ndim != 2:
        raise ValueError(f"a score map must be an array [H, W], got {type(scoremap).__name__}")
    return quantize(np.asarray(scoremap, np.float64))


def _rows(metadata: Any, name: str, fields: int) -> list[list[str]]:
    """Lines of one of the metadata's files; `metadata` is the reference's object or mapping of paths, or a folder."""
    if isinstance(metadata, (str, Path)):
        path = Path(metadata) / f"{name}.txt"
    else:
        path = Path(metadata[name] if isinstance(metadata, Mapping) else getattr(metadata, name))
    lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    found = [line.rsplit(",", fields - 1) for line in lines]
    bad = next((k for k, row in enumerate(found) if len(row) != fields), None)
    if bad is not None:
        raise ValueError(f"{path}:{bad + 1}: expected {fields} fields, got {lines[bad]!r:.80}")
    return found


class _Evaluator:
    def __init__(
        self,
        metadata: Any,
        dataset_name: str,
        split: str,
        cam_threshold_list: Sequence[float] | None = None,
        iou_threshold_list: Sequence[int] | None = None,
        mask_root: str | Path | None = None,
        multi_contour_eval: bool = False,
        threshold_list: Sequence[float] | None = None,
    ) -> None:
        given = threshold_list if cam_threshold_list is None else cam_threshold_list
        if given is None:
            raise TypeError("name the thresholds: cam_threshold_list (or threshold_list)")
        self.metadata = metadata
        self.dataset_name = dataset_name
        self.split = split
        self.cam_threshold_list = self.threshold_list = list(given)
        self._single = iou_threshold_list is None  # the first release: IoU 0.5, one number
        self.iou_threshold_list = [50] if iou_threshold_list is None else list(iou_threshold_list)
        self.mask_root = mask_root
        self.multi_contour_eval = multi_contour_eval


class BoxEvaluator(_Evaluator):
    """MaxBoxAcc and, with `multi_contour_eval` and several IoU thresholds, MaxBoxAccV2's terms.

    `metadata` has the paths image_ids, image_sizes and localization. `compute` gives a number where no
    `iou_threshold_list` was named (first release), else a list, one number a threshold.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.image_ids = [row[0] for row in _rows(self.metadata, "image_ids", 1)]
        self.resize_length = RESIZE_LENGTH
        self.cnt = 0
        self._correct = {t: np.zeros(len(self.cam_threshold_list)) for t in self.iou_threshold_list}
        self.original_bboxes: dict[str, list[tuple[int, ...]]] = {}
        for image_id, *corners in _rows(self.metadata, "localization", 5):
            box = tuple(int(float(v)) for v in corners)
            self.original_bboxes.setdefault(image_id, []).append(box)
        self.image_sizes = {i: (int(w), int(h)) for i, w, h in _rows(self.metadata, "image_sizes", 3)}
        side = (self.resize_length, self.resize_length)
        self.gt_bboxes = {
            i: [resize_bbox(b, self.image_sizes[i], side) for b in self.original_bboxes[i]]
            for i in self.image_ids
        }

    @property
    def num_correct(self) -> Any:
        """Images that are right at each threshold, by IoU threshold in percent (first release: an array)."""
        return self._correct[50] if self._single else self._correct

    def accumulate(self, scoremap: npt.NDArray[np.floating], image_id: str) -> None:
        """Take in one map [224, 224] in [0, 1]."""
        levels = _levels(scoremap)
        found = best_iou_per_level(levels, np.array(self.gt_bboxes[image_id], np.int64))
        best = found.all_any if self.multi_contour_eval else found.largest_any
        at = (np.asarray(self.cam_threshold_list) * float(levels.max())).astype(np.int64)
        for percent, correct in self._correct.items():
            correct += best[at] >= percent / 100
        self.cnt += 1

    def compute(self) -> Any:
        """The highest accuracy over thresholds, in percent."""
        found = [float((self._correct[t] * 100.0 / float(self.cnt)).max()) for t in self.iou_threshold_list]
        sys.stdout.write(f"MaxBoxAcc on split {self.split}: {found[0] if self._single else found}\n")
        return found[0] if self._single else found


def get_mask(mask_root: str | Path, mask_paths: Iterable[str], ignore_path: str) -> npt.NDArray[np.uint8]:
    """1 in the objects' masks, 255 where pixels are ignored, 0 elsewhere, [224, 224]."""
    files = open_root(mask_root)

    def read(path: str) -> npt.NDArray[np.bool_]:
        return resize_mask(decode_grey(files.read_bytes(path), path), (RESIZE_LENGTH, RESIZE_LENGTH))

    inside = np.any([read(path) for path in mask_paths], axis=0)
    ignored = read(ignore_path) & ~inside if ignore_path else np.zeros_like(inside)
    return inside.astype(np.uint8) + 255 * ignored.astype(np.uint8)


class MaskEvaluator(_Evaluator):
    """PxAP. `metadata` has the path localization with lines `id,mask path,ignore path`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.dataset_name != "OpenImages":
            raise ValueError("Mask evaluation must be performed on OpenImages.")
        self.mask_paths: dict[str, list[str]] = {}
        self.ignore_paths: dict[str, str] = {}
        for image_id, mask, ignore in _rows(self.metadata, "localization", 3):
            self.mask_paths.setdefault(image_id, []).append(mask)
            self.ignore_paths.setdefault(image_id, ignore)
        self.num_bins = len(self.threshold_list) + 2
        self.threshold_list_right_edge = np.append(self.threshold_list, [1.0, 2.0, 3.0])
        self.gt_true_score_hist = np.zeros(self.num_bins)
        self.gt_false_score_hist = np.zeros(self.num_bins)

    def accumulate(self, scoremap: npt.NDArray[np.floating], image_id: str) -> None:
        """Take in one map [224, 224] in [0, 1]."""
        _levels(scoremap)
        if self.mask_root is None:
            raise ValueError("mask_root is needed to read masks")
        mask = get_mask(self.mask_root, self.mask_paths[image_id], self.ignore_paths[image_id])
        score = np.asarray(scoremap, np.float64)
        found = score_histograms(score, mask == 1, mask == 255, self.threshold_list_right_edge)
        self.gt_true_score_hist += found[0]
        self.gt_false_score_hist += found[1]

    def compute(self) -> float:
        """PxAP in percent. RuntimeError where no pixel is in a mask."""
        if not self.gt_true_score_hist.sum():
            raise RuntimeError("No positive ground truth in the eval set.")
        found = float(average_precision(self.gt_true_score_hist, self.gt_false_score_hist))
        sys.stdout.write(f"Mask AUC on split {self.split}: {found}\n")
        return found
