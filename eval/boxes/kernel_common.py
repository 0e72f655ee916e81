"""What both paths of the box kernel share: how they are compiled, and best IoU per level of one map."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

from eval.boxes.compiled import compiled_helper

U8 = npt.NDArray[np.uint8]
U16 = npt.NDArray[np.uint16]
I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]

_KERNEL_FILES = ("kernel_common.py", "run_tree.py", "run_kernel.py", "pixel_kernel.py")


def kernel_stamp() -> int:
    """A checksum of the kernels' sources, for the entry points to close over.

    Numba's cache looks at the entry point's own file only, and would go on running old code after a change in
    another one. A closure's values are part of its key.
    """
    checksum = 0
    for name in _KERNEL_FILES:
        checksum = zlib.crc32(Path(__file__).with_name(name).read_bytes(), checksum)
    return checksum


@compiled_helper
def best_iou(x0: float, y0: float, x1: float, y1: float, gt: F64) -> tuple[float, float]:
    """Inclusive-end IoU of one box with gt [M, 4]: (best over all, with the first); (0, 0) without GT
    boxes."""
    best, first = 0.0, 0.0
    area = (x1 - x0 + 1.0) * (y1 - y0 + 1.0)
    for m in range(gt.shape[0]):
        width = min(x1, gt[m, 2]) - max(x0, gt[m, 0]) + 1.0
        height = min(y1, gt[m, 3]) - max(y0, gt[m, 1]) + 1.0
        if width > 0.0 and height > 0.0:
            shared = width * height
            gt_area = (gt[m, 2] - gt[m, 0] + 1.0) * (gt[m, 3] - gt[m, 1] + 1.0)
            iou = shared / (area + gt_area - shared)
            if iou > best:
                best = iou
            if m == 0:
                first = iou
    return best, first


@compiled_helper
def finish_levels(
    top: int, gt: F64, all_any: F64, all_first: F64, largest_box: I32, largest_any: F64, largest_first: F64
) -> None:
    """Score the `largest` rule's boxes; from level `top` on, the map's largest value, no pixel is foreground, and both
    rules have the one box [0, 0, 0, 0].

    Equal boxes on neighbouring levels are scored once.
    """
    for level in range(len(all_any)):
        box = largest_box[level]
        same = level > 0
        for k in range(4):
            same = same and box[k] == largest_box[level - 1, k]
        if same:
            largest_any[level], largest_first[level] = largest_any[level - 1], largest_first[level - 1]
        else:
            largest_any[level], largest_first[level] = best_iou(
                np.int64(box[0]), np.int64(box[1]), np.int64(box[2]), np.int64(box[3]), gt
            )
        if level >= top:
            all_any[level], all_first[level] = largest_any[level], largest_first[level]
