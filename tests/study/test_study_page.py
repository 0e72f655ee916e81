"""docs/study.md holds nothing that the committed results of the studies do not: tables, numbers and figures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from eval.study import figures
from eval.study.figures import write_figures
from eval.study.markdown import study_tables
from wsol.files.strict_json import read_json

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGE = (DOCS / "study.md").read_text(encoding="utf-8")
RESULTS = sorted((DOCS / "study").glob("*.json"))
DECIMAL = re.compile(r"\d+\.\d+")


def numbers(value: Any) -> Iterator[str]:
    """Every number below a JSON value as the page would print its size."""
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for entry in value:
            yield from numbers(entry)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield from (f"{abs(value):.{digits}f}" for digits in (1, 2, 3))
    elif isinstance(value, str):
        yield from DECIMAL.findall(value)


def test_there_are_results() -> None:
    assert RESULTS


@pytest.mark.parametrize("file", RESULTS, ids=lambda f: f.stem)
def test_every_table_is_made_from_the_results(file: Path) -> None:
    tables = study_tables(read_json(file)).strip().split("\n\n")
    shown = [t for t in tables if t.startswith("|") and t in PAGE]
    assert len(shown) >= 3
    assert tables[1] in shown  # the primary outcome


def test_every_number_is_in_the_results() -> None:
    known = {n for file in RESULTS for n in numbers(read_json(file))}
    prose = re.sub(r"```.*?```|`[^`]*`", "", PAGE, flags=re.S)
    prose = "\n".join(line for line in prose.splitlines() if not line.startswith(("    ", "|")))
    said = DECIMAL.findall(prose)
    assert len(said) > 5
    assert sorted(set(said) - known) == []


@pytest.mark.parametrize("file", RESULTS, ids=lambda f: f.stem)
def test_every_figure_is_drawn_from_the_results(file: Path, tmp_path: Path) -> None:
    shown = 0
    for drawn in write_figures(read_json(file), tmp_path):
        kept = DOCS / "study" / f"{file.stem}-{drawn.name}"
        if f"(study/{kept.name})" in PAGE:
            shown += 1
            a, b = (Image.open(f) for f in (kept, drawn))
            if a.info["Software"] == b.info["Software"]:  # another release of matplotlib lays out differently
                assert a.size == b.size
                assert np.abs(np.asarray(a, np.int16) - np.asarray(b, np.int16)).mean() < 1
    assert shown >= 2


@pytest.mark.parametrize("datasets", [1, 6])
def test_a_legend_lies_below_the_axis_and_its_label(
    datasets: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[str, Figure] = {}
    monkeypatch.setattr(figures, "save_figure", lambda f, stem, _: drawn.setdefault(stem.name, f) and [])
    content = read_json(DOCS / "study" / "parts-cues.json")
    for outcome in content["outcomes"]:
        outcome["cells"] = outcome["cells"][:datasets]
    content["controls"] = content["controls"][: 4 * datasets]
    write_figures(content, tmp_path)
    for name in ("primary", "controls"):
        figure = drawn[name]
        figure.draw_without_rendering()
        (legend,), (axis,) = figure.legends, figure.axes
        below, above = legend.get_window_extent(), axis.get_tightbbox()
        assert above is not None
        assert 0 <= below.y0 < below.y1 <= above.y0
        assert axis.bbox.height > 0.2 * figure.bbox.height
    rows = [label.get_text() for label in drawn["primary"].axes[0].get_yticklabels()]
    assert len(rows) == (1 if datasets == 1 else datasets + 1)  # that of all repeats the only one
