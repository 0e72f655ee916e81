"""Accuracy over all thresholds with simultaneous bands: of both methods, and of their difference."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from eval.report.svg import Plot, axes, band_path, drawing, step_path, text


def band_figures(entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """For each curve of a comparison's `curve_bands`: `title`, both charts (`curves`, `difference`) and `caption`."""
    found = []
    for c in entry["curve_bands"]:
        name = f"{c['protocol']} at IoU {100 * c['iou']:g} %"
        found.append(
            {
                "title": name,
                "curves": _curves(c, f"{name}: {entry['baseline']} and {entry['other']} over the threshold"),
                "difference": _difference(c, f"{name}: {entry['other']} minus {entry['baseline']}"),
                "caption": f"{name}: {c['in_words']}",
            }
        )
    return found


def _curves(c: Mapping[str, Any], label: str) -> Markup:
    plot = Plot(width=520, height=250)
    parts = axes(plot, "threshold on the score map", "% localized")
    for m, side in enumerate((c["baseline"], c["other"])):
        parts.append(
            Markup('<path class="area s{}" d="{}"/>').format(
                m, band_path(plot, c["taus"], side["low"], side["high"])
            )
        )
        parts.append(
            Markup('<path class="line s{}" d="{}"/>').format(m, step_path(plot, c["taus"], side["value"]))
        )
    return drawing(plot, parts, label, "chart")


def _difference(c: Mapping[str, Any], label: str) -> Markup:
    plot = Plot(width=520, height=250)
    band = c["difference"]
    low, high = min(0.0, *band["low"]), max(0.0, *band["high"])
    step = _step(high - low)
    start, stop = step * (low // step), step * -(-high // step)
    moved = {key: [v - start for v in band[key]] for key in ("value", "low", "high")}
    top = stop - start
    parts: list[Markup] = []
    for i in range(round(top / step) + 1):
        value = start + i * step
        y = plot.y(i * step, top)
        css = "zero" if abs(value) < step / 2 else "grid"
        parts.append(
            Markup('<line x1="{}" x2="{}" y1="{}" y2="{}" class="{}"/>').format(
                plot.left, plot.width - plot.right, y, y, css
            )
        )
        parts.append(text(plot.left - 7, y + 4, f"{value:+g}" if css == "grid" else "0", "tick", "end"))
    for i in range(6):
        parts.append(text(plot.x(i / 5), plot.height - plot.bottom + 17, f"{i / 5:g}", "tick"))
    parts.append(text(plot.width - plot.right, plot.height - 2, "threshold on the score map", "axis", "end"))
    parts.append(text(plot.left, plot.top - 6, "difference in points", "axis", "start"))
    parts.append(
        Markup('<path class="area s1" d="{}"/>').format(
            band_path(plot, c["taus"], moved["low"], moved["high"], top)
        )
    )
    parts.append(
        Markup('<path class="line s1" d="{}"/>').format(step_path(plot, c["taus"], moved["value"], top))
    )
    return drawing(plot, parts, label, "chart")


def _step(reach: float) -> float:
    """A round distance of grid lines, four to eight of them over `reach` points."""
    return next((s for s in (0.5, 1.0, 2.0, 5.0, 10.0, 20.0) if reach / s <= 7), 50.0)


def behind_curves(
    plot: Plot, bands: Mapping[str, Any] | None, keys: Sequence[str], top: float
) -> list[Markup]:
    """The bands of one run's curves, as results.json's `curve_bands` has them by IoU threshold."""
    if not bands:
        return []
    return [
        Markup('<path class="area s0" d="{}"/>').format(
            band_path(plot, bands["taus"], bands[key]["low"], bands[key]["high"], top)
        )
        for key in keys
        if key in bands
    ]
