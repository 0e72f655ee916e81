"""Several 8-bit versions of one map joined to one map of more levels, so that their boxes are found together.

Normalisations are rising functions of the map, so the sum of the versions' levels ranks the pixels as each of them
does, and every foreground of every version is a foreground of the sum.
"""

from __future__ import annotations

import numpy as np

from eval.boxes.compiled import compiled
from eval.boxes.kernel_common import I64, U8, U16


@compiled()
def join_levels(versions: U8, joined: U16, last: I64) -> None:
    """Write the sum [N, P] of versions [K, N, P] of P pixels each, and in `last` [K, N, 256] the level of the sum whose
    foreground is that of a version's level."""
    count, images, pixels = versions.shape
    some = np.empty(255 * count + 1, np.int64)  # [level of the sum] a pixel that has it, or -1
    for n in range(images):
        for i in range(pixels):
            joined[n, i] = versions[0, n, i]
        for k in range(1, count):
            for i in range(pixels):
                joined[n, i] += versions[k, n, i]
        some[:] = -1
        for i in range(pixels):
            some[joined[n, i]] = i
        last[:, n] = 0
        for level in range(len(some)):
            if some[level] >= 0:
                for k in range(count):
                    last[k, n, versions[k, n, some[level]]] = level
        for k in range(count):
            for level in range(1, last.shape[2]):
                last[k, n, level] = max(last[k, n, level], last[k, n, level - 1])
