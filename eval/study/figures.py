"""The figures of a study, made from its study.json alone."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from eval.comparison.controls import NAMES
from eval.comparison.verdicts import in_points
from eval.pictures.figures import BLUE, GREY, ORANGE, new_figure, save_figure
from eval.study.markdown import label, outcomes_by_map


def write_figures(content: Mapping[str, Any], folder: Path) -> list[Path]:
    """`primary.png` (each dataset and network, and all together), `outcomes.png` (every pooled outcome) and
    `controls.png` (methods and controls by the primary outcome) and `maps.png` (methods by every map), each only
    where there are such. Returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    figures = {"primary": _primary(content), "outcomes": _outcomes(content)}
    if content["controls"]:
        figures["controls"] = _controls(content)
    if any(len(outcomes_by_map(content, o["method"])) > 1 for o in content["outcomes"]):
        figures["maps"] = _maps(content)
    return [file for name, f in figures.items() for file in save_figure(f, folder / name, [".png"])]


def _primary(content: Mapping[str, Any]) -> Figure:
    rows: list[tuple[str, Mapping[str, Any], bool]] = []
    for outcome in content["outcomes"]:
        if outcome["role"] == "primary":
            name = f"{outcome['method']} minus {outcome['baseline_method']}"
            if len(outcome["cells"]) == 1:  # which is all there is
                rows.append((name, outcome, True))
                continue
            rows += [(f"{c['dataset']}, {c['network']}", c, False) for c in outcome["cells"]]
            rows.append((f"{name}: all", outcome, True))
    return _intervals(rows, content["primary"], content["margin"])


def _outcomes(content: Mapping[str, Any]) -> Figure:
    """A row an outcome; of several methods one below the other in it."""
    methods = list(dict.fromkeys(o["method"] for o in content["outcomes"]))
    named = label(content)
    title = "every outcome, all datasets and networks together"
    if len(methods) == 1:
        return _intervals([(named(o), o, o["role"] == "primary") for o in content["outcomes"]], title, None)
    rows = list(dict.fromkeys(named(o) for o in content["outcomes"]))
    figure = new_figure(7.2, 1.3 + 0.08 * len(rows) * (1 + len(methods)))
    ax = figure.subplots()
    for i, method in enumerate(methods):
        at = (i - (len(methods) - 1) / 2) / (1 + len(methods))
        for o in content["outcomes"]:
            if o["method"] != method:
                continue
            y = rows.index(named(o)) + at
            if o["ci95"]:
                ax.plot(o["ci95"], [y, y], color=_colour(i), lw=1.6, solid_capstyle="butt")
            ax.plot([o["difference"]], [y], _MARKS[i % 5], color=_colour(i), ms=4, mec="white", mew=0.5)
        ax.plot([], [], _MARKS[i % 5] + "-", color=_colour(i), ms=4, label=method)
    ax.axvline(0, color="black", lw=0.8)
    ax.set_xlabel(_DIFFERENCE, fontsize=8.5)
    _name_rows(ax, rows, title)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    _legend_below(figure)
    return figure


def _intervals(
    rows: Sequence[tuple[str, Mapping[str, Any], bool]], title: str, margin: float | None
) -> Figure:
    figure = new_figure(7.2, 1.1 + 0.27 * len(rows))
    ax = figure.subplots()
    if margin is not None:
        ax.axvspan(-margin, margin, color="#eeeeee", lw=0, label=f"within the margin of {in_points(margin)}")
        _legend_below(figure)
    for y, (_, values, strong) in enumerate(rows):
        colour = "black" if strong else GREY
        if values["ci95"]:
            ax.plot(values["ci95"], [y, y], color=colour, lw=2.4 if strong else 1.6, solid_capstyle="butt")
        ax.plot(
            [values["difference"]], [y], "D" if strong else "o", color=colour, ms=5.5, mec="white", mew=0.8
        )
    ax.axvline(0, color="black", lw=0.8)
    ax.set_xlabel(_DIFFERENCE, fontsize=8.5)
    _name_rows(ax, [name for name, *_ in rows], title)
    return figure


