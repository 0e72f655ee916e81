"""Which images make a grid, and how much of a map lies in each tile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from wsol.errors import UserError

if TYPE_CHECKING:
    import numpy.typing as npt


def draw_grids(
    labels: npt.NDArray[np.integer], side: int, seed: int, most: int | None = None
) -> npt.NDArray[np.int64]:
    """Images of different classes for every grid [G, side * side], each image in one grid at most.

    Each grid takes one image of each of the classes with the most images left, ties and places at random, so that as
    few images as possible stay over. `labels` [N].

    Raises `UserError` where there are fewer classes than tiles.
    """
    tiles = side * side
    classes = np.unique(labels)
    if len(classes) < tiles:
        raise UserError(
            f"a grid of {side} x {side} needs images of {tiles} classes, and there are {len(classes)}; a smaller "
            "--side needs fewer"
        )
    rng = np.random.default_rng(seed)
    left = {int(c): rng.permutation(np.flatnonzero(labels == c)).tolist() for c in classes}
    grids: list[list[int]] = []
    while most is None or len(grids) < most:
        order = sorted(left, key=lambda c: (-len(left[c]), rng.random()))[:tiles]
        if not left[order[-1]]:
            break
        grids.append(rng.permutation([left[c].pop() for c in order]).tolist())
    return np.asarray(grids, np.int64).reshape(-1, tiles)


def tiled(pictures: npt.NDArray[np.generic], side: int) -> npt.NDArray[np.generic]:
    """Tiles [side * side, ..., h, w], row by row, as one picture or map [..., side * h, side * w]."""
    rows = [np.concatenate(list(pictures[r * side : (r + 1) * side]), axis=-1) for r in range(side)]
    return np.concatenate(rows, axis=-2)


def tile_shares(m: npt.NDArray[np.floating], side: int) -> npt.NDArray[np.float64]:
    """Share of a map's positive part in each tile [side * side], row by row; NaN where it has no positive value.

    A cell [h, w] that lies in several tiles counts in each by its area: nothing is interpolated across borders.
    """
    positive = np.maximum(np.asarray(m, np.float64), 0)
    total = positive.sum()
    if not np.isfinite(total) or total <= 0:
        return np.full(side * side, np.nan)
    down, across = (_in_tiles(n, side) for n in positive.shape)
    return np.asarray(down @ positive @ across.T / total).ravel()


def _in_tiles(cells: int, side: int) -> npt.NDArray[np.float64]:
    """Which part of each cell along an axis lies in each tile [side, cells]."""
    starts = np.arange(cells) * (side / cells)  # in tiles
    ends = starts + side / cells
    tiles = np.arange(side)[:, None]
    overlap = np.minimum(ends, tiles + 1) - np.maximum(starts, tiles)
    return np.maximum(overlap, 0) * (cells / side)
