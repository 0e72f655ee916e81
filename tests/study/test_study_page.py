"""The pages on studies hold nothing that the committed results do not: tables, numbers and figures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from eval.comparison.terminal import interval, signed
from eval.study import figures
from eval.study.figures import write_figures
from eval.study.markdown import study_tables
from eval.study.results import study_page
from wsol.files.strict_json import read_json

DOCS = Path(__file__).resolve().parents[2] / "docs"
RESULTS = {file.stem: read_json(file) for file in sorted((DOCS / "study").glob("*.json"))}
PAGES = {
    file.stem: file.read_text(encoding="utf-8") for file in [DOCS / "study.md", *DOCS.glob("study-*.md")]
}
DECIMAL = re.compile(r"\d+\.\d+")
PUBLISHED = {"5.4", "0.2", "3.4"}
"""Differences of other people's that docs/study.md quotes."""
DIFFERENCE = re.compile(r"[+-]?\d+\.\d \[[+-]?\d+\.\d, [+-]?\d+\.\d\]")


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


def differences(value: Any) -> Iterator[str]:
    """Every difference below a JSON value with its interval, as the pages print them."""
    if isinstance(value, Mapping):
        if value.get("ci95"):
            yield f"{signed(value['difference'], 1)} {interval(value['ci95'])}"
        value = list(value.values())
    if isinstance(value, list):
        for entry in value:
            yield from differences(entry)


def prose(page: str) -> str:
    """A page without its code, tables and file names."""
    text = re.sub(r"```.*?```|`[^`]*`|\]\([^)]*\)", "", PAGES[page], flags=re.DOTALL)
    return "\n".join(line for line in text.splitlines() if not line.startswith(("    ", "|")))


def results_of(page: str) -> list[Any]:
    return [content for name, content in RESULTS.items() if f"(study/{name}.json)" in PAGES[page]]


@pytest.mark.parametrize("name", RESULTS)
def test_results_have_one_page_whose_tables_are_made_from_them(name: str) -> None:
    (page,) = (stem for stem, text in PAGES.items() if f"[study/{name}.json](study/{name}.json)" in text)
    tables = [t for t in study_tables(RESULTS[name]).strip().split("\n\n") if t.startswith("|")]
    primary = RESULTS[name]["outcomes"][0]
    methods = {o["method"] for o in RESULTS[name]["outcomes"]}
    by_cell, every_outcome = tables[0], tables[len(methods)]
    assert (every_outcome if len(primary["cells"]) == 1 else by_cell) in PAGES[page]


@pytest.mark.parametrize("page", PAGES)
def test_every_table_is_made_from_the_pages_own_results(page: str) -> None:
    shown = [line for line in PAGES[page].splitlines() if line.startswith("|")]
    whole = {line for content in results_of(page) for line in study_tables(content).splitlines()}
    assert [line for line in shown if line not in whole] == []
    assert shown


@pytest.mark.parametrize("page", PAGES)
def test_every_number_is_in_the_results(page: str) -> None:
    known = {n for content in RESULTS.values() for n in numbers(content)}
    said = DECIMAL.findall(prose(page))
    assert sorted(set(said) - known - PUBLISHED) == []


@pytest.mark.parametrize("page", PAGES)
def test_every_difference_stands_in_the_pages_own_results_with_its_sign_and_interval(page: str) -> None:
    known = set(differences(results_of(page)))
    said = {" ".join(found.split()) for found in DIFFERENCE.findall(" ".join(prose(page).split()))}
    assert sorted(said - known) == []
    assert said


@pytest.mark.parametrize("name", RESULTS)
def test_results_name_no_place_of_the_machine_that_made_them(name: str) -> None:
    def strings(value: Any) -> Iterator[str]:
        if isinstance(value, str):
            yield value
        for entry in (
            value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
        ):
            yield from strings(entry)

    assert [text for text in strings(RESULTS[name]) if text.startswith("/")] == []


