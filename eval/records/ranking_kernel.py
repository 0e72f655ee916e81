"""The inner loops of the measures without a threshold, compiled: pixels counted by level, and a region grown."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eval.boxes.compiled import compiled

Counts = npt.NDArray[np.int64]


@compiled()
def count_levels(
    m: npt.NDArray[np.float64], low: float, scale: float, levels: npt.NDArray[np.uint16], counts: Counts
) -> None:
    """Write the level of every pixel [N] of a map, (m - low) * scale truncated, and how many have each.

    Neighbours are counted in two tables: they often have one level, and an addition waits for the one before.
    """
    odd = np.zeros_like(counts)
    for i in range(m.size):
        levels[i] = np.uint16(np.int32((m[i] - low) * scale))
    for i in range(0, m.size - 1, 2):
        counts[levels[i]] += 1
        odd[levels[i + 1]] += 1
    if m.size % 2:
        counts[levels[m.size - 1]] += 1
    counts += odd


@compiled()
def rank_region(
    m: npt.NDArray[np.float64],
    levels: npt.NDArray[np.uint16],
    counts: Counts,
    region: npt.NDArray[np.bool_],
    top: int,
) -> tuple[float, float, float, float, float]:
    """How a map ranks the pixels of a region that is not empty, everything [N] but `counts`.

    Returns the sum of the positive part in the region; of the highest pixels, as many as the region has and `top`, how
    many are in it; how often a pixel in it is above one outside it; and the sum over its pixels of the region's share
    of all pixels that are as high. Pixels of one level are taken as ordered at random.
    """
    step = np.zeros(counts.size, np.int64)
    positive, total = 0.0, 0
    for i in range(m.size):
        if region[i]:
            step[levels[i]] += 1
            positive += max(m[i], 0.0)
            total += 1
    below = np.float64(m.size - total)  # pixels outside the region, lower than this level
    there, found, hits, hits_top, above, precision = 0, 0, -1.0, -1.0, 0.0, 0.0
    for level in range(counts.size - 1, -1, -1):
        if counts[level] == 0:
            continue
        inside, others = step[level], counts[level] - step[level]
        there += counts[level]
        found += inside
        below -= others
        if hits < 0 and there >= total:
            hits = found - inside * (there - total) / counts[level]
        if hits_top < 0 and there >= top:
            hits_top = found - inside * (there - top) / counts[level]
        above += inside * (below + others / 2)
        precision += inside * (found / there)
    return positive, hits, hits_top, above, precision


@compiled()
def grow(region: npt.NDArray[np.bool_], half_widths: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """The region [H, W] and every pixel within a disc: its row at a distance of dy reaches `half_widths[dy]` to each
    side."""
    height, width = region.shape
    ends = np.zeros((height, width + 1), np.int32)  # +1 where a run of the grown row begins, -1 behind it
    reach = len(half_widths) - 1
    for y in range(height):
        x = 0
        while x < width:
            if not region[y, x]:
                x += 1
                continue
            first = x
            while x < width and region[y, x]:
                x += 1
            for dy in range(-min(reach, y), min(reach, height - 1 - y) + 1):
                half = half_widths[abs(dy)]
                ends[y + dy, max(first - half, 0)] += 1
                ends[y + dy, min(x + half, width)] -= 1
    grown = np.empty((height, width), np.bool_)
    for y in range(height):
        inside = 0
        for x in range(width):
            inside += ends[y, x]
            grown[y, x] = inside > 0
    return grown
