"""The inner loop from an upsampled map to its 8-bit levels, compiled: one pass, without the GIL."""

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
