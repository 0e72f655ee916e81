"""Printing on a terminal of any width: the table that fits, prose wrapped between words."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from wsol.wrapping import wrapped

PIPED_WIDTH = 100  # columns where output is no terminal and COLUMNS says nothing


def terminal() -> Console:
    """Standard output, as wide as the terminal or as COLUMNS says."""
    known = sys.stdout.isatty() or os.environ.get("COLUMNS", "").isdigit()
    return Console(width=None if known else PIPED_WIDTH, highlight=False)


def print_table(console: Console, tables: Sequence[Table]) -> None:
    """Print the first table that fits, given from the widest to the narrowest; the last one where none does. Its title
    is wrapped at the terminal's width, not at the table's."""
    unlimited = console.options.update(max_width=10_000)
    fitting = (t for t in tables if console.measure(t, options=unlimited).maximum <= console.width)
    table = next(fitting, tables[-1])
    if table.title:
        print_text(console, str(table.title), "italic")
        table.title = None
    console.print(table)


def print_text(console: Console, text: str, style: str | None = None) -> None:
    """Print a sentence, wrapped between words as `wrapped` does."""
    for line in wrapped(text, console.width):
        console.print(line, markup=False, style=style, soft_wrap=True)


def print_place(console: Console, what: str, place: object) -> None:
    """Print where something was written, on one line however long, so that it can be copied."""
    console.print(f"{what}: {place}", markup=False, soft_wrap=True)
