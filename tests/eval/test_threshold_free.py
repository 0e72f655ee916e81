"""Measures without a threshold: by hand, against their definitions written naively, and against Quantus."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from eval.measures import MEASURES
from eval.metrics.results_json import read_results
from eval.records.threshold_free import FORMULAS, RankedMap, grown_by_tolerance, measure_region, measured
from tests.helpers.builders_eval import Planted, build_dataset, evaluated_run
from tests.helpers.oracles import oracle


def found(values: np.ndarray, region: np.ndarray) -> dict[str, float]:
    inside = np.flatnonzero(region)
    numbers = measured(RankedMap.of(values), inside, grown_by_tolerance(region).ravel())
    return dict(zip(FORMULAS, numbers))


def test_by_hand() -> None:
    """Five pixels, 4 3 2 1 and -1; the region holds the 4 and the 1."""
    values = np.array([[4.0, 3.0, 2.0, 1.0, -1.0]])
    region = np.array([[True, False, False, True, False]])
    assert found(values, region) == pytest.approx(
        {
            "pointing": 1.0,
            "pointing_15": 1.0,
            "energy": 5 / 10,
            "rank_accuracy": 1 / 2,  # of the two highest, one
            "auc": (3 + 1) / 6,  # the 4 is above all three others, the 1 above one
            "pixel_ap": (1 / 1 + 2 / 4) / 2,
        }
    )
    beside = np.array([[False, True, False, False, True]])
    assert found(values, beside)["pointing"] == 0.0
    assert found(values, beside)["pointing_15"] == 1.0


def test_a_constant_map_gets_what_chance_gets() -> None:
    region = np.zeros((40, 50), bool)
    region[3:13, 20:45] = True
    own = found(np.full((40, 50), 3.0), region)
    area, grown = region.mean(), grown_by_tolerance(region).mean()
    chance = {"area": area, "dilated-area": grown, "half": 0.5}
    for name, value in own.items():
        assert value == pytest.approx(chance[MEASURES[f"{name}_box"].chance]), name


def test_undefined_is_not_zero() -> None:
    values = np.arange(12.0).reshape(3, 4)
    assert np.isnan(list(found(values, np.zeros((3, 4), bool)).values())).all()
    whole = found(values, np.ones((3, 4), bool))
    assert np.isnan(whole["auc"])
    assert [whole[k] for k in ("pointing", "energy", "rank_accuracy", "pixel_ap")] == pytest.approx([1.0] * 4)
    assert np.isnan(found(-1 - values, values > 5)["energy"])
    no_map = measure_region(None, np.eye(4, dtype=bool))
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
    return {
        "pointing": float(inside[order[0]]),
        "pointing_15": float(np.hypot(rows - y, columns - x).min() <= 15),
        "energy": float(np.maximum(flat, 0)[inside].sum() / np.maximum(flat, 0).sum()),
        "rank_accuracy": float(hits[:total].mean()),
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


def test_equals_quantus() -> None:
    """Its pointing game, relevance mass, relevance rank accuracy and AUC on the same arrays."""
    quantus = oracle("quantus")
    named = {
        "pointing": quantus.PointingGame,
        "energy": quantus.RelevanceMassAccuracy,
        "rank_accuracy": quantus.RelevanceRankAccuracy,
        "auc": quantus.AUC,
    }
    cases = some_maps(6)
    maps = np.stack([np.maximum(values, 0) + 1e-9 for values, _ in cases])  # its shares are of positive maps
    regions = np.stack([region for _, region in cases])
    for name, metric in named.items():
        theirs = metric(disable_warnings=True).evaluate_batch(a_batch=maps, s_batch=regions)
        ours = [found(m, r)[name] for m, r in zip(maps, regions)]
        assert ours == pytest.approx([float(v) for v in theirs], abs=2e-3), name


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
