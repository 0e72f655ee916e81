"""The inner loops of the measures without a threshold, compiled: pixels counted by level, and a region grown."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eval.boxes.compiled import compiled

Counts = npt.NDArray[np.int32]
Positions = npt.NDArray[np.int64]


@compiled()
def count_levels(
    m: npt.NDArray[np.float64], low: float, scale: float, levels: npt.NDArray[np.uint16], counts: Counts
) -> float:
    """Write the level of every pixel [N] of a map, (m - low) * scale truncated, and how many have each; returns the sum
    of the positive part.

    Pixels are counted from two places in turn: neighbours often have one level, and an addition waits for the one
    before. Four sums for the same reason.
    """
    for i in range(m.size):
        levels[i] = np.uint16(np.int32((m[i] - low) * scale))
    half = m.size // 2
    for i in range(half):
        counts[levels[i]] += 1
        counts[levels[half + i]] += 1
    if m.size % 2:
        counts[levels[m.size - 1]] += 1
    a, b, c, d, whole = 0.0, 0.0, 0.0, 0.0, m.size // 4 * 4
    for i in range(0, whole, 4):
        a += max(m[i], 0.0)
        b += max(m[i + 1], 0.0)
        c += max(m[i + 2], 0.0)
        d += max(m[i + 3], 0.0)
    for i in range(whole, m.size):
        a += max(m[i], 0.0)
    return (a + b) + (c + d)


@compiled()
def runs_of(region: npt.NDArray[np.bool_]) -> tuple[Positions, Positions]:
    """Flat positions where the region's runs [R] begin, and those behind their ends; none crosses a row of [H, W]."""
    height, width = region.shape
    starts, stops = (
        np.empty(height * (width // 2 + 1), np.int64),
        np.empty(height * (width // 2 + 1), np.int64),
    )
    found = 0
    for y in range(height):
        x = 0
        while x < width:
            if not region[y, x]:
                x += 1
                continue
            starts[found] = y * width + x
            while x < width and region[y, x]:
                x += 1
            stops[found] = y * width + x
            found += 1
    return starts[:found].copy(), stops[:found].copy()


@compiled(error_model="numpy")
def rank_region(
    m: npt.NDArray[np.float64],
    levels: npt.NDArray[np.uint16],
    counts: Counts,
    starts: Positions,
    stops: Positions,
    top: int,
) -> tuple[float, float, float, float, float]:
    """How a map [N] ranks the pixels of a region that is not empty, given as runs.

    Returns the sum of the positive part in the region; of the highest pixels, as many as the region has and `top`, how
    many are in it; how often a pixel in it is above one outside it; and the sum over its pixels of the region's share
    of all pixels that are as high. Pixels of one level are taken as ordered at random.
    """
    step = np.zeros(counts.size, np.int32)
    total, positive, odd = 0, 0.0, 0.0
    for run in range(starts.size):
        first, stop = starts[run], stops[run]
        total += stop - first
        for i in range(first, stop):
            step[levels[i]] += 1
        for i in range(first, stop - 1, 2):
            positive += max(m[i], 0.0)
            odd += max(m[i + 1], 0.0)
        if (stop - first) % 2:
            positive += max(m[stop - 1], 0.0)
    below = m.size - total  # pixels outside the region, lower than this level
    there, found, above, hits, hits_top, precision = 0, 0, 0, -1.0, -1.0, 0.0
    level = counts.size - 1
    while counts[level] == 0:
        level -= 1
    # no step depends on whether a level is empty: one branch in five would be predicted wrongly
    while level >= 0:
        inside, here = np.int64(step[level]), np.int64(counts[level])
        there += here
        found += inside
        below -= here - inside
        if hits < 0 and there >= total:
            hits = found - inside * (there - total) / here
        if hits_top < 0 and there >= top:
            hits_top = found - inside * (there - top) / here
        above += inside * (2 * below + here - inside)  # twice
        precision += inside * (np.float64(found) / np.float64(there))
        level -= 1
    return positive + odd, hits, hits_top, above / 2, precision


@compiled()
def around_peaks(
    region: npt.NDArray[np.bool_],
    grown: npt.NDArray[np.bool_],
    peaks: Positions,
    half_widths: Positions,
    few: int,
) -> tuple[float, float, float]:
    """Of flat positions: the share in the region [H, W], that in the grown one, and the mean share of the region in
    the disc around them; the last is NaN for more than `few`."""
    height, width = region.shape
    reach = len(half_widths) - 1
    hits, hits_grown, shares = 0, 0, 0.0 if len(peaks) <= few else np.nan
    for peak in peaks:
        y, x = peak // width, peak % width
        hits += region[y, x]
        hits_grown += grown[y, x]
        if len(peaks) > few:
            continue
        inside, area = 0, 0
        for row in range(max(y - reach, 0), min(y + reach, height - 1) + 1):
            half = half_widths[abs(row - y)]
            left, right = max(x - half, 0), min(x + half, width - 1)
            area += right - left + 1
            for column in range(left, right + 1):
                inside += region[row, column]
        shares += inside / area
    return hits / len(peaks), hits_grown / len(peaks), shares / len(peaks)


@compiled()
def grow(
    starts: Positions, stops: Positions, shape: tuple[int, int], half_widths: Positions
) -> npt.NDArray[np.bool_]:
    """The region of [H, W] given as runs, and every pixel within a disc: its row at a distance of dy reaches
    `half_widths[dy]` to each side. A run adds nothing above it where one in the row above holds all of it, and so
    below."""
    height, width = shape
    ends = np.zeros((height, width + 1), np.int32)  # +1 where a run of the grown row begins, -1 behind it
    reach = len(half_widths) - 1
    left, right, top, bottom = width, 0, height, 0  # of the grown region
    above, below = -1, -1  # the last run that begins no later than right above this one, and right below
    for run in range(starts.size):
        first, stop = starts[run], stops[run]
        while above + 1 < starts.size and starts[above + 1] <= first - width:
            above += 1
        while below + 1 < starts.size and starts[below + 1] <= first + width:
            below += 1
        y = first // width
        x, end = first - y * width, stop - y * width
        covered_above = above >= 0 and stops[above] >= stop - width
        covered_below = stops[below] >= stop + width
        last = y if covered_below else min(y + reach, height - 1)
        start = y if covered_above else max(y - reach, 0)
        for row in range(start, last + 1):
            half = half_widths[abs(row - y)]
            ends[row, max(x - half, 0)] += 1
            ends[row, min(end + half, width)] -= 1
        top, bottom = min(top, start), max(bottom, last + 1)
        left, right = min(left, max(x - reach, 0)), max(right, min(end + reach, width))
    grown = np.zeros((height, width), np.bool_)
    for y in range(top, bottom):
        inside = 0
        for x in range(left, right):
            inside += ends[y, x]
            grown[y, x] = inside > 0
    return grown
