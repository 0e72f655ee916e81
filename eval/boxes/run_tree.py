"""Rows cut into runs, and runs joined at their saddles: the component tree of an image with few extrema.

A run is a stretch of one row that rises, then falls (both may hold level); a row is cut where it turns from falling
to rising. At any level a run's foreground is one interval, so runs, not pixels, are what components are made of: a
few a row for an upsampled CAM. Two runs of neighbouring rows are one component below the largest min(p, q) over their
adjacent pixels; both being unimodal, a search between their two peaks finds it. Joining runs by falling level
(Kruskal, the higher peak survives) gives the component tree. A run that is joined at its own peak never was a
component by itself, so it takes the label of what it joined: labels are few, one per regional maximum, plateaus and
all.

Background regions are the same thing upside down: runs of the inverted image, joined 4-connected, and the outside as
one more node that every run touching the image's edge is joined to.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from eval.boxes.kernel_common import I32, U16, compiled_helper

MAX_LABELS = 1024


class RunForest(NamedTuple):
    """Working memory of one thread: the runs of an image of L levels, or of the inverted one, and their component tree.

    L is a power of two, so that `value ^ (L - 1)` inverts.
    """

    row: npt.NDArray[np.int32]  # [H + 1] where each row's runs begin
    run: npt.NDArray[np.int32]  # [n, 4] first and last column, where it peaks, how high (the outside: L)
    edge: npt.NDArray[np.int32]  # [E, 3] two adjacent runs and the level below which they are one component
    order: npt.NDArray[np.int32]  # [E] edges, highest level first
    parent: npt.NDArray[np.int32]  # [n] union-find over runs
    base: npt.NDArray[np.int32]  # [n] the run that a run hangs on from its own peak down
    death: npt.NDArray[np.int32]  # [n, 3] in their order: a root, the root it was joined to, at which level
    label: npt.NDArray[np.int32]  # [n]
    tree: npt.NDArray[np.int32]  # [labels, 8] of a label: see the columns below
    column: npt.NDArray[np.uint16]  # [labels, W] the maximum of each column
    box: npt.NDArray[np.int16]  # [labels, 4, L] x0, y0, x1, y1, last pixel inside
    area2: npt.NDArray[np.int32]  # [labels, 2, L] twice the polygon area, and the cells for counting it


FIRST, LAST, PEAK_X, PEAK = range(4)  # columns of RunForest.run
A, B, LEVEL = range(3)  # columns of RunForest.edge and RunForest.death
# Columns of RunForest.tree. A label is a component by itself at levels SADDLE .. SUMMIT - 1, below it belongs to OLDER.
# LEFT .. RIGHT are its columns, TOP and BOTTOM scratch, FILL the level from which its hole is open to the outside.
OLDER, SADDLE, SUMMIT, LEFT, RIGHT, TOP, BOTTOM, FILL = range(8)


def run_forest_of(height: int, width: int, levels: int) -> RunForest:
    """Working memory for the runs of height x width frames of so many levels."""
    runs = max(1024, height * width // 6) + width + 1
    edges = 4 * runs + 2 * (height + width)
    return RunForest(
        row=np.empty(height + 1, np.int32),
        run=np.empty((runs, 4), np.int32),
        edge=np.empty((edges, 3), np.int32),
        order=np.empty(edges, np.int32),
        parent=np.empty(runs, np.int32),
        base=np.empty(runs, np.int32),
        death=np.empty((runs, 3), np.int32),
        label=np.empty(runs, np.int32),
        tree=np.empty((MAX_LABELS, 8), np.int32),
        column=np.empty((MAX_LABELS, width), np.uint16),
        box=np.empty((MAX_LABELS, 4, levels), np.int16),
        area2=np.empty((MAX_LABELS, 2, levels), np.int32),
    )


@compiled_helper
def cut_rows(image: U16, bright: RunForest, dark: RunForest) -> bool:
    """Cut every row into runs of the image and of the inverted one; False if the working memory is too small."""
    height, width = image.shape
    capacity = len(bright.run) - width - 1  # the last row, and the outside
    run, dark_run, last = bright.run, dark.run, bright.box.shape[2] - 1
    m, n = 0, 0
    for y in range(height):
        bright.row[y], dark.row[y] = m, n
        if m > capacity or n > capacity:
            return False
        row = image[y]
        run[m, FIRST] = dark_run[n, FIRST] = 0
        x = 1
        while x < width and row[x] == row[x - 1]:
            x += 1
        run[m, PEAK_X] = dark_run[n, PEAK_X] = x - 1
        run[m, PEAK], dark_run[n, PEAK] = row[x - 1], last - row[x - 1]
        rising = x < width and row[x] > row[x - 1]
        while x < width:
            if rising:
                while x < width and row[x] >= row[x - 1]:
                    x += 1
                run[m, PEAK_X], run[m, PEAK] = x - 1, row[x - 1]
                if x < width:
                    dark_run[n, LAST] = x - 1
                    n += 1
                    dark_run[n, FIRST] = x
            else:
                while x < width and row[x] <= row[x - 1]:
                    x += 1
                dark_run[n, PEAK_X], dark_run[n, PEAK] = x - 1, last - row[x - 1]
                if x < width:
                    run[m, LAST] = x - 1
                    m += 1
                    run[m, FIRST] = x
            rising = not rising
        run[m, LAST] = dark_run[n, LAST] = width - 1
        m += 1
        n += 1
    bright.row[height], dark.row[height] = m, n
    return True


@compiled_helper
def grow_tree(image: U16, forest: RunForest, dark: bool) -> int:
    """Join runs by falling weight and number the labels, oldest first (0: the highest peak, or the outside); returns
    how many, or -1 where they are too many."""
    run, parent, base, label = forest.run, forest.parent, forest.base, forest.label
    death, tree = forest.death, forest.tree
    num_nodes = forest.row[image.shape[0]]
    if dark:
        run[num_nodes, PEAK] = forest.box.shape[2]
        num_nodes += 1
    num_edges = _sort_edges(forest, _collect_edges(image, forest, dark), num_nodes)
    num_deaths = 0
    for k in range(num_edges):
        edge = forest.order[k]
        a = _find(parent, np.int64(forest.edge[edge, A]))
        b = _find(parent, np.int64(forest.edge[edge, B]))
        if a == b:
            continue
        if run[a, PEAK] < run[b, PEAK]:
            a, b = b, a
        parent[b] = a
        death[num_deaths, A], death[num_deaths, B], death[num_deaths, LEVEL] = (
            b,
            a,
            forest.edge[edge, LEVEL],
        )
        num_deaths += 1
    oldest = _find(parent, np.int64(0))
    label[oldest] = 0
    tree[0, OLDER], tree[0, SADDLE], tree[0, SUMMIT] = 0, 0, run[oldest, PEAK]
    num_labels = 1
    for k in range(num_deaths - 1, -1, -1):
        node, older, saddle = death[k, A], label[death[k, B]], death[k, LEVEL]
        if saddle == run[node, PEAK]:  # of equal peaks at equal height: never apart
            label[node] = older
            continue
        if num_labels == MAX_LABELS:
            return -1
        label[node] = num_labels
        tree[num_labels, OLDER], tree[num_labels, SADDLE], tree[num_labels, SUMMIT] = (
            older,
            saddle,
            run[node, PEAK],
        )
        num_labels += 1
    for node in range(num_nodes):
        label[node] = label[base[node]]
    return num_labels


@compiled_helper
def _find(parent: I32, node: int) -> int:
    while parent[node] != node:
        parent[node] = parent[parent[node]]
        node = np.int64(parent[node])
    return node


@compiled_helper
def _collect_edges(image: U16, forest: RunForest, dark: bool) -> int:
    """List the adjacent runs with the level below which they are one component; returns how many."""
    height, width = image.shape
    flip = forest.box.shape[2] - 1 if dark else 0
    reach = 0 if dark else 1  # 4-connected, or 8-connected
    run, edge = forest.run, forest.edge
    outside = forest.row[height]
    e = 0
    for y in range(height):
        begin, end = forest.row[y], forest.row[y + 1]
        for k in range(begin, end - 1):
            x = run[k, LAST]
            edge[e, A], edge[e, B] = k, k + 1
            edge[e, LEVEL] = min(image[y, x] ^ flip, image[y, x + 1] ^ flip)
            e += 1
        if dark:
            if y == 0 or y == height - 1:
                for k in range(begin, end):
                    edge[e, A], edge[e, B], edge[e, LEVEL] = k, outside, run[k, PEAK]
                    e += 1
            else:
                edge[e, A], edge[e, B], edge[e, LEVEL] = begin, outside, image[y, 0] ^ flip
                e += 1
                edge[e, A], edge[e, B], edge[e, LEVEL] = end - 1, outside, image[y, width - 1] ^ flip
                e += 1
        if y == 0:
            continue
        i, j = np.int64(forest.row[y - 1]), np.int64(begin)
        while True:
            edge[e, A], edge[e, B] = i, j
            if abs(run[i, PEAK_X] - run[j, PEAK_X]) <= reach:
                edge[e, LEVEL] = min(run[i, PEAK], run[j, PEAK])
            elif run[i, PEAK_X] < run[j, PEAK_X]:
                edge[e, LEVEL] = _crossing(image, y - 1, y, run, i, j, reach, flip)
            else:
                edge[e, LEVEL] = _crossing(image, y, y - 1, run, j, i, reach, flip)
            e += 1
            x = run[i, LAST]
            if x < run[j, LAST]:
                i += 1
            elif x > run[j, LAST]:
                j += 1
            elif x == width - 1:
                break
            else:
                if reach == 1:
                    edge[e, A], edge[e, B] = i, j + 1
                    edge[e, LEVEL] = min(image[y - 1, x] ^ flip, image[y, x + 1] ^ flip)
                    e += 1
                    edge[e, A], edge[e, B] = i + 1, j
                    edge[e, LEVEL] = min(image[y - 1, x + 1] ^ flip, image[y, x] ^ flip)
                    e += 1
                i += 1
                j += 1
    return e


@compiled_helper
def _sort_edges(forest: RunForest, num_edges: int, num_nodes: int) -> int:
    """Decide the edges that need no sorting and sort the others, now between bases; returns how many.

    A run joined at its own peak to a higher one is never apart from it, so it hangs on that one from the start; its
    base is the run at the end of the chain. Edges within one base say nothing more: in smooth maps most are.
    """
    run, parent, base, edge = forest.run, forest.parent, forest.base, forest.edge
    for node in range(num_nodes):
        parent[node] = node
    for k in range(num_edges):
        a, b = edge[k, A], edge[k, B]
        peak_a, peak_b = run[a, PEAK], run[b, PEAK]
        low, high = (a, b) if peak_a < peak_b else (b, a)
        settled = (edge[k, LEVEL] == min(peak_a, peak_b)) & (peak_a != peak_b)
        parent[low] = high if settled else parent[low]  # branch-free: a branch would be unpredictable
    for node in range(num_nodes):
        base[node] = _find(parent, node)
    levels = forest.box.shape[2]
    starts = np.zeros(levels + 1, np.int32)
    kept = 0
    for k in range(num_edges):
        a, b, weight = base[edge[k, A]], base[edge[k, B]], edge[k, LEVEL]
        edge[kept, A], edge[kept, B], edge[kept, LEVEL] = a, b, weight
        starts[levels - weight] += a != b
        kept += a != b
    for rank in range(levels):
        starts[rank + 1] += starts[rank]
    for k in range(kept):
        rank = levels - 1 - edge[k, LEVEL]
        forest.order[starts[rank]] = k
        starts[rank] += 1
    return kept


@compiled_helper
def _crossing(
    image: U16, y_left: int, y_right: int, run: I32, left: int, right: int, reach: int, flip: int
) -> int:
    """The largest min(p, q) over adjacent pixels of two runs in neighbouring rows, `left` peaking further left.

    Only columns between the two peaks matter: there the left run falls (p) and the right one rises (q, the best
    within `reach`), so it is where they cross.
    """
    peak_x = run[right, PEAK_X]
    low = max(run[left, PEAK_X], run[right, FIRST] - reach)
    high = min(peak_x, run[left, LAST])
    p = image[y_left, low] ^ flip
    if p <= image[y_right, min(low + reach, peak_x)] ^ flip:
        return p
    q = image[y_right, min(high + reach, peak_x)] ^ flip
    if q <= image[y_left, high] ^ flip:
        return q
    while high - low > 1:  # p > q at low, p < q at high
        x = (low + high) // 2
        if image[y_left, x] ^ flip > image[y_right, min(x + reach, peak_x)] ^ flip:
            low = x
        else:
            high = x
    return max(image[y_right, min(low + reach, peak_x)] ^ flip, image[y_left, high] ^ flip)
