"""Measures without a threshold as data: where a map's peak, energy and ranking lie, in the true boxes or the mask.

Each is a mean over images of a number in [0, 1] (`eval.records.threshold_free` has the formulas) and says by itself
what a map that knows nothing would get.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

Region = Literal["box", "mask"]
Chance = Literal["area", "dilated-area", "disc-area", "half"]


@dataclass(frozen=True)
class Measure:
    """`formula` names a function of map and region, `region` the union of the true boxes or the mask. `tolerance` in
    pixels of the frame. `chance`: what a map without information gets: the region's share of the image, that of the
    region grown by the tolerance, its mean share of discs around every pixel, or 1/2."""

    name: str
    formula: str
    region: Region
    what: str
    source: str
    chance: Chance = "area"
    tolerance: int = 0

    @property
    def graded(self) -> bool:
        """Whether images differ by more than hit and miss, so that their distribution says something."""
        return not self.formula.startswith("pointing")

    def definition(self) -> dict[str, Any]:
        """Every field, as plain data."""
        return asdict(self)

    @property
    def short_hash(self) -> str:
        """Eight hex digits that stand for what is measured."""
        said = [self.formula, self.region, self.tolerance]
        return hashlib.sha256(json.dumps(said).encode()).hexdigest()[:8]


_POINTING = "Zhang et al., ECCV 2016 and IJCV 2018, arXiv 1608.00507"
_FORMULAS: tuple[tuple[str, str, str, Chance, int], ...] = (
    ("pointing", "the map's maximum lies in the region", _POINTING, "area", 0),
    (
        "pointing_15",
        "the map's maximum lies in the region or within 15 pixels of it",
        f"{_POINTING}; tolerance as published, in pixels of the scored frame",
        "dilated-area",
        15,
    ),
    (
        "near_peak",
        "of the pixels within 15 of the map's maximum, the share that lies in the region",
        "no paper: the pointing game with the share of its tolerance instead of a hit",
        "disc-area",
        15,
    ),
    (
        "energy",
        "share of the map's positive part in the region",
        "energy-based pointing game, Wang et al. (Score-CAM), CVPR Workshops 2020, arXiv 1910.01279",
        "area",
        0,
    ),
    (
        "rank_accuracy",
        "of the map's n highest pixels, n being the region's size, the share that lies in it",
        "relevance rank accuracy, Arras et al. (CLEVR-XAI), Information Fusion 2022, arXiv 2003.07258",
        "area",
        0,
    ),
    (
        "top_1000",
        "of the map's 1,000 highest pixels, the share that lies in the region",
        "top-k intersection, Theiner et al., WACV 2022, arXiv 2104.14995; k = 1000 as in Quantus",
        "area",
        0,
    ),
    (
        "auc",
        "how often a pixel in the region is above one outside it",
        "area under the ROC curve of each image, Fawcett, Pattern Recognition Letters 2006",
        "half",
        0,
    ),
    (
        "pixel_ap",
        "average precision of the region's pixels, image by image",
        "as PxAP (Choe et al., CVPR 2020, arXiv 2001.07437), but per image and exact",
        "area",
        0,
    ),
)
REGIONS: tuple[Region, ...] = ("box", "mask")
MEASURES: Mapping[str, Measure] = {
    f"{formula}_{region}": Measure(
        f"{formula}_{region}", formula, region, f"{what} ({region})", source, chance, tolerance
    )
    for region, (formula, what, source, chance, tolerance) in itertools.product(REGIONS, _FORMULAS)
}
