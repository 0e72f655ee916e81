"""Accumulation and summaries, against the reference's own loop."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from eval.maps.batch import ranks_from_logits
from eval.maps.files import ScoreMapFiles
from eval.metrics.bootstrap import NO_BOOTSTRAP, Bootstrap
from eval.metrics.curves import ThresholdGrid
from eval.metrics.outcomes import NotComputed, Summary
from eval.metrics.summarize import chosen_thresholds, summarize
from eval.protocols import PROTOCOLS, Protocol, protocol_named
from eval.records.fill import measure
from eval.records.scorer import Scorer
from eval.records.store import RecordIndex, RecordStore
from eval.records.wanted import Wanted
from tests.helpers.contour_oracle import reference_loop
from tests.helpers.map_folders import boxed_split, smooth_maps, write_maps
from wsol.manifest import Sample, Split

TAUS = np.arange(0, 1, 0.001)


def store_of(
    split: Split, maps: np.ndarray, folder: Path, protocols: list[Protocol], values: str = "normalized"
) -> RecordStore:
    write_maps(folder / "maps", split, maps)
    source = ScoreMapFiles(folder / "maps", split, values=values)  # type: ignore[arg-type]
    channels = tuple(dict.fromkeys(p.channel for p in protocols))
    index = RecordIndex("toy", "test", "h", len(split), tuple(str(c) for c in channels), False, ())
    store = RecordStore.create(folder / "records", index)
    measure(store, Scorer(split, Wanted(tuple(channels))), source, threads=1)
    return store


def test_threads_do_not_change_a_byte(tmp_path: Path) -> None:
    """1,100 images are three blocks; units of 16 images finish in any order, images stay in theirs."""
    split = boxed_split(1100, seed=3)
    maps = smooth_maps(40, seed=4, side=28)
    write_maps(tmp_path / "maps", split, np.concatenate([maps] * 28)[:1100])
    source = ScoreMapFiles(tmp_path / "maps", split)
    channels = (PROTOCOLS["maxboxacc"].channel,)
    index = RecordIndex("toy", "test", "h", len(split), tuple(map(str, channels)), False, ())
    written = []
    for threads in (1, 5):
        store = RecordStore.create(tmp_path / f"records{threads}", index)
        counted: list[int] = []
        measure(
            store, Scorer(split, Wanted(tuple(channels))), source, threads=threads, advance=counted.append
        )
        assert sum(counted) == 1100
        written.append([store.path(b).read_bytes() for b in range(3)])
    assert written[0] == written[1]
    assert store.read(2).measure("index").tolist() == list(range(1024, 1100))


def reference_numbers(split: Split, maps: np.ndarray, side: int = 224) -> tuple[float, float]:
    """MaxBoxAcc and MaxBoxAccV2 as the reference defines them: 1,000 thresholds, a contour search each."""
    largest, every = [], []
    for i, m in enumerate(maps):
        w, h = split.size_wh(i)  # type: ignore[misc]
        gt = [
            [int(x0 * side / w), int(y0 * side / h), int(x1 * side / w), int(y1 * side / h)]
            for x0, y0, x1, y1 in split.boxes(i)
        ]
        one, many = reference_loop(m, np.array(gt), TAUS)
        largest.append(one)
        every.append(many)
    v1 = (np.array(largest) >= 0.5).sum(0).max() * 100.0 / len(maps)
    v2 = np.mean([(np.array(every) >= d).sum(0).max() * 100.0 / len(maps) for d in (0.3, 0.5, 0.7)])
    return float(v1), float(v2)


def test_equals_the_reference_on_other_peoples_maps(tmp_path: Path) -> None:
    """Maps whose maximum is below 1 too: the threshold is relative to each map's own maximum."""
    split = boxed_split(12, seed=5)
    maps = smooth_maps(12, seed=6)
    maps[3] *= 0.6
    maps[4] *= 0.31
    protocols = [PROTOCOLS["maxboxacc"], PROTOCOLS["maxboxacc_v2"]]
    out = summarize(store_of(split, maps, tmp_path, protocols), protocols, bootstrap=Bootstrap(20))
    v1, v2 = reference_numbers(split, maps)
    ours = [o.value for o in out.values() if isinstance(o, Summary)]
    np.testing.assert_allclose(ours, [v1, v2], rtol=1e-12)


