"""The box kernel against hand-made maps, then against OpenCV's contour search, for both of its paths."""

from __future__ import annotations

import threading

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from eval.boxes import best_iou as component_tree
from eval.boxes.best_iou import (
    LevelIoU,
    best_iou_of_versions,
    best_iou_per_level,
    best_iou_per_level_batch,
    boxes_at_level,
)
from tests.helpers.contour_oracle import oracle_boxes, oracle_levels, random_boxes, random_map, reference_loop

KERNELS: tuple[component_tree.Kernel, ...] = ("runs", "pixels")
IOUS = ("largest_any", "largest_first", "all_any", "all_first")
PIXEL = np.array([[0, 0, 0, 0]])


def score_with(kernel: component_tree.Kernel, score: np.ndarray, gt: np.ndarray) -> LevelIoU:
    offsets = np.array([0, len(gt)], np.int64)
    return component_tree._score_batch(score[None], gt.astype(np.float64), offsets, 1, kernel)[0]


def assert_equals_oracle(score: np.ndarray, gt: np.ndarray) -> None:
    expected = oracle_levels(score, gt)
    for kernel in KERNELS:
        record = score_with(kernel, score, gt)
        for name, value in expected.items():
            np.testing.assert_array_equal(getattr(record, name), value, err_msg=f"{kernel} {name}\n{score!r}")


def painted(size_wh: tuple[int, int], *rectangles: tuple[int, int, int, int, int]) -> np.ndarray:
    """A black map with rectangles (x, y, width, height, value) painted in turn."""
    score = np.zeros(size_wh[::-1], np.uint8)
    for x, y, w, h, value in rectangles:
        score[y : y + h, x : x + w] = value
    return score


def sketched(*rows: str) -> np.ndarray:
    return np.array([[9 if mark == "#" else 0 for mark in row] for row in rows], np.uint8)


# Boxes at level 0; the `largest` one first, then every other that the `all` rule adds, in any order.
BY_HAND = [
    pytest.param(painted((224, 224), (30, 10, 20, 40, 9)), [[30, 10, 50, 50]], id="rectangle, exclusive end"),
    pytest.param(
        painted((224, 224), (20, 20, 180, 180, 9), (60, 60, 40, 40, 0)),
        [[20, 20, 200, 200], [59, 59, 101, 101]],
        id="ring: the hole grown by a pixel is a box too",
    ),
    pytest.param(
        painted((224, 224), (10, 5, 200, 1, 9), (100, 100, 10, 10, 9)),
        [[100, 100, 110, 110], [10, 5, 210, 6]],
        id="a 200-pixel line has no area and loses to a 10x10 blob",
    ),
    pytest.param(painted((5, 4), (0, 0, 5, 4, 9)), [[0, 0, 4, 3]], id="full frame, end clamped"),
    pytest.param(painted((5, 4), (4, 3, 1, 1, 9)), [[4, 3, 4, 3]], id="one pixel in the last corner"),
    pytest.param(painted((5, 4)), [[0, 0, 0, 0]], id="nothing"),
    pytest.param(sketched("#.", ".#"), [[0, 0, 1, 1]], id="diagonal neighbours are one component"),
    pytest.param(
        sketched(".....", ".#.#.", "....."),
        [[3, 1, 4, 2], [1, 1, 2, 2]],
        id="tie: the first pixel that comes last",
    ),
    pytest.param(
        sketched("....#", "...#.", "#....", ".....", "#...."),
        [[0, 4, 1, 4], [3, 0, 4, 2], [0, 2, 1, 3]],
        id="tie: a component's first pixel is in its top row, not its left column",
    ),
    pytest.param(
        sketched(".#.", "#.#", ".#."),
        [[0, 0, 2, 2], [0, 0, 2, 2]],
        id="diamond: its hole is as large, the outer wins",
    ),
    pytest.param(
        sketched("######", "#.##.#", "##.#.#", "######"),
        [[0, 0, 5, 3], [0, 0, 3, 3], [1, 1, 4, 3], [3, 0, 5, 3]],
        id="holes that meet only diagonally are two",
    ),
    pytest.param(
        sketched("#######", "#.....#", "#.###.#", "#.#.#.#", "#.###.#", "#.....#", "#######"),
        [[0, 0, 6, 6], [0, 0, 6, 6], [2, 2, 5, 5], [2, 2, 5, 5]],
        id="a component in a hole is a box of `all` only",
    ),
    pytest.param(
        sketched("###.###", "#.#.###", "###.###"),
        [[4, 0, 6, 2], [0, 0, 3, 2], [0, 0, 3, 2]],
        id="a hole takes no area",
    ),
    pytest.param(sketched("#.#", "#.#", "###"), [[0, 0, 2, 2]], id="a bay at the edge is no hole"),
]


