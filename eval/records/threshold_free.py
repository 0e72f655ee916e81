"""How a map ranks the pixels of a region above the others, without any threshold. Formulas of `eval.records.measures`.

Maps are ranked at `LEVELS` equal steps between their minimum and maximum; the maximum itself is exact. Equal values are
taken as ordered at random, and each number is the expected one: a constant map gets exactly what chance gets, whatever
order its pixels are stored in.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from eval.maps.center_gaussian import center_gaussian
from eval.records.measures import MEASURES, Region
from eval.records.ranking_kernel import around_peaks, count_levels, grow, rank_region, runs_of

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

    `values` [N] is the map, `levels` [N] are its values in steps, `counts` [LEVELS or fewer, without empty steps] the
    pixels of each, `peak` the flat positions of the maximum, `energy` the sum of the positive part.
    """

    values: npt.NDArray[np.float64]
    levels: npt.NDArray[np.uint16]
    counts: npt.NDArray[np.int32]
    peak: npt.NDArray[np.intp]
    energy: float

    @classmethod
    def of(cls, values: npt.NDArray[np.float64]) -> RankedMap | None:
        """Rank one map [H, W]; None where it is not finite."""
        flat = values.ravel()
        low, high = float(flat.min()), float(flat.max())
        if not (np.isfinite(low) and np.isfinite(high)):
            return None
        span = high - low
        scale = (LEVELS - 1) / span if np.finfo(float).tiny <= span < np.inf else 0.0
        levels, counts = np.zeros(flat.size, np.uint16), np.zeros(LEVELS, np.int32)
        energy = count_levels(flat, low if scale else 0.0, scale, levels, counts)
        return cls(flat, levels, counts, np.flatnonzero(flat == high), energy)


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
def _disc_chances(shape: tuple[int, int]) -> npt.NDArray[np.float64]:
    """What the pixels before each one [N + 1] add to the mean, over all pixels of the image, of the share of the disc
    around them."""
    chances = _disc_sums(1 / _disc_areas(shape)).astype(np.float64) / (shape[0] * shape[1])
    return np.concatenate([[0.0], chances.ravel().cumsum()])


@dataclass(frozen=True)
class Place:
    """A region of an image and what is asked of it, each [H, W]: `grown` is it and every pixel whose centre is within
    `TOLERANCE` of one of its pixels; `starts` and `stops` are the flat ends of its runs, none of which crosses a row.
    """

    region: npt.NDArray[np.bool_]
    grown: npt.NDArray[np.bool_]
    starts: npt.NDArray[np.int64]
    stops: npt.NDArray[np.int64]

    @classmethod
    def of(cls, region: npt.NDArray[np.bool_]) -> Place:
        """A region [H, W], which may be empty."""
        starts, stops = runs_of(region)
        return cls(region, grow(starts, stops, region.shape, _HALF_WIDTHS), starts, stops)

    def shares(self) -> list[float]:
        """The `AREAS`: its share of the image, that of the grown one, its mean share of discs around every pixel."""
        chances = _disc_chances(self.region.shape)
        of_discs = (chances[self.stops] - chances[self.starts]).sum()
        return [
            int((self.stops - self.starts).sum()) / self.region.size,
            np.count_nonzero(self.grown) / self.region.size,
            float(of_discs),
        ]


def measured(ranked: RankedMap, place: Place) -> list[float]:
    """Each of `FORMULAS` for one map and region, in [0, 1]; NaN where it is undefined.

    Nothing is defined for an empty region, AUC not for one that is the whole image, energy not for a map without a
    positive value, the `TOP` pixels not for a smaller image.
    """
    total, pixels = int((place.stops - place.starts).sum()), place.region.size
    outside = pixels - total
    if not total:
        return [np.nan] * len(FORMULAS)
    energy, hits, hits_top, above, precision = rank_region(
        ranked.values, ranked.levels, ranked.counts, place.starts, place.stops, TOP
    )
    at, at_grown, near = around_peaks(place.region, place.grown, ranked.peak, _HALF_WIDTHS, _FEW)
    if len(ranked.peak) > _FEW:
        sums, areas = _disc_sums(place.region), _disc_areas(place.region.shape)
        near = float((sums.ravel()[ranked.peak] / areas.ravel()[ranked.peak]).mean())
    return [
        at,
        at_grown,
        near,
        energy / ranked.energy if ranked.energy > 0 else np.nan,
        hits / total,
        hits_top / TOP if pixels >= TOP else np.nan,
        above / (total * outside) if outside else np.nan,
        precision / total,
    ]


@lru_cache(maxsize=4)
def ranked_gaussian(size: int) -> RankedMap:
    """The centre Gaussian of a frame, ranked, without the empty steps, which are three in four."""
    ranked = RankedMap.of(center_gaussian(size))
    assert ranked is not None
    used = np.flatnonzero(ranked.counts)
    levels = np.searchsorted(used, ranked.levels).astype(np.uint16)
    return replace(ranked, levels=levels, counts=ranked.counts[used])


def names_of(region: Region) -> tuple[str, ...]:
    """Names of the arrays that `measure_region` gives, in its order."""
    formulas = [f"{f}_{region}" for f in FORMULAS]
    return (*formulas, *(f"center_gaussian.{f}" for f in formulas), *(f"{a}_{region}" for a in AREAS))


def measure_region(ranked: RankedMap | None, region: npt.NDArray[np.bool_]) -> list[float]:
    """One image: the map's measures (NaN for no map), the centre Gaussian's, and the region's shares of the image."""
    place = Place.of(region)
    if not len(place.starts):
        return [np.nan] * len(names_of("box"))
    own = measured(ranked, place) if ranked is not None else [np.nan] * len(FORMULAS)
    return [*own, *measured(ranked_gaussian(len(region)), place), *place.shares()]
