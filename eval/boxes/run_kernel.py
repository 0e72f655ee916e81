"""The fast path of the box kernel, for maps with few extrema, such as upsampled CAMs. Exact.

`eval.boxes.run_tree` cuts the map into runs and labels them. Per label, tables over the levels hold the box and the
area of its component at that level: from column maxima for x, from the runs' peaks for y, from a histogram of 2x2
windows for the area. Where a label is joined to an older one, at levels below the saddle, its tables are merged into
the older one's. So a pixel is touched a small constant number of times, mostly in loops the compiler vectorises.

Holes are the labels of the inverted image but for the outside. The level at which a label is open to the outside is the
one its hole is filled up to; the `largest` rule is settled on the map filled so, as in `eval.boxes.pixel_kernel`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from eval.boxes.compiled import compiled, compiled_helper
from eval.boxes.kernel_common import F64, I32, I64, U16, finish_levels, kernel_stamp
from eval.boxes.run_tree import (
    BOTTOM,
    FILL,
    FIRST,
    LAST,
    LEFT,
    OLDER,
    PEAK,
    PEAK_X,
    RIGHT,
    SADDLE,
    SUMMIT,
    TOP,
    RunForest,
    cut_rows,
    grow_tree,
    run_forest_of,
)


class Workspace(NamedTuple):
    """Working memory of one thread for frames of one size."""

    bright: RunForest
    dark: RunForest
    filled: npt.NDArray[np.uint16]  # [H, W]
    windows: npt.NDArray[np.uint16]  # [2, W] third largest and smallest pixel of the 2x2 windows of two rows
    winner: npt.NDArray[np.int32]  # [L] the label of the largest component


def workspace(height: int, width: int, levels: int) -> Workspace:
    """Working memory for height x width frames: 11 MB at 224 x 224 and 256 levels, of which smooth maps touch one."""
    return Workspace(
        bright=run_forest_of(height, width, levels),
        dark=run_forest_of(height, width, levels),
        filled=np.empty((height, width), np.uint16),
        windows=np.empty((2, width), np.uint16),
        winner=np.empty(levels, np.int32),
    )


def _entry_point(stamp: int) -> Any:
    @compiled()
    def runs_batch(
        scores: U16,
        images: I64,
        gt: F64,
        gt_offsets: I64,
        work: Workspace,
        too_many: npt.NDArray[np.bool_],
        largest_any: F64,
        largest_first: F64,
        all_any: F64,
        all_first: F64,
        largest_box: I32,
    ) -> None:
        """Write the records of `images`, indices into scores [N, H, W]; outputs are [N, L] and [N, L, 4], all zero.

        Images with more extrema than the working memory holds are left out and marked in `too_many` [N].
        """
        _ = stamp
        for n in images:
            own_gt = gt[gt_offsets[n] : gt_offsets[n + 1]]
            too_many[n] = not _run_levels(scores[n], own_gt, work, all_any[n], all_first[n], largest_box[n])
            if not too_many[n]:
                finish_levels(
                    np.int64(scores[n].max()),
                    own_gt,
                    all_any[n],
                    all_first[n],
                    largest_box[n],
                    largest_any[n],
                    largest_first[n],
                )

    return runs_batch


@compiled_helper
def _run_levels(score: U16, gt: F64, work: Workspace, all_any: F64, all_first: F64, largest_box: I32) -> bool:
    """Raise the `all` records [L] and write the `largest` boxes [L, 4] of one map; False if it has too many
    runs or labels (records raised by then are right, only not complete)."""
    bright = work.bright
    if not cut_rows(score, bright, work.dark):
        return False
    image, num_labels, num_holes = score, np.int64(0), np.int64(0)
    # One loop, not three calls with constants: numba would compile each function again for every constant (and for
    # int32 beside int64, hence the casts here and there).
    for step in range(3):
        dark = step == 0
        forest = work.dark if dark else bright
        if step == 2:
            if num_holes == 1:  # the outside only
                break
            image = work.filled
            _fill(score, work.dark, num_holes, image)
            _lift_peaks(image, bright)
        num_labels = grow_tree(image, forest, dark)
        if num_labels < 0:
            return False
        _tabulate_boxes(image, forest, num_labels, dark)
        if step < 2:
            _raise_records(forest, num_labels, dark, score.shape, gt, all_any, all_first)
        if dark:
            num_holes = num_labels
    _tabulate_areas(image, bright, num_labels, work.windows)
    _choose_largest(image, bright, num_labels, work.winner, largest_box)
    return True


@compiled_helper
def _tabulate_boxes(image: U16, forest: RunForest, num_labels: int, dark: bool) -> None:
    """Write each label's box at every level below its summit, the labels joined to it included below their saddles."""
    height, width = image.shape
    column, box, label, run, tree = (
        forest.column,
        forest.box,
        forest.label,
        forest.run,
        forest.tree,
    )
    first_label = 1 if dark else 0
    flip = forest.box.shape[2] - 1 if dark else 0
    for own in range(first_label, num_labels):
        tree[own, LEFT], tree[own, RIGHT] = width, 0
        tree[own, TOP] = tree[own, BOTTOM] = 0  # levels whose first, whose last row is known
        for x in range(width):
            column[own, x] = flip
    for y in range(height):
        for k in range(forest.row[y], forest.row[y + 1]):
            own = label[k]
            if own < first_label:
                continue
            tree[own, LEFT] = min(tree[own, LEFT], run[k, FIRST])
            tree[own, RIGHT] = max(tree[own, RIGHT], run[k, LAST])
            pixels = image[y, run[k, FIRST] : run[k, LAST] + 1]
            extremes = column[own, run[k, FIRST] : run[k, LAST] + 1]
            if dark:
                for x in range(len(pixels)):
                    extremes[x] = min(extremes[x], pixels[x])
            else:
                for x in range(len(pixels)):
                    extremes[x] = max(extremes[x], pixels[x])
            for level in range(tree[own, TOP], run[k, PEAK]):
                box[own, 1, level] = y
            tree[own, TOP] = max(tree[own, TOP], run[k, PEAK])
    for y in range(height - 1, -1, -1):
        for k in range(forest.row[y], forest.row[y + 1]):
            own = label[k]
            if own < first_label:
                continue
            for level in range(tree[own, BOTTOM], run[k, PEAK]):
                box[own, 3, level] = y
            tree[own, BOTTOM] = max(tree[own, BOTTOM], run[k, PEAK])
    for own in range(first_label, num_labels):
        level = 0
        for x in range(tree[own, LEFT], tree[own, RIGHT] + 1):
            while level < column[own, x] ^ flip:
                box[own, 0, level] = x
                level += 1
        level = 0
        for x in range(tree[own, RIGHT], tree[own, LEFT] - 1, -1):
            while level < column[own, x] ^ flip:
                box[own, 2, level] = x
                level += 1
    for own in range(num_labels - 1, first_label, -1):  # a label is younger than the one it is joined to
        into = forest.tree[own, OLDER]
        if into < first_label:
            continue
        for side in range(4):
            mine, theirs = box[own, side], box[into, side]
            if side < 2:
                for level in range(forest.tree[own, SADDLE]):
                    theirs[level] = min(theirs[level], mine[level])
            else:
                for level in range(forest.tree[own, SADDLE]):
                    theirs[level] = max(theirs[level], mine[level])


