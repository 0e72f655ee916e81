"""Figures of numbers, drawn by matplotlib without a window and saved for papers and pages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#767676"
"""Okabe and Ito's blue and vermilion: told apart in every common kind of colour blindness, and by lightness."""


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of that many inches."""
    figure = Figure(figsize=(width, height), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def save_figure(figure: Figure, stem: Path, suffixes: Sequence[str] = (".png", ".pdf")) -> list[Path]:
    """Save a figure, never half-written; returns the files."""
    files = []
    for suffix in suffixes:
        file = stem.with_suffix(suffix)
        scratch = file.with_name(f".{file.name}.unfinished")
        # a PDF without its date is the same file for the same numbers
        metadata = {"CreationDate": None} if suffix == ".pdf" else None
        figure.savefig(scratch, format=suffix[1:], metadata=metadata)
        files.append(scratch.replace(file))
    return files
