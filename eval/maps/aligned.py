"""Maps drawn with each cell at the centre of what it sees, for protocols with `drawing: aligned`."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from eval.maps.normalization import upsample
from wsol.cams.cells import Axis, CellCenters

if TYPE_CHECKING:
    import numpy.typing as npt

_A = -0.75
"""The parameter of OpenCV's cubic kernel."""


def upsample_aligned(
    raw: npt.NDArray[np.floating], size_hw: tuple[int, int], centers: CellCenters
) -> npt.NDArray[np.float64]:
    """One map [h, w] drawn in a frame [H, W] that shows the network's whole input.

    As `eval.maps.normalization.upsample` (the same cubic kernel in float64, the outermost cells repeated), except
    that cells lie where they look. Equal to it, up to the rounding of OpenCV's kernel (4e-6 of the map's range), where
    cells look at the centres of a regular grid.
    """
    rows, columns = _weights(centers.y, size_hw[0]), _weights(centers.x, size_hw[1])
    return np.asarray(rows @ np.asarray(raw, np.float64) @ columns.T)


def drawn(
    raw: npt.NDArray[np.floating], size_hw: tuple[int, int], cells: CellCenters | None
) -> npt.NDArray[np.float64]:
    """One map [h, w] in a frame [H, W]: resized, or aligned where `cells` say where its cells look."""
    return upsample(raw, size_hw) if cells is None else upsample_aligned(raw, size_hw, cells)


@lru_cache(maxsize=16)
def _weights(axis: Axis, size: int) -> npt.NDArray[np.float64]:
    """The weight of every cell at every pixel of the frame, [size, cells]."""
    pixels = (np.arange(size) + 0.5) * axis.pixels / size - 0.5  # in the network's input
    at = (pixels - axis.start) / axis.step  # in cells
    first = np.floor(at).astype(np.int64) - 1
    weights = np.zeros((size, axis.cells))
    for tap in range(4):
        index = np.clip(first + tap, 0, axis.cells - 1)
        np.add.at(weights, (np.arange(size), index), _cubic(np.abs(at - (first + tap))))
    return weights


def _cubic(d: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Keys' cubic kernel at distances in cells."""
    near = ((_A + 2) * d - (_A + 3)) * d * d + 1
    far = ((_A * d - 5 * _A) * d + 8 * _A) * d - 4 * _A
    return np.where(d <= 1, near, np.where(d < 2, far, 0.0))