@compiled_helper
def _raise_records(
    forest: RunForest,
    num_labels: int,
    dark: bool,
    shape: tuple[int, int],
    gt: F64,
    all_any: F64,
    all_first: F64,
) -> None:
    """Raise the best IoU [L] at every level by the labels' boxes; level l of the inverted image is level L - 2 - l."""
    grow = 1 if dark else 0  # the border of a hole runs through the foreground around it
    right, bottom = shape[1] - 1.0, shape[0] - 1.0
    for own in range(1 if dark else 0, num_labels):
        box = forest.box[own]
        for m in range(gt.shape[0]):
            g0, g1, g2, g3 = gt[m, 0], gt[m, 1], gt[m, 2], gt[m, 3]
            gt_area = (g2 - g0 + 1.0) * (g3 - g1 + 1.0)
            for level in range(forest.tree[own, SADDLE], forest.tree[own, SUMMIT]):
                x0, y0 = float(box[0, level] - grow), float(box[1, level] - grow)
                x1 = min(float(box[2, level] + 1 + grow), right)
                y1 = min(float(box[3, level] + 1 + grow), bottom)
                shared_w = max(min(x1, g2) - max(x0, g0) + 1.0, 0.0)
                shared_h = max(min(y1, g3) - max(y0, g1) + 1.0, 0.0)
                shared = shared_w * shared_h
                iou = shared / ((x1 - x0 + 1.0) * (y1 - y0 + 1.0) + gt_area - shared)
                place = len(all_any) - 2 - level if dark else level
                all_any[place] = max(all_any[place], iou)
                if m == 0:
                    all_first[place] = max(all_first[place], iou)


@compiled_helper
def _fill(image: U16, dark: RunForest, num_labels: int, filled: U16) -> None:
    """Write the map with every hole filled up to the level at which it opens to the outside."""
    tree, run = dark.tree, dark.run
    for own in range(1, num_labels):
        older = tree[own, OLDER]
        tree[own, FILL] = tree[own, SADDLE] if older == 0 else tree[older, FILL]
    for y in range(image.shape[0]):
        for x in range(image.shape[1]):
            filled[y, x] = image[y, x]
        for k in range(dark.row[y], dark.row[y + 1]):
            own = dark.label[k]
            if own > 0 and run[k, PEAK] > tree[own, FILL]:
                floor = np.uint16(dark.box.shape[2] - 1 - tree[own, FILL])
                for x in range(run[k, FIRST], run[k, LAST] + 1):
                    filled[y, x] = max(filled[y, x], floor)


