"""The fast path of the box kernel: rows cut into hills, hills joined at their saddles. Exact; fast where extrema are few.

A hill is a stretch of one row that rises, then falls (both may hold level); a row is cut where it turns from falling
to rising. At any level a hill's foreground is one interval, so hills, not pixels, are what components are made of: a
few a row for an upsampled CAM. Two hills of neighbouring rows are joined at the largest min(p, q) over their adjacent
pixels; both being unimodal, a search between their two peaks finds it. Joining hills by falling weight (Kruskal, the
higher peak survives) is the component tree. A hill that is joined at its own peak never was a component by itself, so
it takes the label of what it joined: labels are few, one per regional maximum, plateaus and all.

Per label, tables over the 256 levels hold the box and the area of its component at that level: from column maxima
for x, from the hills' peaks for y, from a histogram of 2x2 windows for the area. Where a label is joined to an older
one, at levels below the saddle, its tables are merged into the older one's.

Holes are the same thing upside down: hills of 255 - image, joined 4-connected, and the outside as one more node that
every hill touching the image's edge is joined to. A label's last saddle on its way to the outside is the level its
hole is filled up to; the `largest` rule is settled on the map filled so, as in `eval.union_find`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit

from eval.level_iou import LEVELS, finish_levels

MAX_LABELS = 256


class Relief(NamedTuple):
    """Working memory of one thread: the hills of an image, or of 255 - image, and their component tree."""

    row: npt.NDArray[np.int32]  # [H + 1] where each row's hills begin
    x0: npt.NDArray[np.int32]  # of a hill: first and last column,
    x1: npt.NDArray[np.int32]
    peak_x: npt.NDArray[np.int32]  # where it peaks
    peak: npt.NDArray[np.int32]  # and how high; the outside peaks at 256
    label: npt.NDArray[np.int32]
    parent: npt.NDArray[np.int32]  # union-find over hills
    joined: npt.NDArray[np.int32]  # of a dead root: the root it was joined to, and at which saddle
    joined_at: npt.NDArray[np.int32]
    deaths: npt.NDArray[np.int32]
    edge: npt.NDArray[np.int32]  # [E, 2] adjacent hills
    weight: npt.NDArray[np.uint8]
    order: npt.NDArray[np.int32]  # edges, highest weight first
    older: npt.NDArray[np.int32]  # of a label: the label it is joined to, a smaller number
    saddle: npt.NDArray[np.int32]  # ... below this level
    summit: npt.NDArray[np.int32]  # of a label: its component is there at levels saddle .. summit - 1
    column: npt.NDArray[np.uint8]  # [labels, W] the maximum of each column
    box: npt.NDArray[np.int16]  # [labels, 4, 256] x0, y0, x1, y1, last pixel inside
    area2: npt.NDArray[np.int32]  # [labels, 256] twice the polygon area


class Workspace(NamedTuple):
    """Working memory of one thread for frames of one size."""

    bright: Relief
    dark: Relief
    filled: npt.NDArray[np.uint8]  # [H, W]
    windows: npt.NDArray[np.uint8]  # [2, W] third largest and smallest of the 2x2 windows of two rows
    counts: npt.NDArray[np.int32]  # [4, 256]


def workspace(height: int, width: int) -> Workspace:
    """Working memory for height x width frames, about 1.5 MB at 224 x 224."""
    return Workspace(
        bright=_relief(height, width),
        dark=_relief(height, width),
        filled=np.empty((height, width), np.uint8),
        windows=np.empty((2, width), np.uint8),
        counts=np.zeros((4, LEVELS), np.int32),
    )


def _relief(height: int, width: int) -> Relief:
    hills = max(1024, height * width // 12) + width
    edges = 4 * hills + 2 * (height + width)

    def ints(*shape: int) -> npt.NDArray[np.int32]:
        return np.empty(shape, np.int32)

    return Relief(
        row=ints(height + 1),
        x0=ints(hills),
        x1=ints(hills),
        peak_x=ints(hills),
        peak=ints(hills + 1),
        label=ints(hills + 1),
        parent=ints(hills + 1),
        joined=ints(hills + 1),
        joined_at=ints(hills + 1),
        deaths=ints(hills + 1),
        edge=ints(edges, 2),
        weight=np.empty(edges, np.uint8),
        order=ints(edges),
        older=ints(MAX_LABELS),
        saddle=ints(MAX_LABELS),
        summit=ints(MAX_LABELS),
        column=np.empty((MAX_LABELS, width), np.uint8),
        box=np.empty((MAX_LABELS, 4, LEVELS), np.int16),
        area2=ints(MAX_LABELS, LEVELS),
    )


@njit(nogil=True, cache=True)
def hills_batch(
    scores,
    images,
    gt,
    gt_offsets,
    work,
    too_many,
    largest_any,
    largest_first,
    all_any,
    all_first,
    largest_box,
):
    """Write the records of `images`, indices into scores [N, H, W]; outputs are [N, 256] and [N, 256, 4].

    Images with more extrema than the working memory holds are left out and marked in `too_many` [N].
    """
    for n in images:
        own_gt = gt[gt_offsets[n] : gt_offsets[n + 1]]
        all_any[n], all_first[n], largest_box[n] = 0, 0, 0
        too_many[n] = not _hill_levels(scores[n], own_gt, work, all_any[n], all_first[n], largest_box[n])
        if not too_many[n]:
            finish_levels(
                scores[n], own_gt, all_any[n], all_first[n], largest_box[n], largest_any[n], largest_first[n]
            )


@njit(nogil=True, cache=True)
def _hill_levels(score, gt, work, all_any, all_first, largest_box):
    """Raise the `all` records [256] and write the `largest` boxes [256, 4] of one map; False if it has too many
    hills or labels."""
    bright, dark = work.bright, work.dark
    if not _cut_rows(score, bright, dark):
        return False
    holes = _grow_tree(score, dark, True)
    if holes < 0:
        return False
    labels = _grow_tree(score, bright, False)
    if labels < 0:
        return False
    _tabulate_boxes(score, dark, holes, True)
    _raise_records(dark, 1, holes, True, score.shape, gt, all_any, all_first)
    _tabulate_boxes(score, bright, labels, False)
    _raise_records(bright, 0, labels, False, score.shape, gt, all_any, all_first)
    image = score
    if holes > 1:
        image = work.filled
        _fill(score, dark, holes, image)
        if not _cut_rows(image, bright, dark):
            return False
        labels = _grow_tree(image, bright, False)
        if labels < 0:
            return False
        _tabulate_boxes(image, bright, labels, False)
    _tabulate_areas(image, bright, labels, work.windows, work.counts)
    _choose_largest(image, bright, labels, largest_box)
    return True


@njit(nogil=True, cache=True)
def _cut_rows(image, bright, dark):
    """Cut every row into hills of the image and hills of 255 - image; False if the working memory is too small."""
    height, width = image.shape
    capacity = len(bright.x0) - width
    m, n = 0, 0
    for y in range(height):
        bright.row[y], dark.row[y] = m, n
        if m > capacity or n > capacity:
            return False
        row = image[y]
        bright.x0[m] = dark.x0[n] = 0
        x = 1
        while x < width and row[x] == row[x - 1]:
            x += 1
        bright.peak_x[m] = dark.peak_x[n] = x - 1
        rising = x < width and row[x] > row[x - 1]
        while x < width:
            if rising:
                while x < width and row[x] >= row[x - 1]:
                    x += 1
                bright.peak_x[m] = x - 1
                if x < width:
                    dark.x1[n] = x - 1
                    n += 1
                    dark.x0[n] = x
            else:
                while x < width and row[x] <= row[x - 1]:
                    x += 1
                dark.peak_x[n] = x - 1
                if x < width:
                    bright.x1[m] = x - 1
                    m += 1
                    bright.x0[m] = x
            rising = not rising
        bright.x1[m] = dark.x1[n] = width - 1
        m += 1
        n += 1
        for k in range(bright.row[y], m):
            bright.peak[k] = row[bright.peak_x[k]]
        for k in range(dark.row[y], n):
            dark.peak[k] = 255 - row[dark.peak_x[k]]
    bright.row[height], dark.row[height] = m, n
    return True


@njit(nogil=True, cache=True)
def _grow_tree(image, relief, dark):
    """Join hills by falling weight and number the labels, oldest first (0: the highest peak, or the outside); returns
    how many, or -1 where they are too many."""
    peak, parent, joined, joined_at = relief.peak, relief.parent, relief.joined, relief.joined_at
    num_hills = relief.row[image.shape[0]]
    num_edges = _collect_edges(image, relief, dark)
    num_nodes = num_hills + 1 if dark else num_hills
    if dark:
        peak[num_hills] = 256
    for node in range(num_nodes):
        parent[node] = node
    num_deaths = 0
    for k in range(num_edges):
        edge = relief.order[k]
        a, b = _find(parent, relief.edge[edge, 0]), _find(parent, relief.edge[edge, 1])
        if a == b:
            continue
        if peak[a] < peak[b]:
            a, b = b, a
        parent[b] = a
        joined[b] = a
        joined_at[b] = relief.weight[edge]
        relief.deaths[num_deaths] = b
        num_deaths += 1
        if num_deaths == num_nodes - 1:
            break
    oldest = _find(parent, 0)
    relief.label[oldest] = 0
    relief.saddle[0], relief.summit[0], relief.older[0] = 0, peak[oldest], 0
    num_labels = 1
    for k in range(num_deaths - 1, -1, -1):
        node = relief.deaths[k]
        into = relief.label[joined[node]]
        if joined_at[node] == peak[node]:
            relief.label[node] = into
            continue
        if num_labels == MAX_LABELS:
            return -1
        relief.label[node] = num_labels
        relief.older[num_labels] = into
        relief.saddle[num_labels], relief.summit[num_labels] = joined_at[node], peak[node]
        num_labels += 1
    return num_labels


@njit(nogil=True, cache=True)
def _find(parent, node):
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = parent[node]
    return node


@njit(nogil=True, cache=True)
def _collect_edges(image, relief, dark):
    """List the adjacent hills with the level below which they are one component, and sort; returns how many."""
    height, width = image.shape
    flip = 255 if dark else 0
    reach = 0 if dark else 1  # 4-connected, or 8-connected
    x1, edge, weight = relief.x1, relief.edge, relief.weight
    outside = relief.row[height]
    e = 0
    for y in range(height):
        row = image[y]
        begin, end = relief.row[y], relief.row[y + 1]
        for k in range(begin, end - 1):
            edge[e, 0], edge[e, 1] = k, k + 1
            weight[e] = min(row[x1[k]] ^ flip, row[x1[k] + 1] ^ flip)
            e += 1
        if dark:
            if y == 0 or y == height - 1:
                for k in range(begin, end):
                    edge[e, 0], edge[e, 1], weight[e] = k, outside, relief.peak[k]
                    e += 1
            else:
                edge[e, 0], edge[e, 1], weight[e] = begin, outside, row[0] ^ flip
                edge[e + 1, 0], edge[e + 1, 1], weight[e + 1] = end - 1, outside, row[width - 1] ^ flip
                e += 2
        if y == 0:
            continue
        above = image[y - 1]
        i, j = relief.row[y - 1], begin
        while True:
            edge[e, 0], edge[e, 1] = i, j
            weight[e] = _saddle_between(above, row, relief, i, j, reach, flip)
            e += 1
            if x1[i] < x1[j]:
                i += 1
            elif x1[i] > x1[j]:
                j += 1
            elif x1[i] == width - 1:
                break
            else:
                if reach == 1:
                    x = x1[i]
                    edge[e, 0], edge[e, 1], weight[e] = i, j + 1, min(above[x] ^ flip, row[x + 1] ^ flip)
                    edge[e + 1, 0], edge[e + 1, 1] = i + 1, j
                    weight[e + 1] = min(above[x + 1] ^ flip, row[x] ^ flip)
                    e += 2
                i += 1
                j += 1
    starts = np.zeros(LEVELS + 1, np.int32)
    for k in range(e):
        starts[256 - weight[k]] += 1
    for rank in range(LEVELS):
        starts[rank + 1] += starts[rank]
    for k in range(e):
        rank = 255 - weight[k]
        relief.order[starts[rank]] = k
        starts[rank] += 1
    return e


@njit(nogil=True, cache=True)
def _saddle_between(above, row, relief, i, j, reach, flip):
    """The largest min(p, q) over adjacent pixels p of hill i in row `above` and q of hill j in `row`.

    Seen from hill i's columns, hill j dilated by `reach` is unimodal as well. Between the two peaks one rises and the
    other falls, so the best is where they cross.
    """
    a, b = relief.peak_x[i], relief.peak_x[j]
    if abs(a - b) <= reach:
        return min(relief.peak[i], relief.peak[j])
    first = max(relief.x0[i], relief.x0[j] - reach)
    last = min(relief.x1[i], relief.x1[j] + reach)
    left = min(max(min(a, b), first), last)
    right = max(min(max(a, b), last), first)
    # Smallest x in left .. right + 1 from which on the rising one is not below the falling one.
    low, high = left, right + 1
    while low < high:
        x = (low + high) // 2
        p, q = above[x] ^ flip, _dilated(row, relief, j, x, reach, flip)
        if (q >= p) if a < b else (p >= q):
            high = x
        else:
            low = x + 1
    best = 0
    for x in range(max(low - 1, left), min(low, right) + 1):
        best = max(best, min(above[x] ^ flip, _dilated(row, relief, j, x, reach, flip)))
    return best


@njit(nogil=True, cache=True)
def _dilated(row, relief, j, x, reach, flip):
    """The largest pixel of hill j within `reach` of column x."""
    low, high = max(x - reach, relief.x0[j]), min(x + reach, relief.x1[j])
    return row[min(max(relief.peak_x[j], low), high)] ^ flip


@njit(nogil=True, cache=True)
def _tabulate_boxes(image, relief, num_labels, dark):
    """Write each label's box at every level below its summit, the labels joined to it included below their saddles."""
    height, width = image.shape
    column, box, label, summit = relief.column, relief.box, relief.label, relief.summit
    first_label = 1 if dark else 0
    reached = np.zeros((2, num_labels), np.int32)
    for k in range(num_labels):
        column[k, :] = 255 if dark else 0
    for y in range(height):
        for k in range(relief.row[y], relief.row[y + 1]):
            own = label[k]
            if own < first_label:
                continue
            pixels = image[y, relief.x0[k] : relief.x1[k] + 1]
            extremes = column[own, relief.x0[k] : relief.x1[k] + 1]
            if dark:
                for x in range(len(pixels)):
                    extremes[x] = min(extremes[x], pixels[x])
            else:
                for x in range(len(pixels)):
                    extremes[x] = max(extremes[x], pixels[x])
            for level in range(reached[0, own], relief.peak[k]):
                box[own, 1, level] = y
            reached[0, own] = max(reached[0, own], relief.peak[k])
    for y in range(height - 1, -1, -1):
        for k in range(relief.row[y], relief.row[y + 1]):
            own = label[k]
            if own < first_label:
                continue
            for level in range(reached[1, own], relief.peak[k]):
                box[own, 3, level] = y
            reached[1, own] = max(reached[1, own], relief.peak[k])
    flip = 255 if dark else 0
    for own in range(first_label, num_labels):
        level = 0
        for x in range(width):
            while level < column[own, x] ^ flip:
                box[own, 0, level] = x
                level += 1
        level = 0
        for x in range(width - 1, -1, -1):
            while level < column[own, x] ^ flip:
                box[own, 2, level] = x
                level += 1
    for own in range(num_labels - 1, first_label, -1):  # a label is younger than the one it is joined to
        into = relief.older[own]
        if into < first_label:
            continue
        for level in range(relief.saddle[own]):
            box[into, 0, level] = min(box[into, 0, level], box[own, 0, level])
            box[into, 1, level] = min(box[into, 1, level], box[own, 1, level])
            box[into, 2, level] = max(box[into, 2, level], box[own, 2, level])
            box[into, 3, level] = max(box[into, 3, level], box[own, 3, level])


