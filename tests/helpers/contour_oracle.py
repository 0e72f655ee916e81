"""The reference way to boxes, in plain OpenCV: one contour search per threshold. Slow; the oracle of the box
kernel.

Written from PROTOCOLS, section 1: `findContours` in tree mode, bounding rectangles, polygon areas. Nothing
here knows about component trees.
"""

from __future__ import annotations

import cv2
import numpy as np

LEVELS = 256


def oracle_boxes(score_u8: np.ndarray, level: int, rule: str) -> np.ndarray:
    """Boxes of the foreground `score_u8 > level`, int32 [K, 4], in OpenCV's order of contours."""
    height, width = score_u8.shape
    _, foreground = cv2.threshold(score_u8, level, 255, cv2.THRESH_BINARY)
    contours = cv2.findContours(foreground, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[-2]
    if len(contours) == 0:
        return np.zeros((1, 4), np.int32)
    if rule == "largest":
        contours = [max(contours, key=cv2.contourArea)]
    boxes = []
    for contour in contours:
        x, y, w, h = cv2.boundingRect(contour)
        boxes.append([x, y, min(x + w, width - 1), min(y + h, height - 1)])
    return np.asarray(boxes, np.int32)


def oracle_iou(boxes_a: np.ndarray, boxes_b: np.ndarray) -> np.ndarray:
    """Inclusive-end IoU, [N, 4] x [M, 4] -> [N, M]; independent of `eval.boxes.geometry`."""
    a, b = boxes_a.astype(np.int64)[:, None], boxes_b.astype(np.int64)[None]
    width = np.maximum(0, np.minimum(a[..., 2], b[..., 2]) - np.maximum(a[..., 0], b[..., 0]) + 1)
    height = np.maximum(0, np.minimum(a[..., 3], b[..., 3]) - np.maximum(a[..., 1], b[..., 1]) + 1)
    area_a = (a[..., 2] - a[..., 0] + 1) * (a[..., 3] - a[..., 1] + 1)
    area_b = (b[..., 2] - b[..., 0] + 1) * (b[..., 3] - b[..., 1] + 1)
    return (width * height) / (area_a + area_b - width * height)


def oracle_levels(score_u8: np.ndarray, gt_boxes: np.ndarray) -> dict[str, np.ndarray]:
    """What `best_iou_per_level` must return, by 256 contour searches (repeated foregrounds are computed
    once)."""
    out = {name: np.empty(LEVELS) for name in ("largest_any", "largest_first", "all_any", "all_first")}
    out["largest_box"] = np.empty((LEVELS, 4), np.int32)
    present = set(np.unique(score_u8).tolist())
    for level in range(LEVELS):
        if level > 0 and level not in present:  # same foreground as one level below
            for array in out.values():
                array[level] = array[level - 1]
            continue
        for rule in ("largest", "all"):
            boxes = oracle_boxes(score_u8, level, rule)
            iou = oracle_iou(boxes, gt_boxes)
            out[f"{rule}_any"][level] = iou.max()
            out[f"{rule}_first"][level] = iou[:, 0].max()
            if rule == "largest":
                out["largest_box"][level] = boxes[0]
    return out


def reference_loop(
    score: np.ndarray, gt_boxes: np.ndarray, thresholds: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The loop users run today: a [0, 1] map, every threshold, boxes by both rules and their best IoU.

    One contour search per threshold serves both rules. Returns two float64 [T]: `largest` and `all`.
    """
    height, width = score.shape
    score_u8 = (score * 255).astype(np.uint8)
    top = score_u8.max()
    largest, every = np.empty(len(thresholds)), np.empty(len(thresholds))
    for index, threshold in enumerate(thresholds):
        _, foreground = cv2.threshold(score_u8, int(threshold * top), 255, cv2.THRESH_BINARY)
        contours = cv2.findContours(foreground, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[-2]
        boxes, best = [[0, 0, 0, 0]], 0
        if len(contours):
            best = max(range(len(contours)), key=lambda k: cv2.contourArea(contours[k]))
            boxes = []
            for contour in contours:
                x, y, w, h = cv2.boundingRect(contour)
                boxes.append([x, y, min(x + w, width - 1), min(y + h, height - 1)])
        iou = oracle_iou(np.asarray(boxes), gt_boxes)
        largest[index] = iou[best].max()
        every[index] = iou.max()
    return largest, every


def random_map(rng: np.random.Generator, max_side: int) -> np.ndarray:
    """A random uint8 map [H, W] of one of ten kinds, sides up to `max_side`, one in ten a single row or column."""
    height, width = (int(side) for side in rng.integers(1, max_side + 1, 2))
    if rng.random() < 0.1:
        height, width = (1, width) if rng.random() < 0.5 else (height, 1)
    return _KINDS[rng.integers(len(_KINDS))](rng, height, width).astype(np.uint8)


def random_boxes(rng: np.random.Generator, score: np.ndarray) -> np.ndarray:
    """One to three GT boxes [M, 4] in the frame of `score`, ends included, that may end one past the last pixel."""
    height, width = score.shape
    x = np.sort(rng.integers(0, width + 1, (rng.integers(1, 4), 2)), axis=1)
    y = np.sort(rng.integers(0, height + 1, (len(x), 2)), axis=1)
    return np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], axis=1)


def upsampled(cam: np.ndarray, height: int, width: int) -> np.ndarray:
    """A CAM on the frame, cubic, min-max normalised to [0, 1]; a constant one gives zeros."""
    score = cv2.resize(cam, (width, height), interpolation=cv2.INTER_CUBIC).reshape(height, width)
    score = score - score.min()
    return score / max(score.max(), 1e-9)


def _smooth(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    return upsampled(rng.random(rng.integers(1, 7, 2)), height, width) * 255


def _blurred(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    noise = cv2.GaussianBlur(rng.random((height, width)), (0, 0), rng.uniform(0.3, 3)).reshape(height, width)
    return (noise - noise.min()) / max(np.ptp(noise), 1e-9) * rng.integers(1, 256)


def _noise(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    return rng.integers(0, 256, (height, width))


def _few_levels(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    return rng.integers(0, rng.integers(2, 7), (height, width)) * rng.integers(1, 42)


def _binary(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    return 255 * (rng.random((height, width)) < rng.random())


def _plateaus(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    step_y, step_x = rng.integers(1, 6, 2)
    blocks = rng.integers(0, 256, (height // step_y + 1, width // step_x + 1))
    return blocks.repeat(step_y, 0).repeat(step_x, 1)[:height, :width]


def _rings(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    distance = np.hypot(y - rng.random() * height, x - rng.random() * width)
    return 127.5 + 127.5 * np.cos(distance * rng.uniform(0.1, 3))


def _checkerboard(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    step = rng.integers(1, 4)
    low, high = rng.integers(0, 256, 2)
    return np.where((y // step + x // step) % 2, low, high) + 0 * y


def _nested_boxes(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    score = np.zeros((height, width), np.int32)
    for _ in range(rng.integers(1, 9)):
        corners = rng.integers(0, (width, height), (2, 2)).tolist()
        cv2.rectangle(score, corners[0], corners[1], int(rng.integers(0, 256)), int(rng.choice([1, -1])))
    return score


def _trivial(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Empty, full, or a single pixel on either."""
    score = np.full((height, width), rng.choice([0, 0, 255, 7]))
    if rng.random() < 0.6:
        score[rng.integers(height), rng.integers(width)] = rng.integers(0, 256)
    return score


_KINDS = (
    _smooth,
    _blurred,
    _noise,
    _few_levels,
    _binary,
    _plateaus,
    _rings,
    _checkerboard,
    _nested_boxes,
    _trivial,
)
