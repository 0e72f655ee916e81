"""Grids with the map of each of their classes, one grid a row."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image, ImageDraw

from eval.grids.tiles import tiled
from eval.pictures.overlay import overlay
from wsol.pictures import fit_text, font

if TYPE_CHECKING:
    import numpy.typing as npt

_SIDE, _GAP, _TEXT = 220, 8, 18  # pixels
_FRAME = (0, 200, 255)
_MOST = 4
"""Classes of a grid whose maps are drawn."""


def draw_grids_picture(
    file: Path,
    grids: Sequence[tuple[npt.NDArray[Any], npt.NDArray[Any]]],
    names: Sequence[Sequence[str]],
    energy: npt.NDArray[np.float64],
    side: int,
) -> None:
    """Write a PNG: for each grid the picture, then the maps of its first classes, each with its own tile framed.

    `grids` are tiles uint8 [T, 3, S, S] and maps [T, h, w]; `names` those of the tiles; `energy` [G] each grid's share.
    """
    columns = 1 + min(_MOST, side * side)
    width, height = columns * (_SIDE + _GAP), len(grids) * (_SIDE + _GAP + _TEXT)
    sheet = Image.new("RGB", (width, height), "white")
    pen = ImageDraw.Draw(sheet)
    for row, ((tiles, maps), labels) in enumerate(zip(grids, names)):
        top = row * (_SIDE + _GAP + _TEXT)
        photograph = np.ascontiguousarray(np.asarray(tiled(tiles, side)).transpose(1, 2, 0))
        photograph = np.asarray(
            cv2.resize(photograph, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), np.uint8
        )
        pen.text((0, top), f"energy in its tile {100 * energy[row]:.0f} %", "black", font(12))
        sheet.paste(Image.fromarray(photograph), (0, top + _TEXT))
        for k in range(columns - 1):
            left = (k + 1) * (_SIDE + _GAP)
            positive = np.maximum(maps[k].astype(np.float32), 0)
            scale = float(positive.max())
            level = (positive * (255 / scale if scale > 0 else 0)).astype(np.uint8)
            level = cv2.resize(level, (_SIDE, _SIDE), interpolation=cv2.INTER_LINEAR)
            sheet.paste(
                Image.fromarray(overlay(photograph, np.asarray(level, np.uint8))), (left, top + _TEXT)
            )
            y, x = divmod(k, side)
            cell = _SIDE / side
            corner = (left + x * cell, top + _TEXT + y * cell)
            pen.rectangle((*corner, corner[0] + cell - 1, corner[1] + cell - 1), outline=_FRAME, width=3)
            pen.text((left, top), fit_text(pen, labels[k], _SIDE, 12), "black", font(12))
    sheet.save(file)