@njit(nogil=True, cache=True)
def _raise_records(relief, first_label, num_labels, dark, shape, gt, all_any, all_first):
    """Raise the best IoU [256] at every level by the labels' boxes; level L of 255 - image is level 254 - L."""
    grow = 1 if dark else 0  # the border of a hole runs through the foreground around it
    right, bottom = shape[1] - 1.0, shape[0] - 1.0
    for own in range(first_label, num_labels):
        box = relief.box[own]
        for m in range(gt.shape[0]):
            g0, g1, g2, g3 = gt[m, 0], gt[m, 1], gt[m, 2], gt[m, 3]
            gt_area = (g2 - g0 + 1.0) * (g3 - g1 + 1.0)
            for level in range(relief.saddle[own], relief.summit[own]):
                x0, y0 = float(box[0, level] - grow), float(box[1, level] - grow)
                x1 = min(float(box[2, level] + 1 + grow), right)
                y1 = min(float(box[3, level] + 1 + grow), bottom)
                shared_w = max(min(x1, g2) - max(x0, g0) + 1.0, 0.0)
                shared_h = max(min(y1, g3) - max(y0, g1) + 1.0, 0.0)
                shared = shared_w * shared_h
                iou = shared / ((x1 - x0 + 1.0) * (y1 - y0 + 1.0) + gt_area - shared)
                place = 254 - level if dark else level
                all_any[place] = max(all_any[place], iou)
                if m == 0:
                    all_first[place] = max(all_first[place], iou)