@compiled_helper
def _lift_peaks(filled: U16, bright: RunForest) -> None:
    """Make the runs of the map those of the filled map.

    They rise and fall as before: were a pixel still outside at some level where its lower neighbour in the row is
    filled, that neighbour would be outside too.
    """
    for y in range(filled.shape[0]):
        for k in range(bright.row[y], bright.row[y + 1]):
            bright.run[k, PEAK] = filled[y, bright.run[k, PEAK_X]]


@compiled_helper
def _tabulate_areas(image: U16, forest: RunForest, num_labels: int, windows: U16) -> None:
    """Write twice the polygon area of each label at every level below its summit, as `_tabulate_boxes` does.

    A 2x2 window counts 1 at levels below its third largest pixel and 1 more below its smallest. Those three pixels
    are one component then, and each row of the window has one of them.
    """
    height, width = image.shape
    label, run, area2 = forest.label, forest.run, forest.area2
    levels = area2.shape[2]
    for own in range(num_labels):
        for level in range(levels):
            area2[own, 0, level] = area2[own, 1, level] = 0
    third, least = windows[0], windows[1]
    for y in range(height - 1):
        above, below = image[y], image[y + 1]
        for x in range(width - 1):
            a, b, c, d = above[x], above[x + 1], below[x], below[x + 1]
            least_ab, most_ab, least_cd, most_cd = min(a, b), max(a, b), min(c, d), max(c, d)
            least[x] = min(least_ab, least_cd)
            third[x] = min(max(least_ab, least_cd), min(most_ab, most_cd))
        j = forest.row[y + 1]
        for i in range(forest.row[y], forest.row[y + 1]):
            own = label[i]
            for x in range(run[i, FIRST], run[i, LAST]):
                area2[own, 0, third[x]] += 1
                area2[own, 1, least[x]] += 1
            x = run[i, LAST]
            if x == width - 1:
                break
            while run[j, LAST] < x:
                j += 1
            # The window over the cut to run i + 1 goes by the row below, or if that is cut here too by its highest
            # pixel.
            owner = j
            if run[j, LAST] == x:
                top = max(max(above[x], above[x + 1]), max(below[x], below[x + 1]))
                owner = (
                    i
                    if above[x] == top
                    else i + 1
                    if above[x + 1] == top
                    else j
                    if below[x] == top
                    else j + 1
                )
            area2[label[owner], 0, third[x]] += 1
            area2[label[owner], 1, least[x]] += 1
    for own in range(num_labels):
        total = 0
        for level in range(levels - 1, -1, -1):
            here = area2[own, 0, level] + area2[own, 1, level]
            area2[own, 0, level] = total
            total += here
    for own in range(num_labels - 1, 0, -1):
        for level in range(forest.tree[own, SADDLE]):
            area2[forest.tree[own, OLDER], 0, level] += area2[own, 0, level]


@compiled_helper
def _choose_largest(image: U16, forest: RunForest, num_labels: int, winner: I32, largest_box: I32) -> None:
    """Write the box of the largest component at every level; of equals, the one whose first pixel comes last."""
    height, width = image.shape
    for level in range(len(winner)):
        winner[level] = -1
    for own in range(num_labels):
        for level in range(forest.tree[own, SADDLE], forest.tree[own, SUMMIT]):
            rival = np.int64(winner[level])
            if (
                rival < 0
                or forest.area2[own, 0, level] > forest.area2[rival, 0, level]
                or (
                    forest.area2[own, 0, level] == forest.area2[rival, 0, level]
                    and _first_pixel(image, forest, own, level) > _first_pixel(image, forest, rival, level)
                )
            ):
                winner[level] = own
    for level in range(len(winner)):
        if winner[level] >= 0:
            box = forest.box[winner[level]]
            largest_box[level, 0] = box[0, level]
            largest_box[level, 1] = box[1, level]
            largest_box[level, 2] = min(box[2, level] + 1, width - 1)
            largest_box[level, 3] = min(box[3, level] + 1, height - 1)


@compiled_helper
def _first_pixel(image: U16, forest: RunForest, own: int, level: int) -> int:
    """The first pixel in raster order, as y * W + x, of the component that label `own` heads at this level."""
    y = np.int64(forest.box[own, 1, level])
    for k in range(forest.row[y], forest.row[y + 1]):
        if forest.run[k, PEAK] > level:
            head = forest.label[k]
            while forest.tree[head, SADDLE] > level:
                head = forest.tree[head, OLDER]
            if head == own:
                x = forest.run[k, FIRST]
                while image[y, x] <= level:
                    x += 1
                return y * image.shape[1] + x
    return np.int64(-1)


runs_batch = _entry_point(kernel_stamp())
