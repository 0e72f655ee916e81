"""Where a map's positive part lies, and its value on each part of the object."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


def energy_shares(
    m: npt.NDArray[np.float64],
    mask: npt.NDArray[np.bool_],
    parts: npt.NDArray[np.uint8] | None,
    num_parts: int,
) -> npt.NDArray[np.float32]:
    """Shares of the map's positive part, [1 + P]: inside the mask, then inside each part (ids 1..P).

    NaN throughout where the map has no positive value: a share of nothing is undefined.
    """
    shares = np.full(1 + num_parts, np.nan, np.float32)
    positive = np.maximum(m, 0)
    total = positive.sum()
    if not np.isfinite(total) or total <= 0:
        return shares
    shares[0] = positive[mask].sum() / total
    if parts is not None:
        sums = np.bincount(parts.ravel(), weights=positive.ravel(), minlength=num_parts + 1)
        shares[1:] = sums[1 : num_parts + 1] / total
    return shares


def value_ratios(
    score: npt.NDArray[np.float64],
    whole: npt.NDArray[np.bool_],
    points: npt.NDArray[np.float64],
    parts: npt.NDArray[np.uint8] | None,
) -> npt.NDArray[np.float64]:
    """Map value on each part over the map's mean on the object, [P]; NaN where undefined.

    `score` [H, W] in [0, 1], `whole` [H, W] the object, `points` [P, 2] in the frame, `parts` [H, W] with k for part
    k - 1, or None.
    """
    ratios = np.full(len(points), np.nan)
    if not whole.any() or not (mean := float(score[whole].mean())) > 0:
        return ratios
    if parts is not None:
        area = np.bincount(parts.ravel(), minlength=len(points) + 1)[1 : len(points) + 1]
        total = np.bincount(parts.ravel(), score.ravel(), minlength=len(points) + 1)[1 : len(points) + 1]
        shown = area > 0
        ratios[shown] = total[shown] / area[shown] / mean
        return ratios
    visible = np.isfinite(points).all(1)
    last = np.array(score.shape[::-1]) - 1
    x, y = np.clip(points[visible].astype(np.int64), 0, last).T
    ratios[visible] = score[y, x] / mean
    return ratios