@njit(nogil=True, cache=True)
def _fill(image, dark, num_labels, filled):
    """Write the map with every hole filled up to the level at which it opens to the outside."""
    full = np.zeros(num_labels, np.int32)
    for own in range(1, num_labels):
        full[own] = dark.saddle[own] if dark.older[own] == 0 else full[dark.older[own]]
    filled[:, :] = image
    for y in range(image.shape[0]):
        for k in range(dark.row[y], dark.row[y + 1]):
            own = dark.label[k]
            if own > 0 and dark.peak[k] > full[own]:
                floor = np.uint8(255 - full[own])
                pixels = filled[y, dark.x0[k] : dark.x1[k] + 1]
                for x in range(len(pixels)):
                    pixels[x] = max(pixels[x], floor)


@njit(nogil=True, cache=True)
def _tabulate_areas(image, relief, num_labels, windows, counts):
    """Write twice the polygon area of each label at every level below its summit, as `_tabulate_boxes` does.

    A 2x2 window counts 1 at levels below its third largest pixel and 1 more below its smallest. Those three pixels
    are one component then, and each row of the window has one of them.
    """
    height, width = image.shape
    label, x1, area2 = relief.label, relief.x1, relief.area2
    for own in range(num_labels):
        area2[own, :] = 0
    third, least = windows[0], windows[1]
    for y in range(height - 1):
        above, below = image[y], image[y + 1]
        for x in range(width - 1):
            a, b, c, d = above[x], above[x + 1], below[x], below[x + 1]
            least_ab, most_ab, least_cd, most_cd = min(a, b), max(a, b), min(c, d), max(c, d)
            least[x] = min(least_ab, least_cd)
            third[x] = min(max(least_ab, least_cd), min(most_ab, most_cd))
        j = relief.row[y + 1]
        for i in range(relief.row[y], relief.row[y + 1]):
            table = area2[label[i]]
            for x in range(relief.x0[i], x1[i]):
                table[third[x]] += 1
                table[least[x]] += 1
            x = x1[i]
            if x == width - 1:
                break
            while x1[j] < x:
                j += 1
            # The window over the cut to hill i + 1: by its row below if that is not cut too, else by its highest pixel.
            owner = j
            if x1[j] == x:
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
            area2[label[owner], third[x]] += 1
            area2[label[owner], least[x]] += 1
    for own in range(num_labels):
        total = 0
        for level in range(255, -1, -1):
            here = area2[own, level]
            area2[own, level] = total
            total += here
    for own in range(num_labels - 1, 0, -1):
        for level in range(relief.saddle[own]):
            area2[relief.older[own], level] += area2[own, level]


