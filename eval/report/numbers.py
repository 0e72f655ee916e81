"""Numbers as the page sets them: with a true minus sign."""

from __future__ import annotations

import re
from typing import Any

from eval.comparison import terminal


def signed(value: float | None, digits: int = 2) -> str:
    """A difference with its sign."""
    return terminal.signed(value, digits).replace("-", "−")


def interval(ci: list[float] | None) -> str:
    """An interval of differences."""
    return terminal.interval(ci).replace("-", "−")


def minus(text: str) -> str:
    """A sentence whose negative numbers have a true minus sign; hyphens stay.

    >>> minus("ResNet-50: -2.2 points [-4.0, -0.4]")
    'ResNet-50: −2.2 points [−4.0, −0.4]'
    """
    return re.sub(r"(?<![\w.-])-(?=\d)", "−", text)


def published_text(entries: list[dict[str, Any]], limit: int = 2) -> str:
    """The closest published differences, one a line."""
    return "\n".join(f"{e['dataset']} {e['arch']} {signed(e['difference'])}" for e in entries[:limit])
