"""Measures without a threshold: by hand, against their definitions written naively, and against Quantus."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from eval.metrics.results_json import read_results
from eval.records.measures import MEASURES
from eval.records.threshold_free import FORMULAS, Place, RankedMap, measure_region, measured
from tests.helpers.builders_eval import Planted, build_dataset, evaluated_run


def found(values: np.ndarray, region: np.ndarray) -> dict[str, float]:
    ranked = RankedMap.of(values)
    assert ranked is not None
    return dict(zip(FORMULAS, measured(ranked, Place.of(region))))


def test_by_hand() -> None:
    """Five pixels, 4 3 2 1 and -1; the region holds the 4 and the 1."""
    values = np.array([[4.0, 3.0, 2.0, 1.0, -1.0]])
    region = np.array([[True, False, False, True, False]])
    assert found(values, region) == pytest.approx(
        {
            "pointing": 1.0,
            "pointing_15": 1.0,
            "near_peak": 2 / 5,  # all five pixels are near
            "energy": 5 / 10,
            "rank_accuracy": 1 / 2,  # of the two highest, one
            "top_1000": np.nan,  # there are five
            "auc": (3 + 1) / 6,  # the 4 is above all three others, the 1 above one
            "pixel_ap": (1 / 1 + 2 / 4) / 2,
        },
        nan_ok=True,
    )
    beside = np.array([[False, True, False, False, True]])
    assert found(values, beside)["pointing"] == 0.0
    assert found(values, beside)["pointing_15"] == 1.0


def test_a_constant_map_gets_what_chance_gets() -> None:
    region = np.zeros((40, 50), bool)
    region[3:13, 20:45] = True
    own = found(np.full((40, 50), 3.0), region)
    area, grown, disc = measure_region(None, region)[-3:]
    assert (area, grown) == (region.mean(), Place.of(region).grown.mean())
    assert disc == pytest.approx(area, abs=0.02)
    assert disc != area, "discs at the border are cut off"
    chance = {"area": area, "dilated-area": grown, "disc-area": disc, "half": 0.5}
    for name, value in own.items():
        assert value == pytest.approx(chance[MEASURES[f"{name}_box"].chance], rel=1e-5), name


def test_undefined_is_not_zero() -> None:
    values = np.arange(1200.0).reshape(30, 40)
    assert np.isnan(list(found(values, np.zeros((30, 40), bool)).values())).all()
    whole = found(values, np.ones((30, 40), bool))
    assert np.isnan(whole["auc"])
    assert [whole[k] for k in ("pointing", "near_peak", "energy", "top_1000", "pixel_ap")] == pytest.approx(
        [1.0] * 5
    )
    assert np.isnan(found(-1 - values, values > 5)["energy"])
    no_map = measure_region(None, np.eye(40, dtype=bool))
    assert np.isnan(no_map[: len(FORMULAS)]).all()
    assert np.isfinite(no_map[len(FORMULAS) :]).all(), "the control and the areas need no map"


def naive(values: np.ndarray, region: np.ndarray) -> dict[str, float]:
    """Each measure as its paper says it, pixel by pixel."""
    flat, inside = values.ravel(), region.ravel()
    order = np.argsort(-flat, kind="stable")
    total = int(inside.sum())
    others = flat[~inside]
    above = np.mean([(v > others).mean() + (v == others).mean() / 2 for v in flat[inside]])
    hits = inside[order]
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    y, x = np.unravel_index(order[0], values.shape)
    rows, columns = np.nonzero(region)
    far = np.hypot(*(np.indices(values.shape) - np.array([y, x])[:, None, None]))
    return {
        "pointing": float(inside[order[0]]),
        "pointing_15": float(np.hypot(rows - y, columns - x).min() <= 15),
        "near_peak": float(region[far <= 15].mean()),
        "energy": float(np.maximum(flat, 0)[inside].sum() / np.maximum(flat, 0).sum()),
        "rank_accuracy": float(hits[:total].mean()),
        "top_1000": float(hits[:1000].mean()),
        "auc": float(above),
        "pixel_ap": float(precision[hits].mean()),
    }


def some_maps(count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(5)
    cases = []
    for _ in range(count):
        values = cv2.resize(rng.normal(size=(5, 5)), (48, 40), interpolation=cv2.INTER_CUBIC)
        region = np.zeros((40, 48), bool)
        x, y = int(rng.integers(0, 24)), int(rng.integers(0, 20))
        region[y : y + int(rng.integers(4, 20)), x : x + int(rng.integers(4, 24))] = True
        cases.append((values, region))
    return cases


def test_equals_the_definitions() -> None:
    for values, region in some_maps(12):
        expected = naive(values, region)
        assert found(values, region) == pytest.approx(expected, abs=2e-3), "ranked at 16,384 levels"
        assert found(values, region)["pointing"] == expected["pointing"]


def test_grown_is_what_opencvs_distances_say() -> None:
    rng = np.random.default_rng(0)
    regions = [np.zeros((20, 30), bool), np.ones((3, 3), bool), *(rng.random((5, 60, 70)) > 0.999)]
    for region in regions:
        far = cv2.distanceTransform((~region).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        expected = far <= 15.001 if region.any() else region
        np.testing.assert_array_equal(Place.of(region).grown, expected)


RECORDED = json.loads((Path(__file__).parent / "recorded" / "quantus_values.json").read_text())
TIES = {
    ("half in the region", "pointing"): 1
    / 2,  # of the tied maxima; there one of them in the region is enough
    # tied pixels: the expected number; there they are taken in the order that they are stored in
    ("region bigger", "rank_accuracy"): (400 + 500 * 500 / 1520) / 900,
    ("region bigger", "top_1000"): (400 + 600 * 500 / 1520) / 1000,
    ("none in the region", "top_1000"): 600 * 400 / 1520 / 1000,
    ("half in the region", "top_1000"): (50 + 900 * 50 / 1820) / 1000,
}


def rectangle(xyxy: list[int]) -> np.ndarray:
    found = np.zeros(RECORDED["size"], bool)
    found[xyxy[1] : xyxy[3], xyxy[0] : xyxy[2]] = True
    return found


def recorded_map(case: dict[str, Any]) -> np.ndarray:
    """A case's map: a sum of Gaussians (height, x, y, sigma), or a rectangle of ones."""
    y, x = np.indices(RECORDED["size"])
    if "map" in case:
        return rectangle(case["map"]).astype(float)
    return sum(a * np.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * s * s)) for a, cx, cy, s in case["bumps"])


