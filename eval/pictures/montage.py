"""Pictures of score maps with predicted and true boxes, many in one PNG file."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from eval.pictures.overlay import PREDICTED_COLOUR, TRUE_COLOUR, draw_boxes, overlay
from wsol.files.atomic_write import write_durably
from wsol.pictures import fit_text, font

if TYPE_CHECKING:
    import numpy.typing as npt

_TILE, _GAP, _LINE = 224, 10, 15  # pixels
_INK, _PAPER = (33, 33, 33), (255, 255, 255)


@dataclass(frozen=True)
class Panel:
    """One picture: image uint8 [S, S, 3], its score map uint8 [F, F], boxes in the map's frame, and a caption of one or
    two lines."""

    image: npt.NDArray[np.uint8]
    score: npt.NDArray[np.uint8]
    predicted_xyxy: npt.NDArray[np.integer]
    true_xyxy: npt.NDArray[np.integer]
    caption: str


def write_montage(panels: Sequence[Panel], file: Path, title: str, columns: int = 6) -> Path:
    """Draw panels (image with its boxes above, the same under its score map below) into one PNG."""
    columns = max(1, min(columns, len(panels)))
    rows = -(-len(panels) // columns)
    step, tall = _TILE + _GAP, 2 * (_LINE + _TILE) + 2 * _GAP
    head = 2 * _LINE + 2 * _GAP
    sheet = Image.new("RGB", (_GAP + columns * step, head + rows * tall), _PAPER)
    pen = ImageDraw.Draw(sheet)
    room = sheet.width - 2 * _GAP
    pen.text((_GAP, _GAP), fit_text(pen, title, room, 13), fill=_INK, font=font(13))
    legend = "white: true box; amber, dashed: predicted box"
    pen.text((_GAP, _GAP + _LINE + 2), fit_text(pen, legend, room, 11), fill=_INK, font=font(11))
    for i, panel in enumerate(panels):
        x, y = _GAP + (i % columns) * step, head + (i // columns) * tall
        for k, line in enumerate(panel.caption.splitlines()[:2]):
            pen.text((x, y + _LINE * k), fit_text(pen, line, _TILE), fill=_INK, font=font(11))
        y += 2 * _LINE
        for k, picture in enumerate(_pictures(panel)):
            sheet.paste(picture, (x, y + k * (_TILE + 2)))
    file.parent.mkdir(parents=True, exist_ok=True)
    png = io.BytesIO()
    sheet.save(png, "PNG", compress_level=1)
    return write_durably(file, png.getvalue())


def _pictures(panel: Panel) -> tuple[Image.Image, Image.Image]:
    """The photograph with its boxes, and the same under its map."""
    image = np.asarray(Image.fromarray(panel.image).resize((_TILE, _TILE), Image.Resampling.BILINEAR))
    score = np.asarray(Image.fromarray(panel.score).resize((_TILE, _TILE), Image.Resampling.BILINEAR))
    pair = Image.fromarray(image), Image.fromarray(overlay(image, score))
    scale = _TILE / panel.score.shape[0]
    for picture in pair:
        draw_boxes(picture, panel.true_xyxy * scale, TRUE_COLOUR)
        draw_boxes(picture, panel.predicted_xyxy * scale, PREDICTED_COLOUR, dashed=True)
    return pair
