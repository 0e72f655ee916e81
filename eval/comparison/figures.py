"""The comparison's figures as PNG and PDF files: differences by protocol, and accuracy over the threshold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from matplotlib.figure import Figure

from eval.comparison.terminal import tested
from eval.pictures.figures import BLUE, GREY, ORANGE, new_figure, save_figure

if TYPE_CHECKING:
    from eval.comparison.build import Comparison
    from eval.metrics.outcomes import Summary

_WORD = {"higher": "▲ higher", "lower": "▼ lower"}


def write_figures(comparison: Comparison, folder: Path) -> list[Path]:
    """Write every figure as PNG and PDF; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    for i, entry in enumerate(comparison.content["comparisons"]):
        tail = "" if len(comparison.content["comparisons"]) == 1 else f"-{i + 1}"
        files += save_figure(_differences(entry, comparison.content), folder / f"differences{tail}")
        curves = _curves(comparison, i)
        if curves is not None:
            files += save_figure(curves, folder / f"curves{tail}")
        band = _difference_band(entry)
        if band is not None:
            files += save_figure(band, folder / f"curve-difference{tail}")
    return files


def _differences(entry: dict[str, Any], content: dict[str, Any]) -> Figure:
    names = list(entry["protocols"])
    figure = new_figure(7.2, 1.3 + 0.34 * len(names))
    ax = figure.subplots()
    for y, name in enumerate(names):
        p = entry["protocols"][name]
        colour = "black" if p["verdict"] in ("higher", "lower") else GREY
        if p["ci95"]:
            ax.plot(p["ci95"], [y, y], color=colour, lw=2.2, solid_capstyle="butt")
        ax.plot([p["difference"]], [y], "o", color=colour, ms=5.5, mec="white", mew=0.8)
        # every interval's end is labelled, so that colour is never the only sign
        below = p["difference"] < 0  # the word stands on the side away from zero
        end = p["ci95"][0 if below else 1] if p["ci95"] else p["difference"]
        ax.annotate(
            _WORD.get(p["verdict"], ""),
            (end, y),
            xytext=(-6 if below else 6, 0),
            ha="right" if below else "left",
            textcoords="offset points",
            va="center",
            fontsize=7.5,
            color=colour,
        )
    ax.axvline(0, color="black", lw=0.8)
    ax.set_yticks(range(len(names)), names, fontsize=8.5, parse_math=False)
    ax.invert_yaxis()
    ax.margins(x=0.18)
    interval = ", 95 % interval" if tested(entry["protocols"]) else ""
    ax.set_xlabel(f"difference in percentage points{interval}", fontsize=8.5)
    ax.tick_params(axis="x", labelsize=8)
    ax.grid(axis="x", color="#dddddd", lw=0.6)
    ax.set_axisbelow(True)
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    ax.set_title(
        f"{entry['other']} minus {entry['baseline']}, {content['dataset']} {content['split']} "
        f"({content['num_images']} images)",
        fontsize=9.5,
        loc="left",
        parse_math=False,
    )
    return figure


def _curves(comparison: Comparison, number: int) -> Figure | None:
    pairing = comparison.pairings[number]
    names = [
        n
        for n in ("maxboxacc", "maxboxacc_v2")
        if all(n in comparison.summaries[str(r.folder)] for r in (*pairing.baseline, *pairing.other))
    ]
    if not names:
        return None
    figure = new_figure(3.9 * len(names), 3.1)
    axes = figure.subplots(1, len(names), squeeze=False)[0]
    for ax, name in zip(axes, names):
        for runs, colour, style in ((pairing.baseline, BLUE, "--"), (pairing.other, ORANGE, "-")):
            for i, run in enumerate(runs):
                s = comparison.summaries[str(run.folder)][name]
                assert s.taus is not None
                assert s.curves is not None
                for k, (curve, tau) in enumerate(zip(s.curves, s.thresholds)):
                    label = run.method if i == k == 0 else None
                    ax.step(s.taus, curve, where="post", color=colour, ls=style, lw=1.4, label=label)
                    ax.plot([tau], [curve.max()], "o", color=colour, ms=4, mec="white", mew=0.7)
        _label_ious(
            ax, [comparison.summaries[str(r.folder)][name] for r in (*pairing.baseline, *pairing.other)]
        )
        ax.set_title(name, fontsize=9.5, loc="left", parse_math=False)
        ax.set_xlabel("threshold", fontsize=8.5)
        ax.set_ylabel("images localized, percent", fontsize=8.5)
        ax.set_xlim(0, 1)
        ax.set_ylim(0, 100)
        ax.tick_params(labelsize=8)
        ax.grid(color="#e4e4e4", lw=0.6)
        ax.spines[["top", "right"]].set_visible(False)
        legend = ax.legend(frameon=False, fontsize=8)
        for text in legend.get_texts():
            text.set_parse_math(False)
    return figure


def _label_ious(ax: Any, summaries: Sequence[Summary]) -> None:
    """Name each group of curves by its IoU threshold, above the highest of its best points."""
    keys = list(summaries[0].per_iou)
    if len(keys) < 2:
        return
    for k, key in enumerate(keys):
        best = max(summaries, key=lambda s: s.per_iou[key])
        at = (best.thresholds[k], best.per_iou[key])
        ax.annotate(
            f"IoU {key} %",
            at,
            xytext=(0, 5),
            textcoords="offset points",
            fontsize=7.5,
            ha="center",
            color=GREY,
        )


def _difference_band(entry: Mapping[str, Any]) -> Figure | None:
    """The difference of MaxBoxAcc's curves over all thresholds with its simultaneous band; None without resamples."""
    found = next((c for c in entry["curve_bands"] if c["protocol"] == "maxboxacc"), None)
    if found is None:
        return None
    taus, band = found["taus"], found["difference"]
    figure = new_figure(5.4, 2.9)
    ax = figure.subplots()
    ax.fill_between(taus, band["low"], band["high"], step="post", color=ORANGE, alpha=0.25, lw=0)
    ax.step(taus, band["value"], where="post", color=ORANGE, lw=1.4)
    ax.axhline(0, color="black", lw=0.8)
    ax.set_xlim(0, 1)
    ax.set_xlabel("threshold", fontsize=8.5)
    ax.set_ylabel("difference in points", fontsize=8.5)
    ax.tick_params(labelsize=8)
    ax.grid(color="#e4e4e4", lw=0.6)
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_title(
        f"{entry['other']} minus {entry['baseline']}, maxboxacc: simultaneous 95 % band",
        fontsize=9,
        loc="left",
        parse_math=False,
    )
    return figure