@pytest.mark.parametrize("case", RECORDED["smooth"])
def test_equals_what_quantus_gave(case: dict[str, Any]) -> None:
    """The file names the version and the calls that gave the values."""
    own = found(recorded_map(case), rectangle(case["box"]))
    for name, theirs in case["quantus"].items():
        assert own[name] == pytest.approx(theirs, abs=2e-3), name


@pytest.mark.parametrize("case", RECORDED["flat"], ids=lambda c: c["name"])
def test_the_situations_of_quantus_own_tests(case: dict[str, Any]) -> None:
    """Rectangles of ones: equal but for ties, where each difference is named."""
    own = found(recorded_map(case), rectangle(case["box"]))
    for name, theirs in case["quantus"].items():
        assert own[name] == pytest.approx(TIES.get((case["name"], name), theirs), abs=1e-9), name


def test_the_evaluation_records_and_states_them(tmp_path: Path) -> None:
    manifest = build_dataset(tmp_path, test=12, fullsup=4)
    good, poor = (
        read_results(
            evaluated_run(
                tmp_path / name, manifest, Planted(jitter=jitter), bootstrap=20, protocols=("maxboxacc",)
            )
            / "eval"
        )["measures"]
        for name, jitter in (("good", 0.05), ("poor", 1.5))
    )
    assert set(good) == set(MEASURES)
    for name, entry in good.items():
        assert entry["num_images"] == 12, name
        assert 0 < entry["chance"] < 100
        assert entry["ci95"][0] <= entry["value"] <= entry["ci95"][1]
        assert entry["value"] > poor[name]["value"], name
        assert entry["center_gaussian"] == poor[name]["center_gaussian"], "it looks at no map"
        assert entry["measure_hash"] == MEASURES[name].short_hash
    assert good["pointing_15_box"]["chance"] > good["pointing_box"]["chance"]
    assert good["auc_box"]["chance"] == 50.0
    low, middle, high = good["pixel_ap_box"]["quartiles"]
    assert 0 <= low <= middle <= high <= 100
    assert middle > poor["pixel_ap_box"]["quartiles"][1]
