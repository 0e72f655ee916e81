"""How a map ranks the pixels of a region above the others, without any threshold. Formulas of `eval.measures`.

Maps are ranked at `LEVELS` equal steps between their minimum and maximum; the maximum itself is exact. Equal values are
taken as ordered at random, and each number is the expected one: a constant map gets exactly what chance gets, whatever
order its pixels are stored in.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from eval.maps.center_gaussian import center_gaussian
from eval.measures import MEASURES, Region

if TYPE_CHECKING:
    import numpy.typing as npt

LEVELS = 1 << 14
TOLERANCE = 15
TOP = 1000
FORMULAS = tuple(m.formula for m in MEASURES.values() if m.region == "box")
AREAS = ("area", "dilated_area", "disc_area")


@dataclass(frozen=True)
class RankedMap:
    """A finite map of N pixels, ranked.

    `levels` [N] are its values in steps, `counts` [LEVELS] the pixels of each, `peak` the flat positions of the
    maximum, `positive` [N] its positive part with the sum `energy`.
    """

    levels: npt.NDArray[np.intp]
    counts: npt.NDArray[np.intp]
    peak: npt.NDArray[np.intp]
    positive: npt.NDArray[np.float64]
    energy: float

    @classmethod
    def of(cls, values: npt.NDArray[np.float64]) -> RankedMap:
        """Rank one map [H, W]. Raises ValueError where it is not finite."""
        flat = values.ravel()
        low, high = float(flat.min()), float(flat.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise ValueError("a map that holds NaN or infinity ranks nothing")
        scale = (LEVELS - 1) / (high - low) if high > low else 0.0
        levels = ((flat - low) * scale).astype(np.intp)
        positive = np.maximum(flat, 0)
        return cls(
            levels,
            np.bincount(levels, minlength=LEVELS),
            np.flatnonzero(flat == high),
            positive,
            float(positive.sum()),
        )


_SPREAD = np.arange(-TOLERANCE, TOLERANCE + 1)
_DISC = (_SPREAD[:, None] ** 2 + _SPREAD**2 <= TOLERANCE**2).astype(np.float32)
_FEW = 8
"""Peaks up to which the discs around them are looked at one by one; a mask as a map has thousands."""


def _disc_sums(values: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """Sums over the disc of `TOLERANCE` around every pixel [H, W], as far as it lies in the image."""
    summed = cv2.filter2D(values.astype(np.float32), -1, _DISC, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(summed, np.float32)


@lru_cache(maxsize=4)
def _disc_areas(shape: tuple[int, int]) -> npt.NDArray[np.float32]:
    return np.asarray(np.rint(_disc_sums(np.ones(shape))), np.float32)


@lru_cache(maxsize=4)
def _disc_chances(shape: tuple[int, int]) -> npt.NDArray[np.float32]:
    """What each pixel adds to the mean, over all pixels of the image, of the share of the disc around them."""
    return np.asarray(_disc_sums(1 / _disc_areas(shape)) / (shape[0] * shape[1]), np.float32)


def near_peak(region: npt.NDArray[np.bool_], peaks: npt.NDArray[np.intp]) -> float:
    """The region's share of the disc of `TOLERANCE` around a flat position, averaged over `peaks`."""
    areas = _disc_areas(region.shape)
    if len(peaks) > _FEW:
        return float((_disc_sums(region).ravel()[peaks] / areas.ravel()[peaks]).mean())
    shares = []
    for y, x in zip(*(c.tolist() for c in np.unravel_index(peaks, region.shape))):
        top, left = max(y - TOLERANCE, 0), max(x - TOLERANCE, 0)
        part = region[top : y + TOLERANCE + 1, left : x + TOLERANCE + 1]
        dy, dx = top - y + TOLERANCE, left - x + TOLERANCE
        disc = _DISC[dy : dy + part.shape[0], dx : dx + part.shape[1]]
        shares.append(float(disc[part].sum() / areas[y, x]))
    return float(np.mean(shares))


def measured(
    ranked: RankedMap,
    region: npt.NDArray[np.bool_],
    inside: npt.NDArray[np.intp],
    grown: npt.NDArray[np.bool_],
) -> list[float]:
    """Each of `FORMULAS` for one map and region, in [0, 1]; NaN where it is undefined.

    `inside` are the flat positions of the region [H, W], `grown` [N] is the region with `TOLERANCE`. Nothing is defined
    for an empty region, AUC not for one that is the whole image, energy not for a map without a positive value, the
    `TOP` pixels not for a smaller image.
    """
    total, outside = len(inside), len(ranked.levels) - len(inside)
    if not total:
        return [np.nan] * len(FORMULAS)
    group = ranked.counts[::-1]  # [LEVELS] pixels of each level, from the highest down
    step = np.bincount(ranked.levels[inside], minlength=LEVELS)[::-1]  # those in the region
    there, found = np.cumsum(group), np.cumsum(step)

    def share_of_highest(count: int) -> float:
        if count > len(ranked.levels):
            return np.nan
        last = int(np.searchsorted(there, count))  # the level in which the count is reached
        return float((found[last] - step[last] * (there[last] - count) / group[last]) / count)

    auc = np.nan
    if outside:
        others = group - step
        below = outside - np.cumsum(others) + others / 2
        auc = float((step * below).sum() / (total * outside))
    some = step > 0
    peak_inside = np.isin(ranked.peak, inside, assume_unique=True)
    return [
        float(peak_inside.mean()),
        float(grown[ranked.peak].mean()),
        near_peak(region, ranked.peak),
        float(ranked.positive[inside].sum() / ranked.energy) if ranked.energy > 0 else np.nan,
        share_of_highest(total),
        share_of_highest(TOP),
        auc,
        float((step[some] * (found[some] / there[some])).sum() / total),
    ]


def grown_by_tolerance(region: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The region [H, W] and every pixel whose centre is within `TOLERANCE` of one of its pixels."""
    if not region.any():
        return region
    far = cv2.distanceTransform((~region).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(far <= TOLERANCE)


@lru_cache(maxsize=4)
def ranked_gaussian(size: int) -> RankedMap:
    """The centre Gaussian of a frame, ranked."""
    return RankedMap.of(center_gaussian(size))


def names_of(region: Region) -> tuple[str, ...]:
    """Names of the arrays that `measure_region` gives, in its order."""
    formulas = [f"{f}_{region}" for f in FORMULAS]
    return (*formulas, *(f"center_gaussian.{f}" for f in formulas), *(f"{a}_{region}" for a in AREAS))


def measure_region(ranked: RankedMap | None, region: npt.NDArray[np.bool_]) -> list[float]:
    """One image: the map's measures (NaN for no map), the centre Gaussian's, and the region's shares of the image."""
    if not region.any():
        return [np.nan] * len(names_of("box"))
    inside, grown = np.flatnonzero(region), grown_by_tolerance(region)
    flat = grown.ravel()
    own = measured(ranked, region, inside, flat) if ranked is not None else [np.nan] * len(FORMULAS)
    control = measured(ranked_gaussian(len(region)), region, inside, flat)
    areas = (len(inside) / region.size, grown.mean(), _disc_chances(region.shape)[region].sum())
    return [*own, *control, *map(float, areas)]
