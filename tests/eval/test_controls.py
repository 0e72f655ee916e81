"""Controls scored without maps on disk equal the same maps scored like anybody's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from eval.boxes.best_iou import best_iou_per_level
from eval.boxes.frames import Frame
from eval.maps.center_gaussian import center_gaussian
from eval.maps.normalization import normalize, quantize
from eval.protocols import PROTOCOLS, Channel
from eval.records.controls import ControlRecords
from tests.helpers.map_folders import boxed_split
from wsol.manifest import Manifest

CHANNEL = PROTOCOLS["maxboxacc"].channel


@pytest.mark.parametrize("normalization", ["minmax", "max", "ivr"])
def test_gaussian_records_equal_the_kernel(normalization: str) -> None:
    split = boxed_split(9, seed=11)
    manifest = Manifest("toy", ("a", "b", "c"), {"test": split})
    channel = Channel("resize", 224, normalization)
    (block,) = ControlRecords("center_gaussian", manifest, split, "test", [channel]).blocks()
    u = quantize(normalize(center_gaussian(224), normalization)[0])
    frame = Frame.of("resize", 224)
    for i in range(len(split)):
        gt = frame.boxes(split.boxes(i), split.size_wh(i), "x")  # type: ignore[arg-type]
        expected = best_iou_per_level(u, gt)
        for contours in ("largest", "all"):
            for gt_boxes in ("any", "first"):
                ours = block.channel(channel).iou(contours, gt_boxes)[i]
                np.testing.assert_array_equal(
                    ours, getattr(expected, f"{contours}_{gt_boxes}").astype(np.float32)
                )
    np.testing.assert_array_equal(block.channel(channel).largest_box[0], expected.largest_box)


@pytest.mark.parametrize("input_size", [64, 224])
def test_a_crop_is_that_of_the_network_beside_which_the_control_stands(input_size: int) -> None:
    # an input of 64 px comes from 73 px, of 224 px from 256: 4 / 64 of the crop lie left of it, or 16 / 224
    split = boxed_split(9, seed=11)
    manifest = Manifest("toy", ("a", "b", "c"), {"test": split})
    channel = Channel("center-crop", 224, "max")
    records = ControlRecords("center_gaussian", manifest, split, "test", [channel], input_size=input_size)
    (block,) = records.blocks()
    u = quantize(normalize(center_gaussian(224), "max")[0])
    frame = Frame.of("center-crop", 224, input_size)
    for i in range(len(split)):
        gt = frame.boxes(split.boxes(i), split.size_wh(i), "x")  # type: ignore[arg-type]
        np.testing.assert_array_equal(
            block.channel(channel).iou("largest", "any")[i],
            best_iou_per_level(u, gt).largest_any.astype(np.float32),
        )


def test_gaussian_peaks_off_pixel_centres_at_the_frames_middle() -> None:
    m = center_gaussian(224)
    assert m[112, 112] == 1.0
    np.testing.assert_allclose(m[112, 112 + 56], np.exp(-0.5))


def test_full_image_box_ignores_thresholds(tmp_path: Path) -> None:
    split = boxed_split(5)
    manifest = Manifest("toy", ("a", "b", "c"), {"test": split})
    (block,) = ControlRecords("full_image", manifest, split, "test", [CHANNEL]).blocks()
    iou = block.channel(CHANNEL).iou("largest", "any")
    assert (iou == iou[:, :1]).all()
    assert block.channel(CHANNEL).largest_box[0, 0].tolist() == [0, 0, 223, 223]
