"""Text on pictures made with Pillow: a font that knows most alphabets, and text shortened to a width."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import ImageFont

if TYPE_CHECKING:
    from PIL import ImageDraw


@functools.lru_cache(maxsize=8)
def font(size: int) -> Any:
    """DejaVu Sans, which comes with matplotlib (Latin, Greek, Cyrillic, Arabic), at a size in pixels; Pillow's own
    where it is not there."""
    matplotlib = importlib.util.find_spec("matplotlib")  # not imported: that takes longer than drawing
    for folder in (matplotlib.submodule_search_locations or []) if matplotlib else []:
        file = Path(folder) / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
        if file.is_file():
            return ImageFont.truetype(str(file), size)
    return ImageFont.load_default(size)


@functools.lru_cache(maxsize=4096)
def has_glyph(character: str, size: int = 11) -> bool:
    """Whether the font can draw a character; what it cannot would be an empty square.

    >>> [has_glyph(c) for c in "aé桃"]
    [True, True, False]
    """
    drawn = font(size)
    return character.isspace() or bytes(drawn.getmask(character)) != bytes(drawn.getmask("\U0010ffff"))


def fit_text(
    pen: ImageDraw.ImageDraw, text: str, width: float, size: int = 11, *, keep_end: bool = False
) -> str:
    """The text, shortened with "..." to a width in pixels: its beginning (names) or its end (ids) is kept.

    Characters that cannot be printed become question marks, those that the font lacks their code, such as U+6843.
    """
    text = "".join(c if c.isprintable() else "?" for c in text)
    text = "".join(c if has_glyph(c, size) else f"U+{ord(c):04X} " for c in text)
    if pen.textlength(text, font(size)) <= width:
        return text
    while text and pen.textlength(f"{text}...", font(size)) > width:
        text = text[1:] if keep_end else text[:-1]
    return f"...{text}" if keep_end else f"{text}..."
