"""Textures for the `parts` dataset, cut from free photographs that scikit-image carries in its wheel.

Sources and terms, as scikit-image states them: brick, grass, gravel (CC0Textures.com, CC0); coffee
(Rachel Michetti, CC0); chelsea (Stefan van der Walt, CC0); coins, ihc (no known copyright
restrictions); hubble_deep_field and rocket (NASA, SpaceX; public domain); retina (Haggstrom 2014, CC0);
camera (Lav Varshney, CC0). Faces and people are cut away. Nothing is downloaded: the files are read
from the installed package.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from wsol.errors import UserError

if TYPE_CHECKING:
    import numpy.typing as npt

    Pyramid = tuple[npt.NDArray[np.uint8], ...]

RGB = tuple[int, int, int]


@dataclass(frozen=True)
class Ground:
    """A background: a photograph, the region of it that is used (x0, y0, x1, y1 in [0, 1]), and for grey
    photographs the colours that black and white become."""

    file: str
    region: tuple[float, float, float, float] = (0.0, 0.0, 1.0, 1.0)
    ramp: tuple[RGB, RGB] | None = None


@dataclass(frozen=True)
class Coat:
    """What an object's body wears: the luminance of a photograph between a dark and a light colour."""

    file: str
    region: tuple[float, float, float, float]
    ramp: tuple[RGB, RGB]


GROUNDS: dict[str, Ground] = {
    "lawn": Ground("grass.png", ramp=((20, 40, 8), (190, 215, 120))),
    "gravel": Ground("gravel.png", ramp=((25, 24, 26), (225, 220, 212))),
    "red_brick": Ground("brick.png", ramp=((40, 10, 5), (235, 165, 140))),
    "wood": Ground("coffee.png", (0.74, 0.0, 1.0, 1.0)),
    "stars": Ground("hubble_deep_field.jpg"),
    "skyline": Ground("camera.png", (0.62, 0.3, 1.0, 0.78), ramp=((40, 36, 48), (238, 226, 210))),
    "dusk": Ground("rocket.jpg", (0.0, 0.0, 0.66, 0.9)),
    "tissue": Ground("ihc.png"),
    "coins": Ground("coins.png", ramp=((12, 16, 22), (225, 215, 190))),
    "retina": Ground("retina.jpg", (0.2, 0.2, 0.85, 0.8)),
    "hay": Ground("grass.png", ramp=((60, 35, 10), (250, 225, 150))),
    "sand": Ground("gravel.png", ramp=((110, 75, 45), (250, 225, 175))),
    "paving": Ground("brick.png", ramp=((20, 26, 32), (205, 215, 220))),
    "fur": Ground("chelsea.png", (0.05, 0.6, 0.5, 1.0)),
    "park": Ground("camera.png", (0.74, 0.66, 1.0, 1.0), ramp=((25, 35, 18), (200, 215, 150))),
    "scree": Ground("gravel.png", ramp=((15, 28, 45), (175, 205, 225))),
}

_FUR = ("chelsea.png", (0.2, 0.0, 0.75, 0.25))
_SCALES = ("ihc.png", (0.0, 0.0, 0.5, 0.5))
_PEBBLE = ("gravel.png", (0.0, 0.0, 1.0, 1.0))
_SHAG = ("grass.png", (0.0, 0.0, 1.0, 1.0))
COATS: dict[str, Coat] = {
    "rust": Coat(*_FUR, ((70, 25, 8), (225, 125, 65))),
    "slate": Coat(*_PEBBLE, ((30, 42, 58), (140, 160, 182))),
    "cream": Coat(*_SHAG, ((150, 130, 95), (250, 240, 210))),
    "moss": Coat(*_SCALES, ((30, 42, 12), (140, 155, 75))),
    "charcoal": Coat(*_FUR, ((12, 12, 14), (95, 92, 95))),
    "sand": Coat(*_PEBBLE, ((120, 85, 40), (230, 195, 125))),
    "plum": Coat(*_SHAG, ((50, 22, 45), (160, 110, 150))),
    "ash": Coat(*_SCALES, ((95, 95, 98), (215, 215, 215))),
    "umber": Coat(*_PEBBLE, ((38, 22, 12), (130, 88, 55))),
    "teal": Coat(*_FUR, ((10, 45, 48), (105, 165, 160))),
    "rose": Coat(*_SCALES, ((120, 60, 55), (230, 170, 160))),
    "olive": Coat(*_SHAG, ((62, 58, 10), (195, 185, 85))),
}


@dataclass(frozen=True)
class Textures:
    """Every ground and coat in the order of GROUNDS and COATS, each as a pyramid: uint8 pictures [H, W, 3],
    RGB, every next one half as high and wide, so that a small window costs little to shrink."""

    grounds: tuple[Pyramid, ...]
    coats: tuple[Pyramid, ...]


@functools.cache
def load_textures() -> Textures:
    """Cut all textures from the photographs in the installed scikit-image; about 0.2 s, then kept.

    Raises `UserError` where scikit-image or one of its photographs is missing."""
    photographs: dict[str, npt.NDArray[np.uint8]] = {}
    for file in [g.file for g in GROUNDS.values()] + [c.file for c in COATS.values()]:
        if file not in photographs:
            photographs[file] = _read(file)
    return Textures(
        tuple(_pyramid(_cut(photographs[g.file], g.region, g.ramp)) for g in GROUNDS.values()),
        tuple(_pyramid(_cut(photographs[c.file], c.region, c.ramp)) for c in COATS.values()),
    )


def _read(file: str) -> npt.NDArray[np.uint8]:
    # find_spec does not import skimage: only its folder is wanted.
    spec = find_spec("skimage")
    if spec is None or spec.origin is None:
        raise UserError(
            "the parts dataset cuts its textures from scikit-image's photographs: install scikit-image"
        )
    path = Path(spec.origin).parent / "data" / file
    try:
        image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR)
    except (OSError, cv2.error):
        image = None
    if image is None:
        raise UserError(
            f"the photograph '{path}' is missing or unreadable: reinstall scikit-image (0.22 or newer)"
        )
    return np.ascontiguousarray(image[..., ::-1], np.uint8)  # OpenCV reads BGR


def _cut(
    image: npt.NDArray[np.uint8], region: tuple[float, float, float, float], ramp: tuple[RGB, RGB] | None
) -> npt.NDArray[np.uint8]:
    """The region of a photograph, at most 512 pixels high and wide, recoloured along
    `ramp` where one is given."""
    height, width = image.shape[:2]
    x0, y0, x1, y1 = (round(f * n) for f, n in zip(region, (width, height, width, height)))
    cut = image[y0:y1, x0:x1]
    shrink = 512 / max(cut.shape[:2])
    if shrink < 1:
        cut = np.asarray(cv2.resize(cut, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA))
    if ramp is None:
        return np.ascontiguousarray(cut)
    grey = cut.mean(axis=2)
    low, high = np.percentile(grey, (2, 98))
    share = np.clip((grey - low) / max(float(high - low), 1.0), 0, 1)[..., None]  # [H, W, 1]
    dark, light = (np.array(colour, np.float64) for colour in ramp)
    return np.asarray(np.rint(dark + share * (light - dark)), np.uint8)


def _pyramid(image: npt.NDArray[np.uint8]) -> Pyramid:
    levels = [image]
    while min(levels[-1].shape[:2]) >= 64:
        height, width = levels[-1].shape[:2]
        half = cv2.resize(levels[-1], (width // 2, height // 2), interpolation=cv2.INTER_AREA)
        levels.append(np.asarray(half, np.uint8))
    return tuple(levels)
