"""Every threshold's boxes of a score map in one pass, bit-equal to a contour search per threshold.

The score map is uint8. Level L, 0..255, has the foreground `score > L`; level 255 and any level without
foreground have the single box [0, 0, 0, 0]. At every level two rules of the reference protocol (Choe et al.,
CVPR 2020, arXiv 2001.07437) give boxes, exactly as OpenCV's `findContours` in tree mode does:

    all       every 8-connected component, and every hole, whose rectangle is grown by one pixel on each side
              (a hole is a 4-connected background region that does not touch the image's edge)
    largest   the contour with the largest polygon area through pixel centres; ties go to the one whose first
              pixel in raster order comes last

Boxes have an exclusive end clamped to the last pixel, and IoU counts both ends (`eval.boxes.geometry` names these
habits).

Two exact kernels do the work. `eval.boxes.run_kernel` is fast on maps with few extrema, such as upsampled CAMs; the
others go to `eval.boxes.pixel_kernel`. Which one runs never changes a number.
"""

from __future__ import annotations

import dataclasses
import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import cv2
import numpy as np

from eval.boxes.geometry import contour_boxes, empty_prediction
from eval.boxes.joint_levels import join_levels
from eval.boxes.pixel_kernel import pixel_forest, union_find_batch
from eval.boxes.run_kernel import runs_batch, workspace

if TYPE_CHECKING:
    import numpy.typing as npt

LEVELS = 256
MAX_SIDE = 32_000  # coordinates are kept as int16 inside the kernels

Rule = Literal["largest", "all"]
Kernel = Literal["auto", "runs", "pixels"]


@dataclass(frozen=True)
class LevelIoU:
    """Best inclusive-end IoU of one map at every level; NaN where the image has no GT box.

    `*_any` is the best over all GT boxes, `*_first` with the first one only; float64 [256]. `largest_box` is
    the box of the `largest` rule, int32 [256, 4], x0 y0 x1 y1.
    """

    largest_any: npt.NDArray[np.float64]
    largest_first: npt.NDArray[np.float64]
    all_any: npt.NDArray[np.float64]
    all_first: npt.NDArray[np.float64]
    largest_box: npt.NDArray[np.int32]


@dataclass(frozen=True)
class LevelIoUBatch:
    """`LevelIoU` of N maps: float64 [N, 256] and int32 [N, 256, 4]; indexing gives one map's record."""

    largest_any: npt.NDArray[np.float64]
    largest_first: npt.NDArray[np.float64]
    all_any: npt.NDArray[np.float64]
    all_first: npt.NDArray[np.float64]
    largest_box: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.largest_box)

    @property
    def ious(self) -> tuple[npt.NDArray[np.float64], ...]:
        return self.largest_any, self.largest_first, self.all_any, self.all_first

    def leave_out(self, offsets: npt.NDArray[np.int64]) -> None:
        """Set the IoUs of images without true boxes to NaN."""
        for iou in self.ious:
            iou[np.diff(offsets) == 0] = np.nan

    def __getitem__(self, index: int) -> LevelIoU:
        return LevelIoU(
            self.largest_any[index],
            self.largest_first[index],
            self.all_any[index],
            self.all_first[index],
            self.largest_box[index],
        )


def best_iou_per_level(score_u8: npt.NDArray[np.uint8], gt_boxes: npt.NDArray[np.integer[Any]]) -> LevelIoU:
    """Best IoU of one uint8 map [H, W] with gt_boxes [M, 4] (xyxy, frame pixels) at every level, by both
    rules.

    M = 0 gives NaN instead of IoU; `largest_box` is there all the same.

    Raises:
        TypeError: `score_u8` is not a uint8 array, or `gt_boxes` is not an integer one.
        ValueError: wrong shapes, an empty map, a side above 32,000, or a GT box with x1 < x0 or y1 < y0.

    >>> score = np.zeros((8, 8), np.uint8)
    >>> score[2:5, 1:5] = 200
    >>> record = best_iou_per_level(score, np.array([[1, 2, 5, 5]]))
    >>> record.largest_box[199].tolist(), float(record.all_any[199]), float(record.all_any[200])
    ([1, 2, 5, 5], 1.0, 0.0)
    """
    score = _checked_scores(score_u8, "score_u8", ndim=2)
    gt = _checked_gt(gt_boxes)
    return _score_batch(score[None], gt, np.array([0, len(gt)], np.int64), num_threads=1)[0]


