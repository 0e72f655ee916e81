"""How runs were trained: accuracy over the epochs, from the log beside their results."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from eval.analysis.evaluated import Evaluated
from eval.report.svg import Plot, axes, drawing, percent_top
from wsol.errors import UserError
from wsol.files.regular import read_bytes
from wsol.files.strict_json import load_json

Point = tuple[float, float]


def training_figure(runs: Sequence[Evaluated]) -> dict[str, Any] | None:
    """A figure of validation accuracy (classification, on train-fullsup) over the epochs, one line a run; of a run
    that was not validated, the accuracy on its own, perhaps mixed, training images. None where no run has a log."""
    series, words = [], []
    for run in runs:
        lines = _log(run.folder.parent / "log.jsonl")
        points, said = _points(lines)
        series.append(points)
        if points:
            words.append(f"{run.name}: {said}, last {points[-1][1]:.1f} %")
    if not any(len(points) > 1 for points in series):
        return None
    return {
        "title": "How they were trained" if len(runs) > 1 else "How it was trained",
        "svg": _chart(series, "Classification accuracy over the epochs of training"),
        "caption": f"Percent classified right after each epoch. {'; '.join(words)}.",
    }


def _chart(series: Sequence[Sequence[Point]], label: str) -> Markup:
    """Percent over the epoch, a line a run; epochs rise."""
    plot = Plot(width=520, height=250)
    last = max([1.0, *(points[-1][0] for points in series if points)])
    top = percent_top(max([1.0, *(v for points in series for _, v in points)]))
    parts = axes(plot, "epoch", "% classified right", top, x_top=last)
    for m, points in enumerate(series):
        if points:
            path = "M" + "L".join(f"{plot.x(e / last)},{plot.y(v, top)}" for e, v in points)
            parts.append(Markup('<path class="line s{}" d="{}"/>').format(m, path))
    return drawing(plot, parts, label, "chart")


def _points(lines: Sequence[dict[str, Any]]) -> tuple[list[Point], str]:
    """(epoch, percent) of every line, and of which images it is."""
    validated = [
        (line["epoch"], v["top1"]) for line in lines if isinstance(v := line.get("validation"), dict)
    ]
    found = validated or [(line["epoch"], line.get("train_top1_mixed")) for line in lines]
    points = [(float(e), float(v)) for e, v in found if isinstance(e, int) and isinstance(v, (int, float))]
    return points, "on train-fullsup" if validated else "on its training images"


def _log(file: Path) -> list[dict[str, Any]]:
    """The log's lines that can be read; none where there is no log (a checkpoint from elsewhere)."""
    if not file.is_file():
        return []
    found = []
    for number, text in enumerate(read_bytes(file).decode("utf-8", "replace").splitlines(), 1):
        try:
            line = load_json(text, f"{file}:{number}")
        except UserError:
            continue
        if isinstance(line, dict) and "epoch" in line:
            found.append(line)
    return found