@pytest.mark.parametrize(("score", "boxes"), BY_HAND)
def test_boxes_by_hand(score: np.ndarray, boxes: list[list[int]]) -> None:
    assert boxes_at_level(score, 0, "largest").tolist() == boxes[:1]
    assert sorted(boxes_at_level(score, 0, "all").tolist()) == sorted(boxes)
    for kernel in KERNELS:
        for k, box in enumerate(boxes):
            record = score_with(kernel, score, np.array([box]))
            assert record.largest_box[0].tolist() == boxes[0]
            assert record.all_any[0] == 1.0
            assert (record.largest_any[0] == 1.0) == (box == boxes[0]), k
        assert_equals_oracle(score, np.array(boxes))


def test_levels_are_strictly_above_and_the_top_one_is_empty() -> None:
    score = painted((9, 9), (1, 1, 7, 7, 3), (2, 2, 2, 2, 200), (6, 6, 1, 1, 255))
    record = best_iou_per_level(score, PIXEL)
    boxes = [record.largest_box[level].tolist() for level in (0, 2, 3, 199, 200, 254, 255)]
    assert boxes == [[1, 1, 8, 8]] * 2 + [[2, 2, 4, 4]] * 2 + [[6, 6, 7, 7]] * 2 + [[0, 0, 0, 0]]
    assert record.all_any[255] == record.largest_any[255] == 1.0


def test_any_and_first_gt_box() -> None:
    score = painted((20, 20), (2, 3, 4, 5, 9))
    gt = np.array([[10, 10, 14, 14], [2, 3, 6, 8], [0, 0, 1, 1]])
    record = best_iou_per_level(score, gt)
    assert (record.largest_any[0], record.all_any[0]) == (1.0, 1.0)
    assert (record.largest_first[0], record.all_first[0]) == (0.0, 0.0)
    assert best_iou_per_level(score, gt[1:]).largest_first[0] == 1.0


def test_without_gt_the_iou_is_undefined_and_the_box_is_there() -> None:
    record = best_iou_per_level(painted((20, 20), (2, 3, 4, 5, 9)), np.zeros((0, 4), int))
    for name in IOUS:
        assert np.isnan(getattr(record, name)).all(), name
    assert record.largest_box[0].tolist() == [2, 3, 6, 8]


@st.composite
def flat_maps(draw: st.DrawFn) -> np.ndarray:
    """Few grey levels: plateaus, rings, diagonals, ties."""
    shape = draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
    levels = draw(st.sampled_from([(0, 255), (0, 9), (0, 9, 10), (0, 1, 2, 254, 255), tuple(range(256))]))
    return draw(hnp.arrays(np.uint8, shape, elements=st.sampled_from(levels)))


@st.composite
def smooth_maps(draw: st.DrawFn) -> np.ndarray:
    """What CAMs look like: a few numbers, upsampled and normalised."""
    sides = st.integers(1, 5)
    cam = draw(hnp.arrays(np.float64, st.tuples(sides, sides), elements=st.integers(0, 20).map(float)))
    size_wh = draw(st.tuples(st.integers(1, 24), st.integers(1, 24)))
    cam = cv2.resize(cam, size_wh, interpolation=cv2.INTER_CUBIC).reshape(size_wh[::-1])
    cam -= cam.min()
    return (cam / max(cam.max(), 1e-9) * 255).astype(np.uint8)


@st.composite
def boxes_in(draw: st.DrawFn, score: np.ndarray) -> np.ndarray:
    height, width = score.shape
    boxes = []
    for _ in range(draw(st.integers(1, 3))):
        x = sorted(draw(st.tuples(st.integers(0, width), st.integers(0, width))))
        y = sorted(draw(st.tuples(st.integers(0, height), st.integers(0, height))))
        boxes.append([x[0], y[0], x[1], y[1]])
    return np.array(boxes)