def test_grid_keeps_one_threshold_of_each_group_and_the_smallest() -> None:
    grid = ThresholdGrid.build(PROTOCOLS["maxboxacc"], [255])
    assert len(grid.taus) == 255
    assert grid.taus[0] == 0
    for tau in (0.0, 0.0039, 0.004, 0.5, 0.999):
        assert grid.levels[255, grid.columns([tau])[0]] == int(tau * 255)
    both = ThresholdGrid.build(PROTOCOLS["maxboxacc"], [255, 100])
    assert len(both.taus) > 255
    assert ThresholdGrid.build(PROTOCOLS["gt_known_fixed"], [255]).levels[255].tolist() == [51]


def blob_maps(boxes: list[tuple[int, int, int, int]]) -> np.ndarray:
    maps = np.zeros((len(boxes), 224, 224))
    for m, (x0, y0, x1, y1) in zip(maps, boxes):
        m[y0:y1, x0:x1] = 1.0
        m[y0 : y0 + 5, x0 : x0 + 5] = 0.5
    return maps


def test_by_hand_with_gates_first_boxes_and_fixed_thresholds(tmp_path: Path) -> None:
    """Four 224-pixel images; the map hits the first box of image 0, the second of image 1, none of 2, and 3 is
    hit but misclassified."""
    gt = [
        [[20, 20, 80, 80]],
        [[150, 150, 200, 200], [20, 20, 80, 80]],
        [[150, 150, 200, 200]],
        [[20, 20, 80, 80]],
    ]
    split = Split.from_samples(
        Sample(f"{i}.png", f"{i}.png", i % 2, (224, 224), np.array(b, float)) for i, b in enumerate(gt)
    )
    names = ["maxboxacc", "maxboxacc@first_gt", "gt_known_fixed", "top1_loc"]
    protocols = [protocol_named(n) for n in names]
    store = store_of(split, blob_maps([(20, 20, 80, 80)] * 4), tmp_path, protocols)
    out = summarize(store, protocols, bootstrap=NO_BOOTSTRAP)
    values = [o.value if isinstance(o, Summary) else None for o in out.values()]
    assert values == [75.0, 50.0, 75.0, None]
    assert isinstance(out["top1_loc"], NotComputed)
    with np.load(store.path(0)) as file:
        arrays = {name: array for name, array in file.items() if name != "seal.json"}
    arrays["top1"] = np.array([1, 1, 1, 0], np.int8)
    arrays["top5"] = np.ones(4, np.int8)
    store.write(0, arrays)
    gated = summarize(store, protocols, bootstrap=Bootstrap(200))["top1_loc"]
    assert isinstance(gated, Summary)
    assert gated.value == 50.0
    assert gated.ci95 is not None
    assert gated.ci95[0] <= 50 <= gated.ci95[1]


def test_images_without_boxes_leave_the_denominator_and_are_counted(tmp_path: Path) -> None:
    split = Split.from_samples(
        [
            Sample("a.png", "a.png", 0, (224, 224), np.array([[20.0, 20, 80, 80]])),
            Sample("b.png", "b.png", 0, (224, 224)),
        ]
    )
    protocols = [PROTOCOLS["maxboxacc"]]
    out = summarize(
        store_of(split, blob_maps([(20, 20, 80, 80)] * 2), tmp_path, protocols),
        protocols,
        bootstrap=Bootstrap(30),
    )
    summary = out["maxboxacc"]
    assert isinstance(summary, Summary)
    assert (summary.value, summary.num_scored) == (100.0, 1)


def test_transferred_thresholds_come_from_the_other_records(tmp_path: Path) -> None:
    p = PROTOCOLS["maxboxacc_v2_transferred"]
    val = store_of(boxed_split(9, 1), smooth_maps(9, 1), tmp_path / "val", [p])
    test = store_of(boxed_split(14, 2), smooth_maps(14, 2), tmp_path / "test", [p])
    taus = chosen_thresholds(val, [p])
    assert len(taus[p.name].taus) == 3
    out = summarize(test, [p, PROTOCOLS["maxboxacc_v2"]], thresholds=taus, bootstrap=NO_BOOTSTRAP)
    moved, oracle = out[p.name], out["maxboxacc_v2"]
    assert isinstance(moved, Summary)
    assert isinstance(oracle, Summary)
    assert moved.thresholds == taus[p.name].taus
    assert moved.value <= oracle.value
    for k, tau in enumerate(taus[p.name].taus):
        grid = ThresholdGrid(oracle.taus, np.zeros((256, len(oracle.taus)), np.uint8))  # type: ignore[arg-type]
        assert list(moved.per_iou.values())[k] == oracle.curves[k, grid.columns([tau])[0]]  # type: ignore[index]
    without = summarize(test, [p], bootstrap=NO_BOOTSTRAP)[p.name]
    assert isinstance(without, NotComputed)
    assert "train-fullsup" in without.reason


