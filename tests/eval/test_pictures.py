"""Pictures: where boxes and colours land, and that a montage of odd captions is written whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from eval.pictures.montage import Panel, write_montage
from eval.pictures.overlay import PREDICTED_COLOUR, TRUE_COLOUR, coloured, draw_boxes, overlay


def test_where_the_score_is_zero_the_photograph_stays_as_it_is() -> None:
    image = np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    score = np.zeros((6, 8), np.uint8)
    score[2, 3] = 255
    mixed = overlay(image, score)
    untouched = np.ones((6, 8), bool)
    untouched[2, 3] = False
    assert (mixed[untouched] == image[untouched]).all()
    expected = 0.25 * image[2, 3] + 0.75 * coloured(score)[2, 3]
    assert np.abs(mixed[2, 3] - expected).max() <= 0.5


def test_the_colour_scale_is_matplotlibs_inferno() -> None:
    from matplotlib import colormaps

    ramp = np.arange(256, dtype=np.uint8)[None]
    expected = np.rint(255 * colormaps["inferno"](np.arange(256))[:, :3])
    assert np.abs(coloured(ramp)[0].astype(int) - expected).max() <= 1


def test_a_box_covers_its_pixels_up_to_the_exclusive_end() -> None:
    picture = Image.new("RGB", (20, 20))
    draw_boxes(picture, np.array([[3, 4, 10, 12]]), TRUE_COLOUR, width=1)
    white = (np.asarray(picture) == 255).all(-1)
    assert np.argwhere(white).min(0).tolist() == [4, 3]
    assert np.argwhere(white).max(0).tolist() == [11, 9]
    assert not white[5:11, 4:9].any()


def test_boxes_beyond_the_picture_are_drawn_at_its_edge() -> None:
    picture = Image.new("RGB", (10, 10))
    draw_boxes(picture, np.array([[-5, -5, 30, 30], [12, 12, 14, 14]]), PREDICTED_COLOUR, dashed=True)
    assert (np.asarray(picture)[0, 0] == PREDICTED_COLOUR).all()


def test_a_montage_of_odd_captions(tmp_path: Path) -> None:
    image, score = np.zeros((32, 32, 3), np.uint8), np.zeros((224, 224), np.uint8)
    boxes = np.array([[0, 0, 112, 112]])
    panels = [
        Panel(image, score, boxes, boxes, caption) for caption in ("", "a\x00b $x$", "x" * 300, "a\nb\nc")
    ]
    file = write_montage(panels, tmp_path / "new" / "m.png", "title", columns=3)
    with Image.open(file) as picture:
        assert picture.size[0] == 3 * 234 + 10
    assert [p.name for p in file.parent.iterdir()] == ["m.png"]
