"""Axes, words and paths that the charts share, as SVG text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup


@dataclass(frozen=True)
class Plot:
    """Where a chart's axes lie in its own coordinates."""

    width: float = 720
    height: float = 300
    left: float = 42
    right: float = 18
    top: float = 18
    bottom: float = 44

    @property
    def inner(self) -> tuple[float, float]:
        return self.width - self.left - self.right, self.height - self.top - self.bottom

    def x(self, fraction: float) -> float:
        return round(self.left + fraction * self.inner[0], 2)

    def y(self, percent: float, top: float = 100) -> float:
        return round(self.top + (1 - percent / top) * self.inner[1], 2)


def text(x: float, y: float, words: object, css: str = "", anchor: str = "middle") -> Markup:
    return Markup('<text x="{}" y="{}" class="{}" text-anchor="{}">{}</text>').format(
        x, y, css, anchor, words
    )


def percent_top(highest: float) -> float:
    """Where an axis of percent ends: at the next 20 above what is drawn."""
    return min(100.0, 20.0 * -(-highest // 20))


def axes(
    plot: Plot, x_label: str, y_label: str, y_top: float = 100, y_ticks: int = 4, x_top: float = 1
) -> list[Markup]:
    parts = []
    for i in range(y_ticks + 1):
        value = y_top * i / y_ticks
        y = plot.y(value, y_top)
        parts.append(
            Markup('<line x1="{}" x2="{}" y1="{}" y2="{}" class="grid"/>').format(
                plot.left, plot.width - plot.right, y, y
            )
        )
        parts.append(text(plot.left - 7, y + 4, f"{value:g}", "tick", "end"))
    for i in range(6):
        parts.append(text(plot.x(i / 5), plot.height - plot.bottom + 17, f"{x_top * i / 5:g}", "tick"))
    parts.append(text(plot.width - plot.right, plot.height - 2, x_label, "axis", "end"))
    parts.append(text(plot.left, plot.top - 6, y_label, "axis", "start"))
    return parts


def drawing(plot: Plot, parts: Sequence[Markup], label: str, css: str, extra: str = "") -> Markup:
    # `extra` holds attributes made of numbers by this module
    return Markup('<svg viewBox="0 0 {} {}" class="{}" role="img" aria-label="{}" {}>{}</svg>').format(
        f"{plot.width:g}", f"{plot.height:g}", css, label, Markup(extra), Markup("").join(parts)
    )


def step_path(plot: Plot, taus: Sequence[float], curve: Sequence[float], top: float = 100) -> str:
    """A curve that holds its value from each tau to the next."""
    pieces = [f"M{plot.x(taus[0])},{plot.y(curve[0], top)}"]
    last = curve[0]
    for tau, value in zip(taus[1:], curve[1:]):
        if value != last:
            pieces.append(f"H{plot.x(tau)}V{plot.y(value, top)}")
            last = value
    return "".join(pieces) + f"H{plot.x(1)}"


def band_path(
    plot: Plot, taus: Sequence[float], low: Sequence[float], high: Sequence[float], top: float = 100
) -> str:
    """The area between two curves that hold their values from each tau to the next."""
    back = [f"L{plot.x(1)},{plot.y(low[-1], top)}H{plot.x(taus[-1])}"]
    back += [f"V{plot.y(low[i], top)}H{plot.x(taus[i])}" for i in range(len(taus) - 2, -1, -1)]
    return step_path(plot, taus, high, top) + "".join(back) + "Z"
