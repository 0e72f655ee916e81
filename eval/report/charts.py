"""Small charts as SVG text, drawn here so that the page reads and prints without its script.

Colours are CSS classes: `s0`, `s1`, ... for methods in their order. Nothing is told by colour alone: lines differ in
dash, verdicts in words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

from eval.report.band_charts import behind_curves
from eval.report.svg import Plot, axes, drawing, percent_top, step_path, text


def threshold_chart(
    curves: Sequence[Mapping[str, Sequence[float]]],
    iou_keys: Sequence[str],
    label: str,
    bands: Mapping[str, Any] | None = None,
) -> Markup:
    """Accuracy over the threshold: one line per method and IoU threshold, a cursor, and a marker on every line.

    Each of `curves` has "taus" and one list per IoU key; `bands` are those of the first, drawn behind it.
    """
    plot = Plot()
    above = [v for key in iou_keys if bands and key in bands for v in bands[key]["high"]]
    top = percent_top(max([1.0, *above, *(v for c in curves for key in iou_keys for v in c[key])]))
    parts = axes(plot, "threshold on the score map", "% localized", top)
    parts += behind_curves(plot, bands, iou_keys, top)
    parts.append(
        Markup('<line class="cursor" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>').format(
            plot.x(0), plot.top, plot.height - plot.bottom
        )
    )
    for key in iou_keys:
        for m, curve in enumerate(curves):
            parts.append(
                Markup('<path class="line s{}" d="{}"/>').format(
                    m, step_path(plot, curve["taus"], curve[key], top)
                )
            )
            parts.append(
                Markup(
                    '<circle class="marker s{}" data-run="{}" data-iou="{}" r="4.5" cx="{}" cy="{}"/>'
                ).format(m, m, key, plot.x(0), plot.y(curve[key][0], top))
            )
        if len(iou_keys) > 1:
            best = max(range(len(curves[0][key])), key=lambda i: curves[0][key][i])
            parts.append(
                text(
                    plot.x(curves[0]["taus"][best]),
                    plot.y(curves[0][key][best], top) - 9,
                    f"IoU {key} %",
                    "tick",
                )
            )
    width, height = plot.inner
    places = {"left": plot.left, "width": width, "top": plot.top, "height": height, "most": top}
    geometry = " ".join(f'data-{name}="{value}"' for name, value in places.items())
    return drawing(plot, parts, label, "chart curves", geometry)


def spark_line(curves: Sequence[Mapping[str, Sequence[float]]], key: str) -> Markup:
    """The curves alone, as high as the space allows, to lie behind the slider."""
    plot = Plot(width=400, height=44, left=0, right=0, top=3, bottom=3)
    top = max(1.0, *(max(c[key]) for c in curves))
    parts = [
        Markup('<path class="line s{}" d="{}"/>').format(m, step_path(plot, c["taus"], c[key], top))
        for m, c in enumerate(curves)
    ]
    return Markup(
        '<svg viewBox="0 0 400 44" class="spark" preserveAspectRatio="none" aria-hidden="true">{}</svg>'
    ).format(Markup("").join(parts))


def histogram(
    shares: Sequence[Sequence[float]],
    label: str,
    mark: float | None = None,
    x_label: str = "IoU of predicted and true box",
) -> Markup:
    """Percent of images per bin of [0, 1], one outline per method; `mark` is the IoU that counts as localized."""
    plot = Plot(width=520, height=250)
    top = max(5.0, *(v for s in shares for v in s))
    top = 5 * -(-top // 5)
    parts = axes(plot, x_label, "% of images", top, 5)
    if mark is not None:
        parts.append(
            Markup('<line class="limit" x1="{0}" x2="{0}" y1="{1}" y2="{2}"/>').format(
                plot.x(mark), plot.top, plot.height - plot.bottom
            )
        )
        parts.append(text(plot.x(mark) + 5, plot.top + 10, "counts as localized", "tick", "start"))
    for m, share in enumerate(shares):
        count = len(share)
        path = f"M{plot.x(0)},{plot.y(0, top)}"
        for i, value in enumerate(share):
            path += f"V{plot.y(value, top)}H{plot.x((i + 1) / count)}"
        path += f"V{plot.y(0, top)}"
        parts.append(Markup('<path class="area s{}" d="{}"/>').format(m, path))
        parts.append(Markup('<path class="line s{}" d="{}"/>').format(m, path))
    return drawing(plot, parts, label, "chart")


def precision_recall(series: Sequence[Sequence[tuple[float, float]]], label: str) -> Markup:
    """Precision over recall of the pixels; points are (recall, precision) in [0, 1], recall rising."""
    plot = Plot(width=520, height=250)
    parts = axes(plot, "recall of object pixels", "% precision")
    for m, points in enumerate(series):
        path = "M" + "L".join(f"{plot.x(r)},{plot.y(100 * p)}" for r, p in points)
        parts.append(Markup('<path class="line s{}" d="{}"/>').format(m, path))
    return drawing(plot, parts, label, "chart")


def interval_strip(
    value: float, ci95: Sequence[float] | None, limit: float, verdict: str = "", low: float | None = None
) -> Markup:
    """A value with its interval on a line from -limit to limit, zero marked; from `low` on, as a bar."""
    width, height = 180.0, 18.0
    start = -limit if low is None else low
    span = limit - start

    def x(v: float) -> float:
        return round(4 + (min(max(v, start), limit) - start) / span * (width - 8), 1)

    css = {"higher": "up", "lower": "down"}.get(verdict, "flat")
    parts = [Markup('<line class="base" x1="4" x2="{}" y1="9" y2="9"/>').format(width - 4)]
    if start <= 0 <= limit:
        parts.append(Markup('<line class="zero" x1="{0}" x2="{0}" y1="1" y2="17"/>').format(x(0)))
    if low is not None:
        parts.append(
            Markup('<rect class="bar" x="4" y="5" width="{}" height="8"/>').format(round(x(value) - 4, 1))
        )
    if ci95:
        parts.append(
            Markup('<line class="span {}" x1="{}" x2="{}" y1="9" y2="9"/>').format(
                css, x(ci95[0]), x(ci95[1])
            )
        )
    if low is None:
        parts.append(Markup('<circle class="dot {}" cx="{}" cy="9" r="4"/>').format(css, x(value)))
    return Markup('<svg viewBox="0 0 {} {}" class="strip" aria-hidden="true">{}</svg>').format(
        f"{width:g}", f"{height:g}", Markup("").join(parts)
    )


def stacked_bar(shares: Mapping[str, float], label: str) -> Markup:
    """One bar of 100 % split into named kinds; every piece wide enough carries its percentage."""
    width, height = 720.0, 26.0
    parts: list[Markup] = []
    start = 0.0
    for k, (name, share) in enumerate(shares.items()):
        w = width * share / 100
        if w > 0:
            parts.append(
                Markup(
                    '<g class="k{}"><rect x="{:.1f}" y="0" width="{:.1f}" height="{}"><title>{}</title></rect>'
                ).format(k, start, max(w - 1, 0.5), height, f"{name}: {share:.1f} %")
            )
            if w > 34:
                parts.append(text(round(start + w / 2, 1), 17, f"{share:.0f}", "in"))
            parts.append(Markup("</g>"))
        start += w
    return Markup('<svg viewBox="0 0 {} {}" class="stack" role="img" aria-label="{}">{}</svg>').format(
        f"{width:g}", f"{height:g}", escape(label), Markup("").join(parts)
    )


def specification_chart(analyses: Sequence[Mapping[str, Any]], label: str) -> Markup:
    """Every analysis a column: its difference with interval above, a mark for each choice that it makes below.

    Each of `analyses` has "difference", "ci95", "verdict" and its choices: "normalization", "contours", "iou",
    "threshold" and perhaps "drawing".
    """
    choices = [
        (kind, value)
        for kind in ("normalization", "contours", "iou", "threshold", "drawing")
        for value in dict.fromkeys(str(a[kind]) for a in analyses if kind in a)
    ]
    left, top, width, height, row = 150.0, 14.0, 720.0, 150.0, 15.0
    step = (width - left - 12) / max(len(analyses), 1)
    values = [float(a["difference"]) for a in analyses]
    ends_of = [tuple(float(v) for v in a["ci95"] or ()) for a in analyses]
    ends = [*values, *(v for pair in ends_of for v in pair)]
    low, high = min(0.0, *ends), max(0.0, *ends)
    span = max(high - low, 1e-9)

    def y(value: float) -> float:
        return round(top + (high - value) / span * height, 1)

    parts = []
    for tick in (low, 0.0, high):
        parts.append(
            Markup('<line x1="{}" x2="{}" y1="{}" y2="{}" class="{}"/>').format(
                left, width - 8, y(tick), y(tick), "zero" if tick == 0 else "grid"
            )
        )
        parts.append(text(left - 6, y(tick) + 4, f"{tick:+.1f}", "tick", "end"))
    for k, (kind, value) in enumerate(choices):
        parts.append(text(left - 6, top + height + 16 + k * row + 4, f"{kind} {value}", "tick", "end"))
    for i, a in enumerate(analyses):
        x = round(left + (i + 0.5) * step, 1)
        css = {"higher": "up", "lower": "down"}.get(str(a["verdict"]), "flat")
        if a["ci95"]:
            first, last = ends_of[i]
            parts.append(
                Markup('<line class="span {}" x1="{}" x2="{}" y1="{}" y2="{}"/>').format(
                    css,
                    x,
                    x,
                    y(float(first)),
                    y(float(last)),
                )
            )
        parts.append(Markup('<circle class="dot {}" cx="{}" cy="{}" r="3.5"/>').format(css, x, y(values[i])))
        for k, (kind, value) in enumerate(choices):
            if str(a.get(kind)) == value:
                parts.append(
                    Markup('<circle class="dot flat" cx="{}" cy="{}" r="2.2"/>').format(
                        x, top + height + 16 + k * row
                    )
                )
    plot = Plot(width=width, height=top + height + 24 + len(choices) * row)
    return drawing(plot, parts, label, "chart")