@njit(nogil=True, cache=True)
def _choose_largest(image, relief, num_labels, largest_box):
    """Write the box of the largest component at every level; of equals, the one whose first pixel comes last."""
    height, width = image.shape
    winner = np.full(LEVELS, -1, np.int32)
    for own in range(num_labels):
        for level in range(relief.saddle[own], relief.summit[own]):
            rival = winner[level]
            if (
                rival < 0
                or relief.area2[own, level] > relief.area2[rival, level]
                or (
                    relief.area2[own, level] == relief.area2[rival, level]
                    and _first_pixel(image, relief, own, level) > _first_pixel(image, relief, rival, level)
                )
            ):
                winner[level] = own
    for level in range(LEVELS):
        if winner[level] >= 0:
            box = relief.box[winner[level]]
            largest_box[level, 0] = box[0, level]
            largest_box[level, 1] = box[1, level]
            largest_box[level, 2] = min(box[2, level] + 1, width - 1)
            largest_box[level, 3] = min(box[3, level] + 1, height - 1)


@njit(nogil=True, cache=True)
def _first_pixel(image, relief, own, level):
    """The first pixel in raster order, as y * W + x, of the component that label `own` heads at this level."""
    y = np.int64(relief.box[own, 1, level])
    for k in range(relief.row[y], relief.row[y + 1]):
        if relief.peak[k] > level:
            head = relief.label[k]
            while relief.saddle[head] > level:
                head = relief.older[head]
            if head == own:
                x = relief.x0[k]
                while image[y, x] <= level:
                    x += 1
                return y * image.shape[1] + x
    return np.int64(-1)
