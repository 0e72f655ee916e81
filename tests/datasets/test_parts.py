"""The embedded dataset's pictures: exact truth, independence, knobs that do what they say."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, replace

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wsol.datasets import parts_scene, parts_textures
from wsol.datasets.parts import (
    PART_NAMES,
    PartsConfig,
    Rendered,
    config_hash,
    load_textures,
    render,
)
from wsol.datasets.parts_config import HEAD, MAX_CLASSES, class_look
from wsol.datasets.parts_creature import Anatomy, Pose, build_creature, polygon_area
from wsol.datasets.parts_paint import paint, tight_box
from wsol.datasets.parts_scene import draw_scene
from wsol.datasets.parts_textures import COATS, GROUNDS
from wsol.errors import UserError
from wsol.manifest import SPLIT_ROLES

SMALL = PartsConfig(num_classes=3, image_size=32, train_per_class=3, val_per_class=1, test_per_class=2)


def shown(index: int = 0, role: str = "test", **knobs: object) -> Rendered:
    return render(replace(PartsConfig(), **knobs), role, index, load_textures())  # type: ignore[arg-type]


def same(a: Rendered, b: Rendered) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(asdict(a).values(), asdict(b).values()))


# --- vocabulary and geometry, by hand ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "look"),
    [
        pytest.param(0, ("target", ("red", "yellow")), id="first"),
        pytest.param(3, ("spots", ("red", "yellow")), id="last-of-first-pair"),
        pytest.param(4, ("target", ("yellow", "blue")), id="next-pair"),
        pytest.param(23, ("spots", ("purple", "green")), id="last"),
    ],
)
def test_class_look(label: int, look: tuple[str, tuple[str, str]]) -> None:
    assert class_look(label) == look


def test_no_pattern_and_no_colour_decides_a_class_alone() -> None:
    looks = [class_look(label) for label in range(12)]
    assert len(set(looks)) == 12
    assert set(Counter(pattern for pattern, _ in looks).values()) == {3}
    assert set(Counter(colour for _, pair in looks for colour in pair).values()) == {8}
    assert len({class_look(label) for label in range(MAX_CLASSES)}) == MAX_CLASSES


def test_class_names_are_unique_and_fit_for_folders() -> None:
    names = PartsConfig(num_classes=MAX_CLASSES).classes
    assert names[5] == "bars_yellow_blue"
    assert len(set(names)) == MAX_CLASSES
    assert all(name.replace("_", "").isalpha() and name.islower() for name in names)


@pytest.mark.parametrize(
    ("pixels", "box"),
    [
        pytest.param([(0, 0)], (0, 0, 1, 1), id="one-pixel"),
        pytest.param([(2, 1), (1, 3)], (1, 1, 4, 3), id="two-corners"),
        pytest.param([(r, c) for r in range(4) for c in range(5)], (0, 0, 5, 4), id="whole-picture"),
    ],
)
def test_tight_box(pixels: list[tuple[int, int]], box: tuple[int, int, int, int]) -> None:
    mask = np.zeros((4, 5), bool)
    for row, column in pixels:
        mask[row, column] = True
    assert tight_box(mask) == box


@pytest.mark.parametrize("pattern", ["target", "bars", "halves", "spots"])
def test_marks_lie_on_the_head_and_cover_about_half_of_it(pattern: str) -> None:
    anatomy = Anatomy(0.5, 0.4, 0.12, 0.2, 0.3, head_radius=1.0)
    creature = build_creature(anatomy, Pose(0, (0,) * 4, (0,) * 4, 0.3, 0, 0, 0), pattern)  # type: ignore[arg-type]
    centre = creature.landmarks[HEAD - 1]
    (skin,) = (p.outline for p in creature.pieces if p.material == "colour_a")
    marks = [p.outline for p in creature.pieces if p.material == "colour_b"]
    assert all(np.hypot(*(mark - centre).T).max() <= 1 + 1e-9 for mark in marks)
    assert 0.4 <= sum(map(polygon_area, marks)) / polygon_area(skin) <= 0.6


# --- one picture ----------------------------------------------------------------------------------------------------


def check_truth(picture: Rendered, config: PartsConfig) -> None:
    size = config.image_size
    assert picture.image.shape == (size, size, 3)
    assert {a.dtype for a in (picture.image, picture.mask, picture.part_mask, picture.object_ids)} == {
        np.dtype(np.uint8)
    }
    assert set(np.unique(picture.mask)) <= {0, 255}
    np.testing.assert_array_equal(picture.mask > 0, picture.part_mask > 0)
    np.testing.assert_array_equal(picture.mask > 0, picture.object_ids > 0)
    assert picture.part_mask.max() <= len(PART_NAMES)
    assert len(picture.boxes_xyxy) == len(picture.coats) == config.num_objects
    for object_id, (x0, y0, x1, y1) in enumerate(picture.boxes_xyxy.tolist(), start=1):
        rows, columns = np.nonzero(picture.object_ids == object_id)
        assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (x0, y0, x1, y1)
        assert HEAD in picture.part_mask[picture.object_ids == object_id]
    assert picture.parts.shape == (len(PART_NAMES), 3)
    for part, (x, y, visible) in enumerate(picture.parts.tolist(), start=1):
        assert visible in (0.0, 1.0)
        if visible:
            assert 0 <= x < size
            assert 0 <= y < size
            assert picture.part_mask[int(y), int(x)] == part
            assert picture.object_ids[int(y), int(x)] == 1


@given(
    config=st.builds(
        PartsConfig,
        seed=st.integers(0, 2**32),
        num_classes=st.integers(2, MAX_CLASSES),
        image_size=st.integers(32, 80),
        deciding_part_scale=st.floats(0.5, 2.0),
        body_cue=st.floats(0, 1),
        background_correlation=st.floats(0, 1),
        num_objects=st.integers(1, 3),
        max_distractors=st.integers(0, 8),
        occlusion=st.floats(0, 1),
    ),
    role=st.sampled_from(SPLIT_ROLES),
    index=st.integers(0, 39),
)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_truth_is_exact_whatever_the_knobs(config: PartsConfig, role: str, index: int) -> None:
    picture = render(config, role, index, load_textures())
    check_truth(picture, config)
    assert picture.label == index % config.num_classes


@pytest.mark.parametrize("size", [64, 96, 128])
def test_pictures_come_in_the_usual_sizes(size: int) -> None:
    config = PartsConfig(image_size=size)
    check_truth(render(config, "test", 4, load_textures()), config)


def test_the_largest_picture() -> None:
    config = PartsConfig(image_size=512, num_objects=3)
    check_truth(render(config, "test", 4, load_textures()), config)


def test_a_picture_depends_on_its_place_alone() -> None:
    forward = [shown(i) for i in range(6)]
    backward = [shown(i) for i in reversed(range(6))][::-1]
    assert all(same(a, b) for a, b in zip(forward, backward))
    # A longer dataset begins like a shorter one.
    assert same(forward[3], shown(3, test_per_class=500))


@pytest.mark.parametrize(
    "other",
    [
        pytest.param({"index": 12}, id="next-of-the-class"),
        pytest.param({"role": "train-weaksup"}, id="other-split"),
        pytest.param({"seed": 1}, id="other-seed"),
    ],
)
def test_pictures_differ(other: dict[str, int]) -> None:
    assert not np.array_equal(shown(**other).image, shown().image)  # type: ignore[arg-type]


def test_the_same_scene_at_another_size() -> None:
    small, large = (
        np.stack([shown(i, image_size=s).boxes_xyxy[0] / s for i in range(20)]) for s in (64, 128)
    )
    assert np.median(np.abs(small - large)) < 1 / 64


def test_only_the_head_tells_the_class_apart() -> None:
    config = PartsConfig(body_cue=0.0)

    def of_class(label: int, attempt_seed: int) -> Rendered:
        stream = np.random.default_rng(attempt_seed)
        return paint(parts_scene._draw_attempt(config, label, stream, 0), load_textures())

    for seed in range(5):
        one, two = of_class(0, seed), of_class(7, seed)
        np.testing.assert_array_equal(one.part_mask, two.part_mask)
        near_head = cv2.dilate((one.part_mask == HEAD).astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
        np.testing.assert_array_equal(one.image[~near_head], two.image[~near_head])
        assert (one.image[near_head] != two.image[near_head]).any()


def test_pictures_are_photographic_not_flat() -> None:
    # Mean absolute difference of neighbouring pixels: 0 for flat colour, above 40 for white noise.
    steps = [np.abs(np.diff(shown(i).image.astype(float), axis=1)).mean() for i in range(24)]
    assert 4 < np.mean(steps) < 25


@pytest.mark.parametrize(
    ("role", "index", "error"),
    [
        pytest.param("val", 0, UserError, id="unknown-role"),
        pytest.param("test", 600, IndexError, id="past-the-end"),
        pytest.param("test", -1, IndexError, id="negative"),
    ],
)
def test_render_refuses(role: str, index: int, error: type[Exception]) -> None:
    with pytest.raises(error):
        render(PartsConfig(), role, index, load_textures())


# --- knobs ----------------------------------------------------------------------------------------------------------


def scenes(count: int = 96, **knobs: object) -> list[parts_scene.Scene]:
    config = replace(PartsConfig(), **knobs)  # type: ignore[arg-type]
    return [draw_scene(config, "train-weaksup", i) for i in range(count)]


def test_full_background_correlation_makes_the_ground_a_function_of_the_class() -> None:
    ground_of = {(s.label, s.ground) for s in scenes(background_correlation=1.0)}
    assert len(ground_of) == 12 == len({ground for _, ground in ground_of})


def test_no_background_correlation_leaves_the_ground_free() -> None:
    seen = scenes(192, background_correlation=0.0)
    assert {s.ground for s in seen} == set(GROUNDS)
    agree = np.mean([s.ground == tuple(GROUNDS)[s.label] for s in seen])
    assert agree < 0.16  # 1/16 expected


def test_body_cue_is_the_share_of_favourite_coats() -> None:
    assert {(s.label, s.coats) for s in scenes(body_cue=1.0)} == {(k, (c,)) for k, c in enumerate(COATS)}
    share = {
        cue: np.mean([s.coats[0] == tuple(COATS)[s.label] for s in scenes(192, body_cue=cue)])
        for cue in (0.0, 0.5)
    }
    assert share[0.0] < 0.17  # 1/12 expected
    assert 0.42 < share[0.5] < 0.66  # 0.5 + 0.5/12 expected


def test_deciding_part_scale_sizes_the_head() -> None:
    area = {
        scale: np.mean([(shown(i, deciding_part_scale=scale).part_mask == HEAD).mean() for i in range(24)])
        for scale in (0.5, 1.0, 2.0)
    }
    # The object keeps its extent, so a doubled head also shrinks the rest: less than four times the area.
    assert 2.5 < area[1.0] / area[0.5] < 4
    assert 2 < area[2.0] / area[1.0] < 4


def test_the_deciding_part_is_small_and_the_object_is_not() -> None:
    pictures = [shown(i) for i in range(60)]
    head = np.mean([(p.part_mask == HEAD).mean() for p in pictures])
    whole = np.mean([(p.mask > 0).mean() for p in pictures])
    assert 0.01 < head < 0.05
    assert 3 < whole / head < 8


def test_occlusion_hides_some_of_the_object() -> None:
    free, hidden = (np.mean([(shown(i, occlusion=p).mask > 0).mean() for i in range(40)]) for p in (0.0, 1.0))
    assert 0.6 * free < hidden < 0.97 * free


def test_distractors_are_no_objects() -> None:
    bare, crowded = (scenes(24, max_distractors=n, occlusion=0.0) for n in (0, 8))
    assert all(layer.object_id or layer.is_floor for s in bare for layer in s.layers)
    things = [sum(not (layer.object_id or layer.is_floor) for layer in s.layers) for s in crowded]
    assert np.mean(things) > 4
    assert all(layer.part == 0 for s in crowded for layer in s.layers if not layer.object_id)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_every_object_has_a_box_and_shows_its_head(count: int) -> None:
    config = PartsConfig(num_objects=count, occlusion=1.0, max_distractors=8)
    for index in range(30):
        check_truth(render(config, "test", index, load_textures()), config)


@pytest.mark.parametrize(
    "knob",
    [
        {"seed": -1},
        {"num_classes": 1},
        {"num_classes": MAX_CLASSES + 1},
        {"num_classes": 12.0},
        {"image_size": 16},
        {"image_size": True},
        {"train_per_class": 0},
        {"deciding_part_scale": 0.1},
        {"body_cue": 1.5},
        {"body_cue": "much"},
        {"background_correlation": float("nan")},
        {"num_objects": 4},
        {"max_distractors": -1},
        {"occlusion": -0.1},
    ],
    ids=str,
)
def test_a_bad_knob_is_refused_by_name(knob: dict[str, object]) -> None:
    with pytest.raises(UserError, match=f"parts: {next(iter(knob))} must be"):
        PartsConfig(**knob)  # type: ignore[arg-type]


def test_equal_knobs_have_equal_hashes() -> None:
    assert config_hash(PartsConfig(body_cue=1)) == config_hash(PartsConfig(body_cue=1.0))
    assert config_hash(PartsConfig(body_cue=0.5)) != config_hash(PartsConfig(body_cue=0.25))


# --- textures -------------------------------------------------------------------------------------------------------


def test_textures_need_no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a texture was looked for on the network")

    monkeypatch.setattr("socket.socket.connect", refuse)
    textures = parts_textures.load_textures.__wrapped__()
    assert (len(textures.grounds), len(textures.coats)) == (len(GROUNDS), len(COATS))
    assert all(pyramid[0].std() > 8 for pyramid in (*textures.grounds, *textures.coats))
    assert all(min(pyramid[0].shape[:2]) >= 100 for pyramid in textures.grounds)


def test_a_missing_photograph_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(parts_textures.GROUNDS, "lawn", parts_textures.Ground("no_such.png"))
    with pytest.raises(UserError, match=r"no_such\.png"):
        parts_textures.load_textures.__wrapped__()
