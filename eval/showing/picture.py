"""The picture of one photograph: itself with its boxes, then for each map method the map over it and alone."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from eval.pictures.overlay import PREDICTED_COLOUR, coloured, draw_boxes, overlay
from wsol.files.atomic_write import write_durably
from wsol.pictures import fit_text, font

if TYPE_CHECKING:
    import numpy.typing as npt

    from eval.showing.config import ShowConfig

_SIDE, _GAP, _LINE = 480, 10, 20  # pixels: the longer side of each panel, what lies between, a line of text
_INK, _PAPER = (33, 33, 33), (255, 255, 255)


def write_picture(
    file: Path,
    pixels: npt.NDArray[np.uint8],
    maps: Sequence[npt.NDArray[np.uint8]],
    boxes: Sequence[npt.NDArray[np.int32]],
    labels: Sequence[str],
    caption: str,
    config: ShowConfig,
) -> Path:
    """Write a PNG: photograph [H, W, 3] with the first method's boxes, then each map [H, W] over it and alone."""
    height, width = pixels.shape[:2]
    scale = _SIDE / max(height, width)
    size_wh = max(1, round(width * scale)), max(1, round(height * scale))

    def panel(picture: npt.NDArray[np.uint8], found: npt.NDArray[np.int32]) -> Image.Image:
        small = Image.fromarray(picture).resize(size_wh, Image.Resampling.LANCZOS)
        draw_boxes(small, found * scale, PREDICTED_COLOUR, dashed=True)
        return small

    panels = [("photograph", panel(pixels, boxes[0]))]
    for score, found, label in zip(maps, boxes, labels):
        panels.append((label, panel(overlay(pixels, score), found)))
        panels.append((f"{label}, map alone", panel(coloured(score), found[:0])))
    columns = 3 if len(panels) == 3 or size_wh[0] > size_wh[1] else min(len(panels), 5)
    rows = -(-len(panels) // columns)
    step_x, step_y, head = size_wh[0] + _GAP, size_wh[1] + _LINE + _GAP, _LINE + 2 * _GAP
    sheet = Image.new("RGB", (_GAP + columns * step_x, head + rows * step_y), _PAPER)
    pen = ImageDraw.Draw(sheet)
    which = "the largest region" if config.boxes == "largest" else "every region"
    title = f"{caption}; box of {which} above {config.threshold:g} of the map's range"
    pen.text((_GAP, _GAP), fit_text(pen, title, sheet.width - 2 * _GAP, 15), fill=_INK, font=font(15))
    for i, (label, picture) in enumerate(panels):
        x, y = _GAP + (i % columns) * step_x, head + (i // columns) * step_y
        pen.text((x, y), fit_text(pen, label, size_wh[0], 13), fill=_INK, font=font(13))
        sheet.paste(picture, (x, y + _LINE))
    file.parent.mkdir(parents=True, exist_ok=True)
    png = io.BytesIO()
    sheet.save(png, "PNG", compress_level=1)
    return write_durably(file, png.getvalue(), tidy=False)