@pytest.mark.parametrize("name", RESULTS)
def test_every_figure_is_drawn_from_the_results(name: str, tmp_path: Path) -> None:
    linked = {f for text in PAGES.values() for f in re.findall(rf"\(study/({name}-[a-z]+\.png)\)", text)}
    drawn = {f"{name}-{file.name}": file for file in write_figures(RESULTS[name], tmp_path)}
    assert linked <= set(drawn)
    for figure in linked:
        a, b = (Image.open(f) for f in (DOCS / "study" / figure, drawn[figure]))
        if a.info["Software"] == b.info["Software"]:  # another release of matplotlib lays out differently
            assert a.size == b.size
            assert np.abs(np.asarray(a, np.int16) - np.asarray(b, np.int16)).mean() < 0.05


def test_the_first_page_shows_figures() -> None:
    assert len(re.findall(r"\(study/[a-z0-9-]+\.png\)", PAGES["study"])) >= 3


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


def test_maps_are_drawn_for_every_method_where_it_was_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A method that some networks lack used to leave the baseline out of their panels."""
    drawn: dict[str, Figure] = {}
    monkeypatch.setattr(figures, "save_figure", lambda f, stem, _: drawn.setdefault(stem.name, f) and [])

    def outcome(name: str, method: str, networks: str) -> dict[str, Any]:
        cells = [
            {"dataset": "d", "network": n, "baseline": 10.0, "other": 20.0, "difference": 10.0, "ci95": None}
            for n in networks
        ]
        common = {**cells[0], "outcome": name, "method": method, "baseline_method": "vanilla", "cells": cells}
        return {**common, "role": "primary" if name == "maxboxacc" else "secondary"}

    methods = {"mixup": "a", "cutmix": "ab"}
    names = ("maxboxacc", "maxboxacc of layercam")
    content = {
        "primary": "maxboxacc",
        "margin": 1,
        "controls": [],
        "outcomes": [outcome(name, m, networks) for m, networks in methods.items() for name in names],
    }
    write_figures(content, tmp_path)
    panels = drawn["maps"].axes
    (legend,) = drawn["maps"].legends
    assert [text.get_text() for text in legend.get_texts()] == ["mixup", "cutmix", "vanilla"]
    assert [[len(line.get_xdata()) for line in ax.get_lines()] for ax in panels] == [[2, 2, 2], [2, 2]]
    assert [t.get_text() for t in panels[0].get_yticklabels()] == ["cam", "layercam"]
    first, second = ([line.get_color() for line in ax.get_lines()] for ax in panels)
    assert second == first[1:]


def test_the_page_of_a_study_shows_sizes_and_standard_errors(tmp_path: Path) -> None:
    content = RESULTS["photographs"]
    page = study_page(content, write_figures(content, tmp_path))
    text = " ".join(re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL).split())
    assert (
        "caltech-animals12, efficientnet_lite0, objects under a third of the image (7 images, fewer than 30)"
        in text
    )
    assert "NVIDIA H100 80GB HBM3 (torch 2.11.0): 148 runs" in text
    assert "HaS scores lower than vanilla" in text
    assert "objects under a third of the image (cub10, dogs10, pets3 only)" in text
    row = content["standard_errors"][-1]
    bare = study_page({**content, "controls_by_size": []}, write_figures(content, tmp_path))
    assert "Left out by size: caltech-animals12" in bare
    assert f"all all cutmix 8 {row['planned']:.2f} {row['standard_error']:.2f}" in text


def test_primary_p_values_of_several_methods_are_adjusted() -> None:
    first = [o for o in RESULTS["photographs"]["outcomes"] if o["role"] == "primary"]
    ordered = sorted(first, key=lambda o: o["p_value"])
    expected = np.maximum.accumulate([(len(first) - i) * o["p_value"] for i, o in enumerate(ordered)])
    assert [o["adjusted_p"] for o in ordered] == pytest.approx(np.minimum(expected, 1).tolist())
