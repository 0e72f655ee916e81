"""The reference's evaluators by their names: the situations of its own tests, written anew, and our own values."""

from __future__ import annotations

import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from eval.drop_in import (
    BoxEvaluator,
    MaskEvaluator,
    calculate_multiple_iou,
    compute_bboxes_from_scoremaps,
    get_mask,
    resize_bbox,
)
from eval.metrics.objects import MaxBoxAcc, MaxBoxAccV2
from tests.helpers.contour_oracle import upsampled

FIFTHS = np.arange(0, 1, 0.2)


# --- overlaps and boxes


def test_points_on_points_overlap_wholly() -> None:
    iou = calculate_multiple_iou(np.zeros((3, 4), int), np.zeros((5, 4), int))
    assert (iou.shape, iou.dtype, iou.min()) == ((3, 5), np.float64, 1.0)


def test_a_box_turned_around_is_a_runtime_error() -> None:
    with pytest.raises(RuntimeError):
        calculate_multiple_iou(np.array([[1, 1, 0, 0]]), np.array([[1, 1, 2, 2]]))


def test_boxes_apart_and_a_hand_checked_pair() -> None:
    boxes = np.array([[1, 1, 3, 3], [4, 4, 5, 5]])
    assert np.array_equal(calculate_multiple_iou(boxes, boxes), np.eye(2))
    pair = calculate_multiple_iou(np.array([[1, 2, 5, 6]]), np.array([[3, 1, 4, 5]]))
    assert pair[0, 0] == pytest.approx(8 / 27)


def test_boxes_are_resized_and_truncated() -> None:
    assert resize_bbox((1, 2, 4, 3), (10, 20), (35, 10)) == (3, 1, 14, 1)
    assert resize_bbox((1, 2, 1, 2), (3, 3), (3, 3)) == (1, 2, 1, 2)


def test_a_map_of_zeros_predicts_the_corner() -> None:
    assert compute_bboxes_from_scoremaps(np.zeros((3, 3)), FIFTHS) == [[0, 0, 0, 0]] * 5


def test_the_largest_region_at_each_threshold() -> None:
    one = np.array([[0, 0, 0, 0, 0], [0, 4, 4, 4, 6], [0, 4, 10, 8, 6], [0, 4, 4, 4, 6]]) / 10
    assert compute_bboxes_from_scoremaps(one, FIFTHS) == [
        *([[1, 1, 4, 3]] * 2),
        *([2, 1, 4, 3], [2, 2, 4, 3], [2, 2, 3, 3]),
    ]
    several = np.array([[4, 0, 2, 2, 2], [4, 4, 0, 4, 0], [0, 0, 0, 4, 0], [10, 6, 8, 2, 2]]) / 10
    assert compute_bboxes_from_scoremaps(several, FIFTHS) == [
        *([0, 0, 4, 3], [0, 0, 2, 2], [0, 3, 3, 3], [2, 3, 3, 3], [0, 3, 1, 3]),
    ]
    boxes, counts = compute_bboxes_from_scoremaps(several, FIFTHS, multi_contour_eval=True)
    assert [len(b) for b in boxes] == counts
    assert max(counts) > 1


@pytest.mark.parametrize("bad", [np.full((3, 3), np.nan), np.full((3, 3), 1.5), np.zeros(3), "map"])
def test_what_is_no_map_is_a_value_error(bad: Any) -> None:
    with pytest.raises(ValueError):
        compute_bboxes_from_scoremaps(bad, FIFTHS)


# --- boxes


@pytest.fixture
def metadata(tmp_path: Path) -> Any:
    rng = np.random.default_rng(4)
    lines: dict[str, list[str]] = {"image_ids": [], "image_sizes": [], "localization": []}
    for i in range(12):
        name, w, h = f"a/{i},b.jpg", 300 + 10 * i, 200
        lines["image_ids"].append(name)
        lines["image_sizes"].append(f"{name},{w},{h}")
        for _ in range(1 + i % 2):
            x, y = (int(v) for v in rng.integers(0, 100, 2))
            lines["localization"].append(f"{name},{x},{y},{x + int(rng.integers(60, 150))},{y + 80}")
    for key, rows in lines.items():
        (tmp_path / f"{key}.txt").write_text("\n".join(rows) + "\n")
    return SimpleNamespace(**{key: str(tmp_path / f"{key}.txt") for key in lines})


