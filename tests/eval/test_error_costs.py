"""What repairing one error alone gives: by hand, image by image, and from an evaluation."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from eval.analysis.error_costs import REPAIRS, costs_of_errors, differences_of_costs, repaired
from eval.analysis.per_image import PerImage
from eval.boxes.geometry import inclusive_iou
from eval.metrics.bootstrap import Bootstrap
from eval.metrics.results_json import read_results
from eval.protocols import PROTOCOLS
from eval.records.store import RecordStore
from eval.terminal.tables import notes
from tests.helpers.builders_eval import Planted, build_dataset, evaluated_run

PROTOCOL = PROTOCOLS["maxboxacc"]
TRUE = [10, 10, 49, 49]
CASES: list[tuple[str, list[int], list[list[int]], int, float, set[str]]] = [
    # what it is, predicted box, true boxes, class right, IoU at the best threshold, what repairs it
    ("right", [12, 10, 49, 49], [TRUE], 1, 0.9, set()),
    ("only the class is wrong", [12, 10, 49, 49], [TRUE], 0, 0.9, {"class"}),
    ("half of the object", [10, 10, 24, 49], [TRUE], 1, 0.3, {"part"}),
    ("twice the object", [0, 0, 99, 49], [TRUE], 1, 0.3, {"too large"}),
    ("beside the object", [35, 10, 74, 49], [TRUE], 1, 0.3, {"part", "displaced"}),
    ("far from the object", [150, 10, 189, 49], [TRUE], 1, 0.3, {"displaced"}),
    ("at the wrong threshold", [10, 10, 12, 12], [TRUE], 1, 0.6, {"threshold", "part"}),
    (
        "two objects in one box",
        [10, 10, 109, 49],
        [TRUE, [70, 10, 109, 49]],
        1,
        0.3,
        {"too large", "several"},
    ),
    ("class and box are wrong", [10, 10, 24, 49], [TRUE], 0, 0.9, set()),
]


def images() -> tuple[PerImage, np.ndarray, np.ndarray, np.ndarray]:
    """The cases, and one image without a true box."""
    boxes = np.array([c[1] for c in CASES] + [[0, 0, 9, 9]], np.int16)
    iou = np.array([inclusive_iou(np.array([c[1]]), np.array(c[2])).max() for c in CASES] + [0], np.float32)
    top1 = np.array([c[3] for c in CASES] + [1], np.int8)
    counts = np.array([len(c[2]) for c in CASES] + [0])
    n = len(boxes)
    image = PerImage(
        np.zeros(n, np.int32),
        np.zeros(n, np.int32),
        top1,
        top1,
        counts,
        counts > 0,
        iou[:, None] >= 0.5,
        iou,
        boxes,
    )
    best = np.array([c[4] for c in CASES] + [0], np.float32)
    return image, best, np.concatenate([c[2] for c in CASES]), np.concatenate([[0], np.cumsum(counts)])


def test_every_case_is_repaired_by_what_it_lacks() -> None:
    image, best, true, offsets = images()
    found = repaired(image, best, PROTOCOL, true, offsets)
    for k, case in enumerate(CASES):
        gains = {name for name, gained in zip(REPAIRS, found.gained[k]) if gained}
        assert gains == case[5], case[0]
        assert found.right[k] == (case[0] == "right")
    assert not found.scored[-1]
    costs = costs_of_errors(found, Bootstrap(50))
    assert (costs["num_images"], costs["right"]) == (9, pytest.approx(100 / 9))
    assert costs["repairs"]["displaced"]["gain"] == pytest.approx(200 / 9, rel=1e-5)
    low, high = costs["repairs"]["displaced"]["ci95"]
    assert low < 200 / 9 < high


def test_without_classes_nothing_is_said_of_them() -> None:
    image, best, true, offsets = images()
    unknown = dataclasses.replace(image, top1=np.full_like(image.top1, -1))
    found = repaired(unknown, best, PROTOCOL, true, offsets)
    assert found.right[:2].all()
    assert "class" not in costs_of_errors(found, Bootstrap(0))["repairs"]


def test_equal_methods_cost_the_same() -> None:
    image, best, true, offsets = images()
    found = repaired(image, best, PROTOCOL, true, offsets)
    for name, d in differences_of_costs([found], [found], by_seed=True, bootstrap=Bootstrap(50)).items():
        assert d["difference"] == 0, name


def test_the_evaluation_states_them(tmp_path: Path) -> None:
    """Maps that are half as large as the object are repaired by growing; the page and results.json say so."""
    manifest = build_dataset(tmp_path, test=30, fullsup=6)
    planted = Planted(extent=0.3, jitter=0.02, accuracy=0.8)
    run = evaluated_run(
        tmp_path / "run", manifest, planted, bootstrap=50, protocols=("gt_known_fixed", "top1_loc")
    )
    results = read_results(run / "eval")
    costs = results["error_costs"]
    assert costs["protocol"] == "gt_known_fixed"
    assert costs["right"] == results["protocols"]["top1_loc"]["value"]
    gains = {k: v["gain"] for k, v in costs["repairs"].items()}
    assert gains["part"] > 15 > gains["too large"]
    known = results["protocols"]["gt_known_fixed"]["value"]
    assert gains["class"] == pytest.approx(known - costs["right"], abs=1e-4)


@pytest.mark.parametrize(("extent", "said"), [(0.3, False), (4.0, True)])
def test_boxes_around_the_whole_image_are_counted_and_said(tmp_path: Path, extent: float, said: bool) -> None:
    """A map that is high everywhere has the whole image as its box, as the control has."""
    manifest = build_dataset(tmp_path, test=6, fullsup=4, files=False)
    run = evaluated_run(
        tmp_path / "run", manifest, Planted(extent=extent), bootstrap=0, protocols=("gt_known_fixed",)
    )
    results = read_results(run / "eval")
    largest = RecordStore.open(run / "eval" / "records" / "test").read(0).channel("resize224-minmax")
    box = largest.largest_box[np.arange(6), (0.2 * largest.max_level).astype(int)]
    count = int(((box[:, 2:] - box[:, :2] + 1.0).prod(1) >= 0.95 * 224**2).sum())
    assert results["error_costs"]["whole_image_boxes"] == count
    assert (count > 3) == said
    text = f"note: by gt_known_fixed the box of {count} of 6 images covers 95 % or more of the image, as"
    assert any(line.startswith(text) for line in notes(results)) == said
