"""The general path of the box kernel: union-find over sorted pixels. Exact on every map, at a cost that
hardly depends on what the map looks like, so `eval.boxes.best_iou` sends it the maps that have very many
extrema.

Three sweeps over one padded image. The pad is one pixel wide; it is never foreground, and it is the outside
for holes.

1. Background, 4-connected, dark to bright: every region that is not the outside is a hole. The value at which
   a pixel's region joins the outside gives the filled map: at level L it is > L exactly inside some outer
   border.
2. Foreground of the map, 8-connected, bright to dark: every component's box, for the `all` rule.
3. Foreground of the filled map, for the `largest` rule: its components are the top-level components with
   their holes filled. Twice the polygon area through pixel centres is, over 2x2 windows, 2 for 4 pixels and 1
   for 3: the third and the fourth pixel of a window add 1 each when they arrive.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from eval.boxes.compiled import compiled, compiled_helper
from eval.boxes.kernel_common import F64, I32, I64, U8, best_iou, finish_levels, kernel_stamp

_ABSENT = -1
_OUTSIDE = 0  # the pad's root in the sweep for holes


class PixelForest(NamedTuple):
    """Working memory of one thread for frames of up to `len(parent)` padded pixels."""

    order: npt.NDArray[np.int32]  # pixels, brightest first
    parent: npt.NDArray[np.int32]  # union-find; _ABSENT where a pixel has not arrived
    deaths: npt.NDArray[np.int32]  # roots merged into another, in that order
    joined: npt.NDArray[np.int32]  # of a dead root: the root it was merged into
    joined_at: npt.NDArray[np.uint8]  # of a dead root: at which value
    box: npt.NDArray[np.int16]  # [n, 4] of a root: first column and row, last column and row, without the pad
    since: npt.NDArray[np.int16]  # of a root: the value at which its box last changed
    area2: npt.NDArray[np.int32]  # of a root: twice the polygon area
    first: npt.NDArray[np.int32]  # of a root: its first pixel in raster order
    image: npt.NDArray[np.uint8]
    filled: npt.NDArray[np.uint8]


def pixel_forest(height: int, width: int) -> PixelForest:
    """Working memory for frames of up to height x width, about 40 bytes a pixel."""
    n = (height + 2) * (width + 2)
    return PixelForest(
        order=np.empty(n, np.int32),
        parent=np.empty(n, np.int32),
        deaths=np.empty(n, np.int32),
        joined=np.empty(n, np.int32),
        joined_at=np.empty(n, np.uint8),
        box=np.empty((n, 4), np.int16),
        since=np.empty(n, np.int16),
        area2=np.empty(n, np.int32),
        first=np.empty(n, np.int32),
        image=np.empty(n, np.uint8),
        filled=np.empty(n, np.uint8),
    )


def _entry_point(stamp: int) -> Any:
    @compiled()
    def union_find_batch(
        scores: U8,
        images: I64,
        gt: F64,
        gt_offsets: I64,
        forest: PixelForest,
        largest_any: F64,
        largest_first: F64,
        all_any: F64,
        all_first: F64,
        largest_box: I32,
    ) -> None:
        """Write the records of `images`, indices into scores [N, H, W]; outputs are [N, 256] and [N, 256, 4], all
        zero."""
        _ = stamp
        for n in images:
            own_gt = gt[gt_offsets[n] : gt_offsets[n + 1]]
            _union_find_levels(scores[n], own_gt, forest, all_any[n], all_first[n], largest_box[n])
            finish_levels(
                np.int64(scores[n].max()),
                own_gt,
                all_any[n],
                all_first[n],
                largest_box[n],
                largest_any[n],
                largest_first[n],
            )

    return union_find_batch


@compiled_helper
def _union_find_levels(
    score: U8, gt: F64, forest: PixelForest, all_any: F64, all_first: F64, largest_box: I32
) -> None:
    """Raise the `all` records [256] (any GT, first GT) and write the `largest` boxes [256, 4] of one map [H,
    W]."""
    height, width = score.shape
    stride = width + 2
    for y in range(height):
        for x in range(width):
            forest.image[(y + 1) * stride + x + 1] = score[y, x]
    image, is_filled = forest.image, False
    # One loop, not three calls with constants: numba would compile the sweep again for every constant.
    for sweep in range(3):
        if sweep == 2:
            if not is_filled:
                break
            image = forest.filled
        holes, boxes, areas = sweep == 0, sweep < 2, sweep == 2 or (sweep == 1 and not is_filled)
        num_deaths = _sweep(
            image, height, width, holes, boxes, areas, gt, forest, all_any, all_first, largest_box
        )
        if holes:
            is_filled = _fill(height, width, num_deaths, forest)


@compiled_helper
def _sweep(
    image: U8,
    height: int,
    width: int,
    holes: bool,
    boxes: bool,
    areas: bool,
    gt: F64,
    forest: PixelForest,
    all_any: F64,
    all_first: F64,
    largest_box: I32,
) -> int:
    """Let pixels arrive value by value, brightest first (`holes`: brightest of 255 - image), and join
    neighbours.

    `boxes`: raise the `all` records by every component but the outside. `areas`: write the largest component's box.
    After value v has arrived the components are those of levels below v, down to the next value. Returns the number
    of dead roots.
    """
    parent, box, since = forest.parent, forest.box, forest.since
    stride = width + 2
    starts = _sort_pixels(image, height, width, holes, forest.order)
    _reset_parents(parent, height, width, holes)
    offsets = np.array([-stride, -1, 1, stride, -stride - 1, -stride + 1, stride - 1, stride + 1])
    num_neighbours = 4 if holes else 8
    num_deaths = 0
    best, best_area2, best_first = np.int64(_ABSENT), 0, 0
    for value in range(255, -1, -1):
        begin, end = starts[255 - value], starts[256 - value]
        for k in range(begin, end):
            p = np.int64(forest.order[k])
            parent[p] = p
            box[p, 0] = box[p, 2] = p % stride - 1
            box[p, 1] = box[p, 3] = p // stride - 1
            since[p] = value
            forest.first[p] = p
            forest.area2[p] = _windows_completed(parent, p, stride) if areas else 0
            root = p
            for j in range(num_neighbours):
                q = p + offsets[j]
                if parent[q] == _ABSENT:
                    continue
                other = _find(parent, q)
                if other == root:
                    continue
                if other > root:  # the smaller index survives, so the outside always does
                    root, other = other, root
                if boxes and since[root] > value:
                    _record(box, root, since, value, height, width, holes, gt, all_any, all_first)
                if boxes and since[other] > value:
                    _record(box, other, since, value, height, width, holes, gt, all_any, all_first)
                parent[root] = other
                forest.joined[root] = other
                forest.joined_at[root] = value
                forest.deaths[num_deaths] = root
                num_deaths += 1
                box[other, 0] = min(box[other, 0], box[root, 0])
                box[other, 1] = min(box[other, 1], box[root, 1])
                box[other, 2] = max(box[other, 2], box[root, 2])
                box[other, 3] = max(box[other, 3], box[root, 3])
                forest.area2[other] += forest.area2[root]
                forest.first[other] = min(forest.first[other], forest.first[root])
                root = other
        if areas and end > begin and value > 0:
            # Areas only grow, so the best is the old best or one that changed, unless the old best moved back
            # among its ties (same area, earlier first pixel): then one that did not change may lead, and all
            # are looked at.
            look_from = begin
            if best != _ABSENT:
                best = _find(parent, best)
                if forest.area2[best] == best_area2 and forest.first[best] < best_first:
                    look_from = 0
            for k in range(look_from, end):
                root = _find(parent, np.int64(forest.order[k]))
                if (
                    best == _ABSENT
                    or forest.area2[root] > forest.area2[best]
                    or (forest.area2[root] == forest.area2[best] and forest.first[root] > forest.first[best])
                ):
                    best = root
            best_area2, best_first = forest.area2[best], forest.first[best]
        if areas and value > 0 and best != _ABSENT:
            largest_box[value - 1, 0] = box[best, 0]
            largest_box[value - 1, 1] = box[best, 1]
            largest_box[value - 1, 2] = min(box[best, 2] + 1, width - 1)
            largest_box[value - 1, 3] = min(box[best, 3] + 1, height - 1)
    if boxes:
        for k in range(starts[255]):
            p = np.int64(forest.order[k])
            if parent[p] == p:
                _record(box, p, since, np.int64(0), height, width, holes, gt, all_any, all_first)
    return num_deaths


@compiled_helper
def _sort_pixels(image: U8, height: int, width: int, flip: bool, order: I32) -> I64:
    """Counting sort; pixels of value v (of 255 - image where `flip`) are order[starts[255 - v] : starts[256 -
    v]]."""
    stride = width + 2
    mask = 0 if flip else 255
    starts = np.zeros(257, np.int64)
    for y in range(1, height + 1):
        for p in range(y * stride + 1, y * stride + 1 + width):
            starts[(image[p] ^ mask) + 1] += 1
    for rank in range(256):
        starts[rank + 1] += starts[rank]
    place = starts.copy()
    for y in range(1, height + 1):
        for p in range(y * stride + 1, y * stride + 1 + width):
            rank = image[p] ^ mask
            order[place[rank]] = p
            place[rank] += 1
    return starts


@compiled_helper
def _reset_parents(parent: I32, height: int, width: int, holes: bool) -> None:
    """No pixel has arrived; for holes the pad has, as one component, the outside."""
    stride = width + 2
    pad = _OUTSIDE if holes else _ABSENT
    for p in range((height + 2) * stride):
        parent[p] = _ABSENT
    for x in range(stride):
        parent[x] = parent[(height + 1) * stride + x] = pad
    for y in range(height + 2):
        parent[y * stride] = parent[y * stride + stride - 1] = pad


@compiled_helper
def _find(parent: I32, p: int) -> int:
    while parent[p] != p:
        parent[p] = parent[parent[p]]
        p = np.int64(parent[p])
    return p


@compiled_helper
def _windows_completed(parent: I32, p: int, stride: int) -> int:
    """In how many of its four 2x2 windows pixel p is the third or the fourth to arrive."""
    count = 0
    for dy in (-stride, stride):
        for dx in (-1, 1):
            others = (parent[p + dx] >= 0) + (parent[p + dy] >= 0) + (parent[p + dx + dy] >= 0)
            count += others >= 2
    return count


@compiled_helper
def _record(
    box: npt.NDArray[np.int16],
    root: int,
    since: npt.NDArray[np.int16],
    value: int,
    height: int,
    width: int,
    holes: bool,
    gt: F64,
    all_any: F64,
    all_first: F64,
) -> None:
    """Raise the records of levels value .. since - 1, for which the root's box holds, before it changes at
    `value`."""
    low, high = value, since[root]
    since[root] = value
    if low >= high or (holes and root == _OUTSIDE):
        return
    grow = 0
    if (
        holes
    ):  # the border of a hole runs through the foreground around it; level L of 255 - image is level 254 - L
        grow = 1
        low, high = 255 - high, 255 - low
    x0, y0 = box[root, 0] - grow, box[root, 1] - grow
    x1, y1 = min(box[root, 2] + 1 + grow, width - 1), min(box[root, 3] + 1 + grow, height - 1)
    best, first = best_iou(x0, y0, x1, y1, gt)
    for level in range(low, high):
        all_any[level] = max(all_any[level], best)
        all_first[level] = max(all_first[level], first)


@compiled_helper
def _fill(height: int, width: int, num_deaths: int, forest: PixelForest) -> bool:
    """Write the filled map after the sweep for holes; returns whether it differs from the map.

    Every pixel's region joins the outside in the end, through a chain of roots; the last link says when.
    """
    stride = width + 2
    differs = False
    for k in range(num_deaths - 1, -1, -1):
        p = forest.deaths[k]
        if forest.joined[p] != _OUTSIDE:
            forest.joined_at[p] = forest.joined_at[forest.joined[p]]
    for y in range(1, height + 1):
        for p in range(y * stride + 1, y * stride + 1 + width):
            forest.filled[p] = 255 - forest.joined_at[p]
            differs = differs or forest.filled[p] != forest.image[p]
    return differs


union_find_batch = _entry_point(kernel_stamp())