def test_the_interval_of_a_best_threshold_lies_around_the_value_less_its_optimism(tmp_path: Path) -> None:
    p = PROTOCOLS["maxboxacc"]
    out = summarize(
        store_of(boxed_split(40, 7), smooth_maps(40, 7), tmp_path, [p]), [p], bootstrap=Bootstrap(300, 3)
    )
    summary = out["maxboxacc"]
    assert isinstance(summary, Summary)
    assert summary.resampled is not None
    assert summary.curves is not None
    at_best = summary.curves[0].max()
    best = int(summary.curves[0].argmax())
    assert summary.resampled == pytest.approx(summary.resampled_curves[0][:, best])
    assert summary.optimism is not None
    assert 0 < summary.optimism < 10
    assert summary.ci95 is not None
    assert summary.ci95[0] < at_best - summary.optimism < summary.ci95[1]


def test_the_choice_of_a_transferred_threshold_widens_its_interval(tmp_path: Path) -> None:
    p = dataclasses.replace(PROTOCOLS["maxboxacc_transferred"], iou_thresholds=(0.15,))
    val = store_of(boxed_split(9, 1), smooth_maps(9, 1), tmp_path / "val", [p])
    test = store_of(boxed_split(60, 2), smooth_maps(60, 2), tmp_path / "test", [p])
    bootstrap = Bootstrap(400, 3)
    chosen = chosen_thresholds(val, [p], bootstrap)
    assert len(chosen[p.name].resampled[0]) == 400
    with_choice = summarize(test, [p], thresholds=chosen, bootstrap=bootstrap)[p.name]
    given = summarize(test, [p], thresholds={p.name: chosen[p.name].taus}, bootstrap=bootstrap)[p.name]
    assert isinstance(with_choice, Summary)
    assert isinstance(given, Summary)
    assert with_choice.value == given.value
    assert with_choice.thresholds == given.thresholds
    assert with_choice.resampled is not None
    assert given.resampled is not None
    assert with_choice.resampled.std() > given.resampled.std()
    assert with_choice.ties == chosen[p.name].ties


def test_protocols_that_decide_alike_give_what_each_gives_alone(tmp_path: Path) -> None:
    names = [
        "maxboxacc",
        "maxboxacc_transferred",
        "gt_known_fixed",
        "maxboxacc_v2",
        "maxboxacc_v2_transferred",
    ]
    protocols = [PROTOCOLS[n] for n in names]
    test = store_of(boxed_split(40, 2), smooth_maps(40, 2), tmp_path / "test", protocols)
    chosen = chosen_thresholds(
        store_of(boxed_split(9, 1), smooth_maps(9, 1), tmp_path / "val", protocols), protocols, Bootstrap(50)
    )
    together = summarize(test, protocols, thresholds=chosen, bootstrap=Bootstrap(50))
    for p in protocols:
        alone = summarize(test, [p], thresholds=chosen, bootstrap=Bootstrap(50))[p.name]
        both = together[p.name]
        assert isinstance(alone, Summary)
        assert isinstance(both, Summary)
        assert (alone.value, alone.ci95, alone.thresholds) == (both.value, both.ci95, both.thresholds)
        assert alone.resampled == pytest.approx(both.resampled)


@pytest.mark.parametrize("ties", [0, 3])
def test_ranks_count_ties_against_the_later_class(ties: int) -> None:
    logits = np.zeros((1, 6))
    logits[0, : ties + 1] = 1.0
    predicted, top1, top5 = ranks_from_logits(logits, np.array([ties], np.int32))
    assert predicted.tolist() == [0]
    assert top1.tolist() == [int(ties == 0)]
    assert top5.tolist() == [1]
    assert ranks_from_logits(np.zeros((1, 6)), np.array([5], np.int32))[2].tolist() == [0]
