"""How a map ranks the pixels of a region above the others, without any threshold. Formulas of `eval.measures`.

Maps are ranked at `LEVELS` equal steps between their minimum and maximum; the maximum itself is exact. Equal values are
taken as ordered at random, and each number is the expected one: a constant map gets exactly what chance gets, whatever
order its pixels are stored in.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import cv2
import numpy as np

from eval.maps.center_gaussian import center_gaussian
from eval.measures import MEASURES, Region

if TYPE_CHECKING:
    import numpy.typing as npt

LEVELS = 1 << 14
TOLERANCE = 15
FORMULAS = tuple(m.formula for m in MEASURES.values() if m.region == "box")
AREAS = ("area", "dilated_area")


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


def measured(ranked: RankedMap, inside: npt.NDArray[np.intp], grown: npt.NDArray[np.bool_]) -> list[float]:
    """Each of `FORMULAS` for one map and region, in [0, 1]; NaN where it is undefined.

    `inside` are the region's flat positions, `grown` [N] the region with `TOLERANCE`. Nothing is defined for an empty
    region, AUC not for one that is the whole image, energy not for a map without a positive value.
    """
    total, outside = len(inside), len(ranked.levels) - len(inside)
    if not total:
        return [np.nan] * len(FORMULAS)
    group = ranked.counts[::-1]  # [LEVELS] pixels of each level, from the highest down
    step = np.bincount(ranked.levels[inside], minlength=LEVELS)[::-1]  # those in the region
    there, found = np.cumsum(group), np.cumsum(step)
    last = int(np.searchsorted(there, total))  # the level in which the region's own size is reached
    hits = found[last] - step[last] * (there[last] - total) / group[last]
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
        float(ranked.positive[inside].sum() / ranked.energy) if ranked.energy > 0 else np.nan,
        float(hits / total),
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
    own = measured(ranked, inside, flat) if ranked is not None else [np.nan] * len(FORMULAS)
    control = measured(ranked_gaussian(len(region)), inside, flat)
    return [*own, *control, len(inside) / region.size, float(grown.mean())]
