"""The inner loops from an upsampled map to its 8-bit levels, compiled: one pass each, without the GIL."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eval.boxes.compiled import compiled


@compiled()
def quantize_clipped(
    large: npt.NDArray[np.float64],
    shift: npt.NDArray[np.float64],
    divisor: npt.NDArray[np.float64],
    out: npt.NDArray[np.uint8],
) -> None:
    """`uint8(clip((m - shift) / divisor, 0, 1) * 255)` of contiguous maps [N, H, W], in float64, truncated; `out`
    takes it.

    `shift` and `divisor` are [N]. A map whose divisor is not positive is left as `out` has it.
    """
    for n in range(large.shape[0]):
        if not divisor[n] > 0.0:
            continue
        m, levels, low, span = large[n].reshape(-1), out[n].reshape(-1), shift[n], divisor[n]
        for i in range(m.size):
            levels[i] = np.uint8(min(max((m[i] - low) / span, 0.0), 1.0) * 255.0)


_BINS = 4096


@compiled()
def sorted_value(m: npt.NDArray[np.float64], low: float, high: float, index: int) -> float:
    """`np.sort(m)[index]` of a finite map [N] with minimum `low` and maximum `high`: values are counted in equal
    bins, and only the bin that holds the index is sorted."""
    bins, counts = np.empty(m.size, np.uint16), np.zeros(_BINS, np.int64)
    scale = (_BINS - 1) / (high - low) if high > low else 0.0
    for i in range(m.size):
        bins[i] = np.uint16(min(max((m[i] - low) * scale, 0.0), _BINS - 1.0))  # a NaN of 0 * inf is bin 0
        counts[bins[i]] += 1
    before, here = 0, 0
    while before + counts[here] <= index:
        before += counts[here]
        here += 1
    inside, found = np.empty(counts[here]), 0
    for i in range(m.size):
        if bins[i] == here:
            inside[found] = m[i]
            found += 1
    return np.float64(np.sort(inside)[index - before])
