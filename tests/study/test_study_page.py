"""docs/study.md holds nothing that the committed results of the studies do not: tables, numbers and figures."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

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