@settings(max_examples=120, deadline=None)
@given(st.data())
def test_flat_maps_equal_the_contour_search(data: st.DataObject) -> None:
    score = data.draw(flat_maps())
    assert_equals_oracle(score, data.draw(boxes_in(score)))


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_smooth_maps_equal_the_contour_search(data: st.DataObject) -> None:
    score = data.draw(smooth_maps())
    assert_equals_oracle(score, data.draw(boxes_in(score)))


@pytest.mark.parametrize("seed", range(4))
def test_random_maps_of_many_kinds_equal_the_contour_search(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for _ in range(100):
        score = random_map(rng, 30)
        assert_equals_oracle(score, random_boxes(rng, score))


def test_boxes_at_level_equal_the_contour_search_at_every_level() -> None:
    score = random_map(np.random.default_rng(8), 30)
    for level in range(256):
        for rule in ("largest", "all"):
            np.testing.assert_array_equal(
                boxes_at_level(score, level, rule), oracle_boxes(score, level, rule)
            )


def test_a_cam_at_224_equals_the_1000_threshold_loop() -> None:
    rng = np.random.default_rng(3)
    cam = cv2.resize(rng.random((14, 14)), (224, 224), interpolation=cv2.INTER_CUBIC)
    score = (cam - cam.min()) / (cam.max() - cam.min())
    gt = np.array([[40, 30, 180, 200], [5, 60, 70, 130]])
    thresholds = np.arange(0, 1, 0.001)
    largest, every = reference_loop(score, gt, thresholds)
    score_u8 = (score * 255).astype(np.uint8)
    levels = (thresholds * score_u8.max()).astype(int)
    for kernel in KERNELS:
        record = score_with(kernel, score_u8, gt)
        np.testing.assert_array_equal(record.largest_any[levels], largest)
        np.testing.assert_array_equal(record.all_any[levels], every)


def batch_of_maps(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Maps of one size for both kernels, the second image without GT boxes."""
    rng = np.random.default_rng(0)
    cams = [cv2.resize(rng.random((4, 4)), (64, 64), interpolation=cv2.INTER_CUBIC) for _ in range(n)]
    scores = np.clip(np.stack(cams) * 255, 0, 255).astype(np.uint8)
    scores[3] = rng.integers(0, 256, (64, 64))
    counts = np.array([2, 0, 1, 3] + [1] * (n - 4))
    offsets = np.concatenate([[0], counts.cumsum()])
    corners = np.sort(rng.integers(0, 64, (offsets[-1], 2, 2)), axis=1)
    return scores, corners.reshape(-1, 4), offsets


@pytest.mark.parametrize("num_threads", [1, 2, 5, None])
def test_batch_equals_one_by_one(num_threads: int | None) -> None:
    scores, gt, offsets = batch_of_maps(12)
    batch = best_iou_per_level_batch(scores, gt, offsets, num_threads)
    assert len(batch) == 12
    assert np.isnan(batch.all_any[1]).all()
    for n in range(12):
        single = best_iou_per_level(scores[n], gt[offsets[n] : offsets[n + 1]])
        for name in (*IOUS, "largest_box"):
            np.testing.assert_array_equal(getattr(batch[n], name), getattr(single, name))


def test_an_empty_batch_is_empty() -> None:
    batch = best_iou_per_level_batch(np.zeros((0, 8, 8), np.uint8), np.zeros((0, 4), int), np.array([0]))
    assert len(batch) == 0
    assert batch.all_any.shape == (0, 256)


def test_callers_in_several_threads_do_not_share_working_memory() -> None:
    scores, gt, offsets = batch_of_maps(12)
    expected = best_iou_per_level_batch(scores, gt, offsets, 1)
    other = np.ascontiguousarray(scores[:, :50])  # another frame, so working memory changes size meanwhile
    results: list[tuple[np.ndarray, np.ndarray]] = []

    def work(mine: np.ndarray) -> None:
        for _ in range(10):
            results.append((mine, best_iou_per_level_batch(mine, gt, offsets, 2).all_any))

    threads = [threading.Thread(target=work, args=(mine,)) for mine in (scores, scores, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected_other = best_iou_per_level_batch(other, gt, offsets, 1).all_any
    assert len(results) == 30
    for mine, got in results:
        np.testing.assert_array_equal(got, expected.all_any if mine is scores else expected_other)


def test_maps_with_many_extrema_go_to_union_find() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (96, 96)).astype(np.uint8)
    gt = np.array([[10, 10, 40, 50]])
    with pytest.raises(ValueError, match="too many extrema"):
        score_with("runs", noise, gt)
    np.testing.assert_array_equal(
        best_iou_per_level(noise, gt).all_any, score_with("pixels", noise, gt).all_any
    )


def test_a_map_that_is_not_contiguous_is_the_same_map() -> None:
    score = random_map(np.random.default_rng(5), 30)
    gt = random_boxes(np.random.default_rng(5), score)
    strided = np.repeat(score, 2, axis=1)[:, ::2]
    np.testing.assert_array_equal(
        best_iou_per_level(strided, gt).all_any, best_iou_per_level(score, gt).all_any
    )


MAP = np.zeros((4, 4), np.uint8)


@pytest.mark.parametrize(
    ("score", "gt", "error", "message"),
    [
        pytest.param(
            MAP.astype(float), PIXEL, TypeError, "`score_u8` must be a uint8 array, got float64", id="float"
        ),
        pytest.param([[0, 1]], PIXEL, TypeError, "got list", id="list"),
        pytest.param(MAP[None], PIXEL, ValueError, r"must have shape \[H, W\]", id="batch for single"),
        pytest.param(MAP[:0], PIXEL, ValueError, r"got \[0, 4\]", id="empty map"),
        pytest.param(
            MAP, PIXEL[0], ValueError, r"`gt_boxes` must have shape \[M, 4\], got \[4\]", id="flat gt"
        ),
        pytest.param(MAP, PIXEL + 0.5, TypeError, "`gt_boxes` must be integers", id="float gt"),
        pytest.param(MAP, np.array([[3, 0, 2, 0]]), ValueError, "x1 < x0 or y1 < y0", id="turned around"),
    ],
)
def test_bad_input_is_refused(
    score: np.ndarray, gt: np.ndarray, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        best_iou_per_level(score, gt)


@pytest.mark.parametrize(
    ("offsets", "num_threads", "error", "message"),
    [
        pytest.param([0, 1], None, ValueError, r"must have shape \[3\]", id="one too few"),
        pytest.param([0, 2, 1], None, ValueError, "rise from 0 to 1", id="falling"),
        pytest.param([0, 0, 0], None, ValueError, "rise from 0 to 1", id="boxes left over"),
        pytest.param([0.0, 0.5, 1.0], None, TypeError, "must be integers", id="float"),
        pytest.param([0, 0, 1], 0, ValueError, "`num_threads` must be at least 1", id="no thread"),
    ],
)
def test_bad_batches_are_refused(
    offsets: list[float], num_threads: int | None, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        best_iou_per_level_batch(np.zeros((2, 4, 4), np.uint8), PIXEL, np.array(offsets), num_threads)


@pytest.mark.parametrize(("level", "rule"), [(256, "all"), (-1, "all"), (0, "biggest")])
def test_boxes_at_level_refuses(level: int, rule: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        boxes_at_level(MAP, level, rule)  # type: ignore[arg-type]


def test_versions_of_one_map_together_are_what_each_is_alone() -> None:
    """Random maps and noise that the runs kernel refuses, under random rising functions; one image has no box."""
    rng = np.random.default_rng(8)
    noise = rng.integers(0, 256, (120, 120), np.uint8)
    for maps in (noise[None], *(np.stack([random_map(rng, 16)] * 2) for _ in range(40))):
        maps[-1] = np.sort(rng.integers(0, 256, 256)).astype(np.uint8)[maps[-1]]
        count = int(rng.integers(1, 6))
        rising = np.sort(rng.integers(0, 256, (count, 256)), axis=1).astype(np.uint8)
        gt = random_boxes(rng, maps[0])
        offsets = np.array([0, len(gt), len(gt)])[: len(maps) + 1]
        together = best_iou_of_versions(rising[:, maps], gt, offsets)
        assert len(together) == count
        for found, version in zip(together, rising[:, maps]):
            alone = best_iou_per_level_batch(version, gt, offsets, num_threads=1)
            for name in (*IOUS, "largest_box"):
                np.testing.assert_array_equal(getattr(found, name), getattr(alone, name), err_msg=name)
