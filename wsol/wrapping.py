"""Prose on a terminal, wrapped between words."""

from __future__ import annotations

import re
import shutil
import sys
import textwrap

_NO_BREAK = "\u00a0"  # textwrap breaks at ASCII's blanks alone
_TOGETHER = re.compile(r"\[[^\[\] ]+, [^\[\] ]+\](?: %)?|\d %")


def wrapped(text: str, width: int) -> list[str]:
    """Lines of at most `width` characters, all but the first indented; broken between words, never inside a path, a
    number, an interval, or before a percent sign.

    >>> wrapped("PxAP 35.27 [33.9, 36.7] % of all", 17)
    ['PxAP 35.27', '  [33.9, 36.7] %', '  of all']
    """
    glued = _TOGETHER.sub(lambda m: m[0].replace(" ", _NO_BREAK), text)
    lines = textwrap.wrap(
        glued, width, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )
    return [line.replace(_NO_BREAK, " ") for line in lines or [""]]


def tell(text: str) -> None:
    """A sentence on standard error: wrapped on a terminal, one line elsewhere."""
    lines = wrapped(text, shutil.get_terminal_size().columns) if sys.stderr.isatty() else [text]
    sys.stderr.write("\n".join(lines) + "\n")
