"""Text on pictures made with Pillow: its bundled font, and text shortened to a width."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from PIL import ImageFont

if TYPE_CHECKING:
    from PIL import ImageDraw


@functools.lru_cache(maxsize=8)
def font(size: int) -> Any:
    """Pillow's own font at a size in pixels."""
    return ImageFont.load_default(size)


def fit_text(
    pen: ImageDraw.ImageDraw, text: str, width: float, size: int = 11, *, keep_end: bool = False
) -> str:
    """The text, shortened with "..." to a width in pixels: its beginning (names) or its end (ids) is kept.

    Characters that cannot be printed become question marks.
    """
    text = "".join(c if c.isprintable() else "?" for c in text)
    if pen.textlength(text, font(size)) <= width:
        return text
    while text and pen.textlength(f"{text}...", font(size)) > width:
        text = text[1:] if keep_end else text[:-1]
    return f"...{text}" if keep_end else f"{text}..."