def _controls(content: Mapping[str, Any]) -> Figure:
    """A row for each dataset and network, a mark for each method and control."""
    values: dict[str, dict[str, float]] = {}
    for c in content["controls"]:
        cell = values.setdefault(f"{c['dataset']}, {c['network']}", {})
        cell[c["said"]] = c["baseline"]
        cell[c["method"]] = c["other"]
    methods = list(dict.fromkeys(c["method"] for c in content["controls"]))
    names = [*methods, *dict.fromkeys(c["said"] for c in content["controls"])]
    figure = new_figure(7.2, 1.1 + 0.27 * len(values) + 0.2 * math.ceil(len(names) / _COLUMNS))
    ax = figure.subplots()
    styles = list(dict.fromkeys([*(o["method"] for o in content["outcomes"]), *names]))  # as in the others
    for name in names:
        i = styles.index(name)
        at = [(cell[name], y) for y, cell in enumerate(values.values()) if name in cell]
        colour = _colour(i) if name in methods else GREY
        ax.plot(
            *zip(*at),
            _MARKS[i % 5] if name in methods else "|x+1"[i % 4],
            color=colour,
            ms=7,
            ls="",
            label=name,
        )
    ax.set_xlabel(f"{content['primary']}, percent", fontsize=8.5)
    _name_rows(ax, list(values), "methods and controls")
    _legend_below(figure)
    return figure


def _maps(content: Mapping[str, Any]) -> Figure:
    """A panel for each dataset and network: a row a map, a mark a method and for random weights, and a line at the
    centre Gaussian."""
    baseline = content["outcomes"][0]["baseline_method"]
    methods = list(dict.fromkeys(o["method"] for o in content["outcomes"]))
    values: dict[tuple[str, str], dict[str, dict[str, float]]] = {}  # by dataset and network, method, map
    for method in methods:
        for name, outcome in outcomes_by_map(content, method).items():
            for c in outcome["cells"]:
                own = values.setdefault((c["dataset"], c["network"]), {})
                own.setdefault(method, {})[name] = c["other"]
                own.setdefault(baseline, {})[name] = c["baseline"]
    rows = list(dict.fromkeys(name for own in values.values() for found in own.values() for name in found))
    columns = min(_COLUMNS, len(values))
    lines = math.ceil(len(values) / columns)
    figure = new_figure(7.2, 0.5 + lines * (1 + 0.22 * len(rows)))
    panels = figure.subplots(lines, columns, sharey=True, squeeze=False).ravel()
    for unused in panels[len(values) :]:
        unused.remove()
    entries: dict[str, Any] = {}
    for ax, (cell, own) in zip(panels, values.items()):
        for c in content["controls"]:
            if (c["dataset"], c["network"], c["control"]) == (*cell, "center_gaussian"):
                entries[c["said"]] = ax.axvline(c["baseline"], color=GREY, lw=1.2)
                break
        random = {
            rows.index(c.get("map", rows[0])): c["baseline"]
            for c in (*content["controls"], *content.get("controls_by_map", ()))
            if (c["dataset"], c["network"], c["control"]) == (*cell, "random")
        }
        if random:
            (entries[NAMES["random"]],) = ax.plot([*random.values()], [*random], "x", color=GREY, ms=4.5)
        for i, method in enumerate((*methods, baseline)):
            if method in own:
                at = [(value, rows.index(name)) for name, value in own[method].items()]
                (entries[method],) = ax.plot(*zip(*at), _MARKS[i % 5], color=_colour(i), ms=5, ls="")
        ax.set_xlabel("percent", fontsize=8.5)
        _name_rows(ax, rows, "\n".join(cell))
        ax.set_ylim(len(rows) - 0.5, -0.5)
    _legend_below(figure, list(entries.values()), list(entries))
    return figure


_LETTERS = 44
"""Of a line of a row's name."""
_COLUMNS = 3
"""Of a legend, and of panels."""


_MARKS = "osD^v"
_DIFFERENCE = "difference in percentage points, 95 % interval"


def _colour(method: int) -> str:
    return (BLUE, ORANGE, "#009e73", "#cc79a7", "#56b4e9")[method % 5]


def _legend_below(figure: Figure, *entries: Any) -> None:
    """What the marks mean, in rows of its own that the layout keeps free below the axis and its label."""
    legend = figure.legend(*entries, frameon=False, fontsize=7.5, ncols=_COLUMNS, loc="outside lower center")
    for text in legend.get_texts():
        text.set_parse_math(False)


def _name_rows(ax: Any, names: Sequence[str], title: str) -> None:
    lines = ["\n".join(textwrap.wrap(name, _LETTERS)) for name in names]
    ax.set_yticks(range(len(names)), lines, fontsize=8, parse_math=False)
    ax.invert_yaxis()
    ax.tick_params(axis="x", labelsize=8)
    ax.tick_params(axis="y", length=0)
    ax.grid(axis="x", color="#dddddd", lw=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.set_title(title, fontsize=9.5, loc="left", parse_math=False)