def best_iou_per_level_batch(
    scores_u8: npt.NDArray[np.uint8],
    gt_boxes: npt.NDArray[np.integer[Any]],
    gt_offsets: npt.NDArray[np.integer[Any]],
    num_threads: int | None = None,
) -> LevelIoUBatch:
    """`best_iou_per_level` for maps [N, H, W]; image n owns gt_boxes[gt_offsets[n] : gt_offsets[n + 1]].

    Threads share the images out and release the GIL; None takes one a core. Working memory is kept per thread
    and reused, so memory grows with the outputs only (18 KB an image).

    Raises:
        TypeError, ValueError: as `best_iou_per_level`; also `gt_offsets` that are not [N + 1], do not start
            at 0, decrease, or do not end at len(gt_boxes); `num_threads` below 1.
    """
    scores = _checked_scores(scores_u8, "scores_u8", ndim=3)
    gt = _checked_gt(gt_boxes)
    offsets = _checked_offsets(gt_offsets, len(scores), len(gt))
    if num_threads is not None and num_threads < 1:
        raise ValueError(f"`num_threads` must be at least 1, got {num_threads}")
    return _score_batch(scores, gt, offsets, num_threads or os.cpu_count() or 1)


def boxes_at_level(score_u8: npt.NDArray[np.uint8], level: int, rule: Rule) -> npt.NDArray[np.int32]:
    """The boxes of a uint8 map [H, W] at one level, int32 [K, 4]: for pictures and error analysis, by OpenCV.

    `largest` gives K = 1; `all` every contour, outer borders and holes, in OpenCV's order. Without
    foreground: the one box [0, 0, 0, 0].

    Raises:
        TypeError, ValueError: as `best_iou_per_level`; also a level outside 0..255 or an unknown rule.
    """
    score = _checked_scores(score_u8, "score_u8", ndim=2)
    if not 0 <= level < LEVELS:
        raise ValueError(f"`level` must be in 0..255, got {level}")
    if rule not in ("largest", "all"):
        raise ValueError(f"`rule` must be 'largest' or 'all', got {rule!r}")
    foreground = (score > level).astype(np.uint8)
    contours = cv2.findContours(foreground, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[-2]
    if not contours:
        return empty_prediction().astype(np.int32)
    if rule == "largest":
        contours = [max(contours, key=cv2.contourArea)]
    height, width = score.shape
    return contour_boxes([cv2.boundingRect(contour) for contour in contours], (width, height)).astype(
        np.int32
    )


class _Workspaces:
    """Working memory for frames of one size, lent to one thread at a time and kept for the next call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._size_hw: tuple[int, ...] = ()
        self._idle: dict[object, list[Any]] = {}

    @contextmanager
    def lent(self, make: Callable[..., Any], size_hw: tuple[int, int], *levels: int) -> Iterator[Any]:
        with self._lock:
            if size_hw != self._size_hw:
                self._size_hw, self._idle = size_hw, {}
            idle = self._idle.setdefault((make, *levels), [])
            workspace = idle.pop() if idle else None
        if workspace is None:
            workspace = make(*size_hw, *levels)
        yield workspace
        with self._lock:
            idle.append(workspace)


_WORKSPACES = _Workspaces()


def best_iou_of_versions(
    versions_u8: npt.NDArray[np.uint8],
    gt_boxes: npt.NDArray[np.integer[Any]],
    gt_offsets: npt.NDArray[np.integer[Any]],
) -> list[LevelIoUBatch]:
    """`best_iou_per_level_batch` of K versions [K, N, H, W] of the same maps, at little more than the cost of one.

    Each version must be a rising function of the map: of two pixels no version may put the first above the second and
    another the second above the first. Runs in this thread. Errors as `best_iou_per_level_batch`.
    """
    versions = np.stack([_checked_scores(v, "versions_u8", ndim=3) for v in versions_u8])
    gt, offsets = _checked_gt(gt_boxes), _checked_offsets(gt_offsets, versions.shape[1], len(gt_boxes))
    count, n, *size_hw = versions.shape
    levels = 1 << (255 * count).bit_length()  # a power of two above every sum
    joined, last = np.empty((n, *size_hw), np.uint16), np.empty((count, n, LEVELS), np.int64)
    join_levels(versions.reshape(count, n, -1), joined.reshape(n, -1), last)
    out, too_many = _empty(n, levels), np.zeros(n, bool)
    with _WORKSPACES.lent(workspace, (size_hw[0], size_hw[1]), levels) as work:
        runs_batch(joined, np.arange(n), gt, offsets, work, too_many, *out.ious, out.largest_box)
    rest = np.flatnonzero(too_many)
    found = []
    for version, places in zip(versions, last):
        at = np.arange(n)[:, None], places
        names = [f.name for f in dataclasses.fields(LevelIoUBatch)]
        one = LevelIoUBatch(**{name: getattr(out, name)[at] for name in names})
        for image in rest:
            own = gt[offsets[image] : offsets[image + 1]]
            alone = _score_batch(version[image][None], own, np.array([0, len(own)]), num_threads=1)
            for name in names:
                getattr(one, name)[image] = getattr(alone, name)[0]
        one.leave_out(offsets)
        found.append(one)
    return found


def _empty(n: int, levels: int) -> LevelIoUBatch:
    iou = np.zeros((4, n, levels))
    return LevelIoUBatch(iou[0], iou[1], iou[2], iou[3], np.zeros((n, levels, 4), np.int32))


def _score_batch(
    scores: npt.NDArray[np.uint8],
    gt: npt.NDArray[np.float64],
    offsets: npt.NDArray[np.int64],
    num_threads: int,
    kernel: Kernel = "auto",
) -> LevelIoUBatch:
    """Score checked inputs; `kernel` forces one of them (tests compare the two; `runs` fails where it cannot)."""
    n = len(scores)
    size_hw = (scores.shape[1], scores.shape[2])
    out = _empty(n, LEVELS)
    too_many = np.full(n, kernel == "pixels")
    wide = scores.astype(np.uint16)

    def score(images: npt.NDArray[np.int64]) -> None:
        if kernel != "pixels":
            with _WORKSPACES.lent(workspace, size_hw, LEVELS) as work:
                runs_batch(wide, images, gt, offsets, work, too_many, *out.ious, out.largest_box)
        rest = images[too_many[images]]
        if kernel == "runs" and len(rest):
            raise ValueError(f"map {rest[0]} has too many extrema for the runs kernel")
        if len(rest):
            with _WORKSPACES.lent(pixel_forest, size_hw) as forest:
                union_find_batch(scores, rest, gt, offsets, forest, *out.ious, out.largest_box)

    if num_threads == 1 or n < 2:
        score(np.arange(n))
    else:
        # Several chunks a thread, since a map's cost depends on its extrema.
        chunks = np.array_split(np.arange(n), min(n, 4 * num_threads))
        with ThreadPoolExecutor(num_threads) as pool:
            list(pool.map(score, chunks))
    out.leave_out(offsets)
    return out


def _checked_scores(scores: npt.NDArray[np.uint8], name: str, ndim: int) -> npt.NDArray[np.uint8]:
    if not isinstance(scores, np.ndarray) or scores.dtype != np.uint8:
        raise TypeError(
            f"`{name}` must be a uint8 array, got {getattr(scores, 'dtype', type(scores).__name__)}"
        )
    shape = "[H, W]" if ndim == 2 else "[N, H, W]"
    if scores.ndim != ndim or min(scores.shape[-2:]) < 1 or max(scores.shape[-2:]) > MAX_SIDE:
        raise ValueError(
            f"`{name}` must have shape {shape} with sides 1..{MAX_SIDE}, got {list(scores.shape)}"
        )
    return np.ascontiguousarray(scores)


def _checked_gt(gt_boxes: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.float64]:
    """GT boxes as float64 [M, 4], the type the kernels divide in."""
    boxes = np.asarray(gt_boxes)
    if boxes.shape == (0,):
        boxes = np.zeros((0, 4), np.int64)
    if boxes.size and not np.issubdtype(boxes.dtype, np.integer):
        raise TypeError(f"`gt_boxes` must be integers (frame pixels), got {boxes.dtype}")
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"`gt_boxes` must have shape [M, 4], got {list(boxes.shape)}")
    if (boxes[:, 2:] < boxes[:, :2]).any():
        raise ValueError("`gt_boxes` holds a box with x1 < x0 or y1 < y0")
    return np.ascontiguousarray(boxes, dtype=np.float64)


def _checked_offsets(
    gt_offsets: npt.NDArray[np.integer[Any]], images: int, boxes: int
) -> npt.NDArray[np.int64]:
    offsets = np.asarray(gt_offsets)
    if not np.issubdtype(offsets.dtype, np.integer):
        raise TypeError(f"`gt_offsets` must be integers, got {offsets.dtype}")
    if offsets.shape != (images + 1,):
        raise ValueError(f"`gt_offsets` must have shape [{images + 1}], got {list(offsets.shape)}")
    if offsets[0] != 0 or offsets[-1] != boxes or (np.diff(offsets) < 0).any():
        raise ValueError(f"`gt_offsets` must rise from 0 to {boxes}, the number of GT boxes")
    return offsets.astype(np.int64)
