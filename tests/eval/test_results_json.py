"""A results.json with an entry of another type is one line that names it, wherever it would have been read."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from eval.metrics.results_json import read_results
from wsol.errors import UserError
from wsol.files.seal import sealed

ENTRY: dict[str, Any] = {
    "value": 50.0,
    "ci95": [40.0, 60.0],
    "threshold": {"30": 0.1, "50": 0.2},
    "definition": {"metric": "box_accuracy", "threshold": "oracle", "iou_thresholds": [0.3, 0.5]},
}
RESULTS: dict[str, Any] = {
    "schema": 1,
    "dataset": "toy",
    "split": "test",
    "threshold_split": None,
    "num_images": 3,
    "protocols": {"maxboxacc_v2": ENTRY},
    "not_computed": {"pxap": "the dataset has no masks"},
    "counts": {},
    "classification": {"top1": {"value": 5, "ci95": None}},
    "controls": {"center_gaussian": {"maxboxacc": {"value": 1.0, "ci95": None}}},
    "provenance": {"config": {}},
}


def with_entry(path: tuple[str, ...], value: Any) -> dict[str, Any]:
    changed = json.loads(json.dumps(RESULTS))
    inner = changed
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return changed


def test_what_is_fine_is_read(tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(json.dumps(sealed(RESULTS)))
    assert read_results(tmp_path) == RESULTS


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (("num_images",), "3", "'num_images' must be a whole number, got '3'"),
        (("protocols",), [], "'protocols' must be a mapping"),
        (("protocols", "maxboxacc_v2"), 7, "protocol 'maxboxacc_v2': expected a mapping, got 7"),
        (("protocols", "maxboxacc_v2", "value"), "50", "protocol 'maxboxacc_v2': 'value' must be a number"),
        (("protocols", "maxboxacc_v2", "ci95"), [1, None], "'ci95' must be a list"),
        (("protocols", "maxboxacc_v2", "threshold"), "0.1", "'threshold' must be a number or a mapping"),
        (("protocols", "maxboxacc_v2", "threshold", "50"), [], "'threshold.50' must be a number"),
        (
            ("protocols", "maxboxacc_v2", "definition", "iou_thresholds"),
            0.5,
            "'definition.iou_thresholds' must",
        ),
        (("classification", "top1"), None, "classification 'top1': expected a mapping, got None"),
        (("controls", "center_gaussian", "maxboxacc"), [], "control 'center_gaussian' 'maxboxacc'"),
        (("not_computed", "pxap"), {}, "not_computed 'pxap'"),
        (("provenance",), "none", "'provenance' must be a mapping"),
        (("threshold_split",), 5, "'threshold_split' must be a text or null"),
    ],
    ids=lambda value: "/".join(value) if isinstance(value, tuple) else "",
)
def test_another_type_is_named(path: tuple[str, ...], value: Any, named: str, tmp_path: Path) -> None:
    (tmp_path / "results.json").write_text(json.dumps(with_entry(path, value)))
    with pytest.raises(UserError) as error:
        read_results(tmp_path)
    assert named in str(error.value)
    assert str(error.value).count("\n") == 0
    assert "run eval.localize again" in str(error.value)
