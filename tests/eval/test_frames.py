"""Boxes and masks in the frame."""

from __future__ import annotations

import numpy as np
import pytest

from eval.boxes.frames import Frame, split_boxes
from tests.helpers.map_folders import boxed_split
from wsol.errors import UserError
from wsol.manifest import Sample, Split


def test_resize_truncates_after_the_product() -> None:
    frame = Frame.of("resize", 224)
    boxes = np.array([[60.0, 27.0, 385.0, 331.0]])
    expected = [[int(60 * 224 / 500), int(27 * 224 / 335), int(385 * 224 / 500), int(331 * 224 / 335)]]
    assert frame.boxes(boxes, (500, 335), "a").tolist() == expected


def test_centre_crop_at_the_frames_own_size() -> None:
    """A 256 x 256 image loses 16 pixels at every side, whatever the box; what lies outside becomes a sliver."""
    frame = Frame.of("center-crop", 224)
    boxes = np.array([[16.0, 16.0, 239.0, 100.0], [0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 256.0, 256.0]])
    assert frame.boxes(boxes, (256, 256), "a").tolist() == [[0, 0, 223, 84], [0, 0, 0, 0], [0, 0, 223, 223]]


def test_centre_crop_follows_the_view_of_a_small_network_input() -> None:
    """At 64 pixels the network sees 73 - 2 * 4 pixels; the frame shows the same crop 3.5 times larger."""
    frame = Frame.of("center-crop", 224, 64)
    side, cut = frame.view.resized_side, frame.view.crop_offset
    assert (side, cut) == (73, 4)
    assert frame.boxes(np.array([[0.0, 0.0, 73.0, 73.0]]), (73, 73), "a").tolist() == [[0, 0, 223, 223]]
    assert frame.boxes(np.array([[10.0, 4.0, 20.0, 30.0]]), (73, 73), "a").tolist() == [[21, 0, 56, 91]]


def test_the_image_of_a_bad_box_is_named() -> None:
    split = boxed_split(5, seed=3)
    boxes = split.boxes_xyxy.copy()
    boxes[int(split.box_offsets[2])] = [50, 50, 10, 60]
    with pytest.raises(UserError, match=f"image '{split.image_ids[2]}': ground-truth box"):
        split_boxes(split.replace(boxes_xyxy=boxes), np.array([0, 1, 2, 3]), Frame.of("resize", 224))


def test_split_boxes_equals_one_image_at_a_time() -> None:
    split = boxed_split(30, seed=3)
    rows = np.array([4, 2, 29, 0])
    frame = Frame.of("resize", 224)
    boxes, offsets = split_boxes(split, rows, frame)
    for i, row in enumerate(rows):
        one = frame.boxes(split.boxes(int(row)), split.size_wh(int(row)), "x")  # type: ignore[arg-type]
        np.testing.assert_array_equal(boxes[offsets[i] : offsets[i + 1]], one)


def test_no_boxes_and_unknown_sizes() -> None:
    bare = Split.from_samples([Sample("a", "a", 0)])
    boxes, offsets = split_boxes(bare, np.array([0]), Frame.of("resize", 224))
    assert boxes.shape == (0, 4)
    assert offsets.tolist() == [0, 0]
    unsized = Split.from_samples([Sample("b.jpg", "b.jpg", 0, None, np.array([[0.0, 0, 1, 1]]))])
    with pytest.raises(UserError, match=r"b\.jpg.*width and height"):
        split_boxes(unsized, np.array([0]), Frame.of("resize", 224))


def test_boxes_in_a_crop_are_truncated_once() -> None:
    """x = 100.9 of 256 lies at 84.9 of the crop; truncated in between as well, an input of 64 pixels gave 84 or 80."""
    frame = Frame.of("center-crop", 224)
    assert frame.boxes(np.array([[100.9, 50.4, 120.0, 90.0]]), (256, 256), "a").tolist() == [
        [84, 34, 104, 74]
    ]
    small = Frame.of("center-crop", 224, 64)
    x = 30.9 / 73  # as a share of the image
    expected = int((30.9 - 4) * 224 / 64)
    found = small.boxes(np.array([[x * 500, 0, 500, 500]]), (500, 500), "a")[0, 0]
    assert (found, expected) == (94, 94), "truncated at 30 first it would be 91"
