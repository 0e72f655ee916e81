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
from eval.records.ranking_kernel import count_levels, grow, rank_region

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

    `values` [N] is the map, `levels` [N] are its values in steps, `counts` [LEVELS] the pixels of each, `peak` the flat
    positions of the maximum, `energy` the sum of the positive part.
    """

    values: npt.NDArray[np.float64]
    levels: npt.NDArray[np.uint16]
    counts: npt.NDArray[np.int64]
    peak: npt.NDArray[np.intp]
    energy: float

    @classmethod
    def of(cls, values: npt.NDArray[np.float64]) -> RankedMap:
        """Rank one map [H, W]. Raises ValueError where it is not finite."""
        flat = values.ravel()
        low, high = float(flat.min()), float(flat.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            raise ValueError("a map that holds NaN or infinity ranks nothing")
        span = high - low
        scale = (LEVELS - 1) / span if np.finfo(float).tiny <= span < np.inf else 0.0
        levels, counts = np.zeros(flat.size, np.uint16), np.zeros(LEVELS, np.int64)
        count_levels(flat if span < np.inf else np.zeros_like(flat), low, scale, levels, counts)
        return cls(flat, levels, counts, np.flatnonzero(flat == high), float(np.maximum(flat, 0).sum()))


_SPREAD = np.arange(-TOLERANCE, TOLERANCE + 1)
_HALF_WIDTHS = np.floor(np.sqrt(TOLERANCE**2 - np.arange(TOLERANCE + 1) ** 2)).astype(np.int64)
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


def measured(ranked: RankedMap, region: npt.NDArray[np.bool_], grown: npt.NDArray[np.bool_]) -> list[float]:
    """Each of `FORMULAS` for one map and region, in [0, 1]; NaN where it is undefined.

    `region` and `grown`, the region with `TOLERANCE`, are [H, W]. Nothing is defined for an empty region, AUC not for
    one that is the whole image, energy not for a map without a positive value, the `TOP` pixels not for a smaller
    image.
    """
    inside = region.ravel()
    total = np.count_nonzero(inside)
    outside = inside.size - total
    if not total:
        return [np.nan] * len(FORMULAS)
    energy, hits, hits_top, above, precision = rank_region(
        ranked.values, ranked.levels, ranked.counts, inside, TOP
    )
    return [
        float(inside[ranked.peak].mean()),
        float(grown.ravel()[ranked.peak].mean()),
        near_peak(region, ranked.peak),
        energy / ranked.energy if ranked.energy > 0 else np.nan,
        hits / total,
        hits_top / TOP if inside.size >= TOP else np.nan,
        above / (total * outside) if outside else np.nan,
        precision / total,
    ]


def grown_by_tolerance(region: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """The region [H, W] and every pixel whose centre is within `TOLERANCE` of one of its pixels."""
    return np.asarray(grow(region, _HALF_WIDTHS))


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
    grown = grown_by_tolerance(region)
    own = measured(ranked, region, grown) if ranked is not None else [np.nan] * len(FORMULAS)
    control = measured(ranked_gaussian(len(region)), region, grown)
    shares = (np.count_nonzero(r) / r.size for r in (region, grown))
    areas = (*shares, _disc_chances(region.shape)[region].sum())
    return [*own, *control, *map(float, areas)]