def maps(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    found = (upsampled(rng.random((7, 7)) ** 2, 224, 224) for _ in range(count))
    return [(m - m.min()) / (m.max() - m.min()) for m in found]


@pytest.mark.parametrize("several", [False, True])
def test_the_values_are_the_reference_loops(metadata: Any, several: bool) -> None:
    """Image by image against the reference's loop over contours, and the metric objects of this project."""
    thresholds = list(np.arange(0, 1, 0.01))
    evaluator = BoxEvaluator(
        metadata=metadata,
        dataset_name="CUB",
        split="test",
        cam_threshold_list=thresholds,
        iou_threshold_list=[30, 50, 70],
        multi_contour_eval=several,
        mask_root=None,
    )
    assert len(evaluator.original_bboxes["a/1,b.jpg"]) == 2
    assert evaluator.image_sizes["a/3,b.jpg"] == (330, 200)
    counted = {t: np.zeros(100) for t in (30, 50, 70)}
    for m, image_id in zip(maps(12), evaluator.image_ids):
        evaluator.accumulate(m, image_id)
        boxes = np.array(evaluator.gt_bboxes[image_id])
        for k, tau in enumerate(thresholds):
            found, _ = compute_bboxes_from_scoremaps(m, [tau], multi_contour_eval=several)
            best = calculate_multiple_iou(found[0], boxes).max()
            for t, counts in counted.items():
                counts[k] += best >= t / 100
    assert evaluator.cnt == 12
    for t, counts in counted.items():
        assert np.array_equal(evaluator.num_correct[t], counts)
    assert evaluator.compute() == [100 * c.max() / 12 for c in counted.values()]


def test_the_first_release_gives_one_number(metadata: Any, tmp_path: Path) -> None:
    """`threshold_list` alone; a folder stands for the metadata; MaxBoxAcc of this project agrees."""
    fine = list(np.arange(0, 1, 0.001))
    evaluator = BoxEvaluator(
        metadata=tmp_path, dataset_name="CUB", split="test", threshold_list=fine, mask_root=None
    )
    second = BoxEvaluator(metadata, "CUB", "test", fine, [30, 50, 70], None, True)
    metric, metric_v2 = MaxBoxAcc(resamples=0), MaxBoxAccV2(resamples=0)
    for m, image_id in zip(maps(12), evaluator.image_ids):
        boxes = [np.array(evaluator.gt_bboxes[image_id])]
        evaluator.accumulate(m, image_id)
        second.accumulate(m, image_id)
        metric.update(m[None], boxes)
        metric_v2.update(m[None], boxes)
    assert evaluator.compute() == metric.compute().value
    assert np.mean(second.compute()) == pytest.approx(metric_v2.compute().value)
    assert evaluator.num_correct.shape == (1000,)


@pytest.mark.parametrize(
    ("split", "boxes", "sizes"),
    [
        (
            "CUB/val",
            [(176, 136, 459, 291), (44, 183, 426, 254), (437, 42, 834, 422)],
            [(560, 419), (576, 432), (999, 587)],
        ),
        (
            "CUB/test",
            [(60, 27, 385, 331), (14, 112, 402, 298), (33, 53, 284, 448)],
            [(500, 335), (500, 347), (500, 470)],
        ),
        (
            "ILSVRC/val",
            [(156, 163, 318, 230), (143, 142, 394, 248), (28, 94, 485, 303)],
            [(500, 375)] * 3,
        ),
    ],
)
def test_boxes_and_sizes_of_the_released_metadata(
    split: str, boxes: list[Any], sizes: list[Any], wsol_data: Path, tmp_path: Path
) -> None:
    """Of the first three images as the reference states them; every box lies in its image."""
    names = ("image_ids", "image_sizes", "localization")
    with zipfile.ZipFile(wsol_data / "wsol_metadata.zip") as archive:
        for name in names:
            (tmp_path / f"{name}.txt").write_bytes(archive.read(f"wsol_metadata/{split}/{name}.txt"))
    evaluator = BoxEvaluator(tmp_path, split.split("/")[0], "val", [0.2], [30, 50, 70])
    first = evaluator.image_ids[:3]
    assert [evaluator.original_bboxes[i][0] for i in first] == boxes
    assert [evaluator.image_sizes[i] for i in first] == sizes
    for image_id in evaluator.image_ids:
        width, height = evaluator.image_sizes[image_id]
        x0, y0, x1, y1 = np.array(evaluator.original_bboxes[image_id]).T
        assert ((x0 >= 0) & (x0 <= x1) & (x1 < width) & (y0 >= 0) & (y0 <= y1) & (y1 < height)).all()


# --- masks


@pytest.fixture
def masks(tmp_path: Path) -> Any:
    """Two instances with an ignored region that overlaps one, and an image without an object."""
    canvas = np.zeros((448, 448), np.uint8)
    for name, (x0, y0, x1, y1) in {
        "one": (0, 0, 100, 200),
        "two": (200, 200, 300, 300),
        "ignore": (50, 0, 160, 448),
    }.items():
        drawn = canvas.copy()
        drawn[y0:y1, x0:x1] = 255
        Image.fromarray(drawn).save(tmp_path / f"{name}.png")
    Image.fromarray(canvas).save(tmp_path / "none.png")
    Image.fromarray(canvas + 255).save(tmp_path / "all.png")
    (tmp_path / "localization.txt").write_text(
        "a.jpg,one.png,ignore.png\na.jpg,two.png,\nempty.jpg,none.png,none.png\nwhole.jpg,all.png,none.png\n"
    )
    return {"localization": tmp_path / "localization.txt"}, tmp_path


def mask_evaluator(masks: Any, **more: Any) -> MaskEvaluator:
    fixed = {"dataset_name": "OpenImages", "split": "val", "cam_threshold_list": list(np.arange(0, 1, 0.01))}
    return MaskEvaluator(metadata=masks[0], mask_root=masks[1], **{**fixed, **more})


@pytest.mark.parametrize("ignored", [0.0, 1.0])
def test_a_perfect_map_gets_100_whatever_it_says_where_pixels_are_ignored(masks: Any, ignored: float) -> None:
    evaluator = mask_evaluator(masks)
    mask = get_mask(masks[1], evaluator.mask_paths["a.jpg"], evaluator.ignore_paths["a.jpg"])
    assert ((mask == 1).sum(), (mask == 255).sum()) == (50 * 100 + 50 * 50, 55 * 224 - 25 * 100)
    evaluator.accumulate(np.where(mask == 255, ignored, mask == 1).astype(float), "a.jpg")
    assert evaluator.compute() == 100.0


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_constant_map_gets_the_share_of_the_object(masks: Any, value: float) -> None:
    evaluator = mask_evaluator(masks)
    evaluator.accumulate(np.full((224, 224), value), "a.jpg")
    inside, ignored = 7500, 55 * 224 - 2500
    assert evaluator.compute() == pytest.approx(100 * inside / (224 * 224 - ignored))


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_without_an_object_there_is_a_runtime_error(masks: Any, value: float) -> None:
    evaluator = mask_evaluator(masks)
    evaluator.accumulate(np.full((224, 224), value), "empty.jpg")
    with pytest.raises(RuntimeError):
        evaluator.compute()


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_an_object_that_is_the_whole_image_gets_100(masks: Any, value: float) -> None:
    evaluator = mask_evaluator(masks)
    evaluator.accumulate(np.full((224, 224), value), "whole.jpg")
    assert evaluator.compute() == pytest.approx(100.0)


def test_a_map_of_nan_is_a_value_error(masks: Any) -> None:
    with pytest.raises(ValueError):
        mask_evaluator(masks).accumulate(np.full((224, 224), np.nan), "whole.jpg")


def test_masks_of_another_dataset_are_a_value_error(masks: Any) -> None:
    with pytest.raises(ValueError, match="OpenImages"):
        mask_evaluator(masks, dataset_name="CUB")


def test_a_metadata_line_that_is_none_is_named(masks: Any) -> None:
    (masks[1] / "localization.txt").write_text("a.jpg\n")
    with pytest.raises(ValueError, match=r"localization.txt:1: expected 3 fields"):
        mask_evaluator(masks)
