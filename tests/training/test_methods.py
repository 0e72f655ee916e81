"""Methods: hand-made goldens, torchvision as the oracle, and properties over random settings."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import FrozenInstanceError

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy
from torchvision.transforms import v2

from wsol.errors import UserError
from wsol.methods import (
    METHODS,
    CutMix,
    Cutout,
    HaS,
    MixedBatch,
    Mixup,
    method_from_dict,
    mixed_cross_entropy,
    soft_targets,
)
from wsol.methods.cutmix_box import BoxDraw, clipped_box, kept_share
from wsol.methods.cutout import CutoutDraw
from wsol.methods.has import HaSDraw
from wsol.methods.mixup import MixupDraw

NUM_CLASSES = 7
PLAIN = (
    "vanilla",
    "cutmix",
    "mixup",
    "cutout",
    "has",
)  # the others: test_mixing_methods.py, test_architectures.py


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def make_batch(n: int, size_hw: tuple[int, int], seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Images whose values lie in [1, 2), so that a fill of 0 always shows, and random labels."""
    generator = seeded(seed)
    images = torch.rand((n, 3, *size_hw), generator=generator) + 1.0
    return images, torch.randint(NUM_CLASSES, (n,), generator=generator)


def numbered(n: int, size_hw: tuple[int, int]) -> torch.Tensor:
    """Images whose every value is their index plus 1: any mixing shows."""
    return torch.arange(1.0, n + 1)[:, None, None, None].expand(n, 3, *size_hw).clone()


sizes_hw = st.tuples(st.integers(4, 40), st.integers(4, 40))
methods = st.one_of(
    st.just(METHODS["vanilla"]()),
    st.builds(CutMix, st.floats(0.05, 8), st.floats(0, 1), st.booleans()),
    st.builds(Mixup, st.floats(0.05, 8), st.floats(0, 1)),
    st.builds(Cutout, st.floats(0, 1), st.none() | st.integers(1, 60), st.floats(0, 1)),
    st.builds(HaS, st.integers(1, 4), st.floats(0, 1)),
)


# ---- goldens -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size_hw", "lam", "centre_xy", "box", "kept"),
    [
        pytest.param((8, 8), 1.0, (4, 4), (0, 0, 0, 0), 1.0, id="lambda 1 pastes nothing"),
        pytest.param((8, 8), 0.99, (4, 4), (0, 0, 0, 0), 1.0, id="side below two pixels is empty"),
        pytest.param((8, 8), 0.0, (4, 4), (0, 0, 8, 8), 0.0, id="lambda 0 at the centre is the whole image"),
        pytest.param((8, 8), 0.75, (4, 4), (2, 2, 6, 6), 0.75, id="inside: lambda kept"),
        pytest.param((8, 8), 0.75, (0, 0), (0, 0, 2, 2), 1 - 4 / 64, id="clipped at a corner to a quarter"),
        pytest.param((8, 8), 0.75, (7, 7), (5, 5, 8, 8), 1 - 9 / 64, id="last pixel: the end stays inside"),
        pytest.param((4, 8), 0.75, (4, 2), (2, 1, 6, 3), 0.75, id="width and height not swapped"),
        pytest.param((6, 6), 0.5, (3, 3), (1, 1, 5, 5), 1 - 16 / 36, id="int(6 * 0.707) = 4"),
        pytest.param(
            (7, 7), 0.0, (3, 3), (0, 0, 6, 6), 1 - 36 / 49, id="odd side loses a pixel, as the paper's code"
        ),
    ],
)
def test_cutmix_box_and_its_lambda(size_hw, lam, centre_xy, box, kept):
    assert clipped_box(size_hw, lam, centre_xy) == box
    assert kept_share(box, size_hw) == pytest.approx(kept, abs=1e-12)


def test_cutmix_pastes_the_partner_inside_the_box_only():
    images, labels = numbered(3, (4, 4)), torch.tensor([0, 1, 2])
    draw = BoxDraw(torch.tensor([2, 0, 1]), ((1, 0, 3, 2),), (0.75,))
    mixed = CutMix().apply(images, labels, draw)
    assert mixed.images[0, 0].tolist() == [[1, 3, 3, 1], [1, 3, 3, 1], [1, 1, 1, 1], [1, 1, 1, 1]]
    assert mixed.images[1, 2].tolist() == [[2, 1, 1, 2], [2, 1, 1, 2], [2, 2, 2, 2], [2, 2, 2, 2]]
    assert mixed.lam == 0.75
    assert mixed.labels_a.tolist() == [0, 1, 2]
    assert mixed.labels_b.tolist() == [2, 0, 1]


def test_cutmix_per_sample_gives_each_image_its_own_box():
    images, labels = numbered(2, (2, 2)), torch.tensor([3, 4])
    draw = BoxDraw(torch.tensor([1, 0]), ((0, 0, 1, 2), (0, 0, 0, 0)), (0.5, 1.0))
    mixed = CutMix(per_sample=True).apply(images, labels, draw)
    assert mixed.images[:, 1].tolist() == [[[2, 1], [2, 1]], [[2, 2], [2, 2]]]
    assert torch.equal(mixed.lam, torch.tensor([0.5, 1.0]))
    assert soft_targets(mixed, 5).tolist() == [[0, 0, 0, 0.5, 0.5], [0, 0, 0, 0, 1.0]]


def test_mixup_blends_images_and_labels():
    images, labels = numbered(2, (2, 2)), torch.tensor([0, 1])
    mixed = Mixup().apply(images, labels, MixupDraw(torch.tensor([1, 0]), 0.75))
    assert mixed.images[:, 0, 0, 0].tolist() == [1.25, 1.75]
    assert soft_targets(mixed, 2).tolist() == [[0.75, 0.25], [0.25, 0.75]]


def test_cutout_fills_the_box_with_the_mean_and_keeps_the_label():
    images, labels = numbered(2, (3, 3)), torch.tensor([0, 1])
    mixed = Cutout().apply(images, labels, CutoutDraw(torch.tensor([[1, 0, 3, 1], [0, 0, 0, 0]])))
    assert mixed.images[0, 1].tolist() == [[1, 0, 0], [1, 1, 1], [1, 1, 1]]
    assert torch.equal(mixed.images[1], images[1])
    assert mixed.lam == 1.0
    assert torch.equal(mixed.labels_a, labels)


def test_has_hides_cells_of_the_grid():
    images, labels = numbered(1, (4, 6)), torch.tensor([0])
    draw = HaSDraw(torch.tensor([[[True, False], [False, True]]]))
    mixed = HaS(grid=2).apply(images, labels, draw)
    assert mixed.images[0, 0].tolist() == [[0, 0, 0, 1, 1, 1]] * 2 + [[1, 1, 1, 0, 0, 0]] * 2


def test_has_cells_cover_an_image_that_the_grid_does_not_divide():
    images, labels = numbered(1, (7, 7)), torch.tensor([0])
    mixed = HaS(grid=3, prob=1.0).apply(images, labels, HaSDraw(torch.ones((1, 3, 3), dtype=torch.bool)))
    assert not mixed.images.any()


def test_has_cells_in_pixels_begin_at_the_top_left_as_in_the_reference():
    """Choe et al.'s loop: cells [0, 3), [3, 6), [6, 7) along each side; size 0 hides nothing."""
    draw = HaS(cell_px=(3,), prob=0.5).draw(200, (7, 7), seeded(0))
    corners = draw.hidden[:, [0, 3, 6]][:, :, [0, 3, 6]]
    sides = torch.tensor([3, 3, 1])
    assert torch.equal(draw.hidden, corners.repeat_interleave(sides, 1).repeat_interleave(sides, 2))
    assert corners.double().mean().item() == pytest.approx(0.5, abs=0.05)
    drawn = HaS(cell_px=(0, 7), prob=1.0).draw(400, (7, 7), seeded(0)).hidden
    assert drawn.all((1, 2)).double().mean().item() == pytest.approx(0.5, abs=0.1)
    assert drawn.any((1, 2)).sum() == drawn.all((1, 2)).sum()
    images, labels = numbered(1, (4, 4)), torch.tensor([0])
    pixels = torch.zeros(1, 4, 4, dtype=torch.bool)
    pixels[0, :3, 3] = True
    mixed = HaS(cell_px=(3,)).apply(images, labels, HaSDraw(pixels))
    assert mixed.images[0, 2].tolist() == [[1, 1, 1, 0]] * 3 + [[1, 1, 1, 1]]


def test_mixed_cross_entropy_golden():
    logits = torch.tensor([[2.0, 0.0]])
    mixed = MixedBatch(torch.zeros(1, 3, 2, 2), torch.tensor([0]), torch.tensor([1]), 0.75)
    # CE(0) = log(1 + e^-2) = 0.126928, CE(1) = 2.126928
    assert mixed_cross_entropy(logits, mixed).item() == pytest.approx(
        0.75 * 0.126928 + 0.25 * 2.126928, abs=1e-6
    )


# ---- oracles -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("alpha", "pasted"),
    [(0.1, 0.288), (0.25, 0.298), (0.5, 0.308), (1.0, 0.318), (2.0, 0.325), (4.0, 0.330)],
)
def test_cutmix_mean_pasted_area_is_the_published_one(alpha, pasted):
    """PROTOCOLS.md, trap 6. 160,000 draws: the standard error is below 0.0007."""
    draw = CutMix(alpha=alpha, per_sample=True).draw(160_000, (224, 224), seeded(5))
    assert 1.0 - sum(draw.lam) / len(draw.lam) == pytest.approx(pasted, abs=0.002)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("size_hw", [(32, 32), (17, 40)])
def test_cutmix_equals_torchvision_for_the_same_box_and_pairing(seed, size_hw, monkeypatch):
    images, labels = make_batch(6, size_hw, seed)
    ours = CutMix()
    drawn = ours.draw(6, size_hw, seeded(seed))
    rolled = BoxDraw(torch.arange(6).roll(1), drawn.boxes_xyxy, drawn.lam)  # torchvision pairs neighbours
    mixed = ours.apply(images, labels, rolled)
    theirs = v2.CutMix(num_classes=NUM_CLASSES)
    params = {"box": drawn.boxes_xyxy[0], "lam_adjusted": drawn.lam[0]}
    monkeypatch.setattr(theirs, "make_params", lambda flat_inputs: params)
    images_v2, targets_v2 = theirs(images, labels)
    assert torch.equal(mixed.images, images_v2)
    torch.testing.assert_close(soft_targets(mixed, NUM_CLASSES), targets_v2, rtol=0, atol=1e-7)


def test_cutmix_draws_the_box_that_torchvision_draws(monkeypatch):
    """Same lambda and centre, so the same clipped box: the geometry, apart from either's random numbers."""
    for lam, x, y in [(0.3, 5, 30), (0.9, 0, 0), (0.02, 63, 47), (0.5, 31, 20)]:
        theirs = v2.CutMix(num_classes=2)
        monkeypatch.setattr(
            theirs._dist, "sample", lambda shape, lam=lam: torch.tensor([lam], dtype=torch.float64)
        )
        values = iter([x, y])
        with monkeypatch.context() as patch:
            patch.setattr(torch, "randint", lambda *a, values=values, **k: torch.tensor([next(values)]))
            params = theirs.make_params([torch.zeros(2, 3, 48, 64)])
        box = clipped_box((48, 64), lam, (x, y))
        assert box == params["box"]
        assert kept_share(box, (48, 64)) == pytest.approx(params["lam_adjusted"], abs=1e-12)


def test_mixup_equals_torchvision_for_the_same_lambda_and_pairing(monkeypatch):
    images, labels = make_batch(5, (8, 8))
    mixed = Mixup().apply(images, labels, MixupDraw(torch.arange(5).roll(1), 0.3))
    theirs = v2.MixUp(num_classes=NUM_CLASSES)
    monkeypatch.setattr(theirs, "make_params", lambda flat_inputs: {"lam": 0.3})
    images_v2, targets_v2 = theirs(images, labels)
    torch.testing.assert_close(mixed.images, images_v2)
    torch.testing.assert_close(soft_targets(mixed, NUM_CLASSES), targets_v2)


def test_cutout_hides_the_expected_share():
    """Half a side around a uniform centre keeps 7/16 of a side inside the image, on average."""
    boxes = Cutout(side=0.5).draw(100_000, (224, 224), seeded(1)).boxes_xyxy.double()
    share = ((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])).mean().item() / 224**2
    assert share == pytest.approx((7 / 16) ** 2, abs=0.002)


@pytest.mark.parametrize("size_hw", [(16, 160), (160, 16)], ids=["wide", "tall"])
@pytest.mark.parametrize("method", [CutMix(per_sample=True), Cutout(side=0.5)], ids=repr)
def test_centres_are_uniform_over_images_that_are_not_square(method, size_hw):
    boxes = torch.as_tensor(method.draw(20_000, size_hw, seeded(4)).boxes_xyxy)
    boxes = boxes[boxes[:, 2] > 0]
    height, width = size_hw
    assert boxes[:, 0].min() == boxes[:, 1].min() == 0
    assert (boxes[:, 2].max().item(), boxes[:, 3].max().item()) == (width, height)
    middle_xy = (boxes[:, :2] + boxes[:, 2:]).double().mean(0) / 2
    assert middle_xy[0].item() == pytest.approx((width - 1) / 2, abs=0.02 * width)
    assert middle_xy[1].item() == pytest.approx((height - 1) / 2, abs=0.02 * height + 0.5)


@pytest.mark.parametrize("prob", [0.0, 0.3, 1.0])
def test_probabilities_are_kept(prob):
    n = 20_000
    cutmix = CutMix(prob=prob, per_sample=True).draw(n, (64, 64), seeded(2))
    always = CutMix(prob=1.0, per_sample=True).draw(n, (64, 64), seeded(2))
    share_of_empty = sum(lam == 1.0 for lam in always.lam) / n
    mixed = sum(lam < 1.0 for lam in cutmix.lam) / n
    assert mixed == pytest.approx(prob * (1 - share_of_empty), abs=0.015)
    hidden = HaS(grid=4, prob=prob).draw(n // 16, (64, 64), seeded(2)).hidden
    assert hidden.double().mean().item() == pytest.approx(prob, abs=0.015)
    cut = Cutout(prob=prob).draw(n, (64, 64), seeded(2)).boxes_xyxy
    assert (cut[:, 2] > 0).double().mean().item() == pytest.approx(prob, abs=0.015)


# ---- properties ----------------------------------------------------------------------------------


@settings(max_examples=120, deadline=None)
@given(methods, st.integers(1, 5), sizes_hw, st.integers(0, 2**31))
def test_every_method_keeps_its_contract(method, n, size_hw, seed):
    images, labels = make_batch(n, size_hw, seed)
    before, labels_before = images.clone(), labels.clone()
    torch.manual_seed(seed + 1)
    global_before = torch.get_rng_state()
    draw = method.draw(n, size_hw, seeded(seed))
    mixed = method.apply(images, labels, draw)
    again = method.apply(images, labels, method.draw(n, size_hw, seeded(seed)))

    assert torch.equal(torch.get_rng_state(), global_before), "the global generator must stay untouched"
    assert torch.equal(images, before), "images mutated"
    assert torch.equal(labels, labels_before), "labels mutated"
    assert torch.equal(mixed.images, again.images), "same generator state, same result"
    assert mixed.images.shape == images.shape
    assert mixed.images.dtype == images.dtype
    lam = torch.as_tensor(mixed.lam)
    assert ((lam >= 0) & (lam <= 1)).all()
    targets = soft_targets(mixed, NUM_CLASSES)
    torch.testing.assert_close(targets.sum(1), torch.ones(n))
    assert (targets >= 0).all()
    logits = torch.randn((n, NUM_CLASSES), generator=seeded(seed))
    torch.testing.assert_close(mixed_cross_entropy(logits, mixed), cross_entropy(logits, targets))
    assert method_from_dict(method.to_dict()) == method


@settings(max_examples=80, deadline=None)
@given(st.floats(0.05, 8), st.booleans(), st.integers(1, 4), sizes_hw, st.integers(0, 2**31))
def test_cutmix_leaves_the_outside_alone_and_counts_its_pixels(alpha, per_sample, n, size_hw, seed):
    images, labels = make_batch(n, size_hw, seed)
    method = CutMix(alpha, 1.0, per_sample)
    draw = method.draw(n, size_hw, seeded(seed))
    mixed = method.apply(images, labels, draw)
    for i in range(n):
        x0, y0, x1, y1 = draw.boxes_xyxy[i if per_sample else 0]
        expected = images[i].clone()  # the naive loop, one image at a time
        for y in range(y0, y1):
            expected[:, y, x0:x1] = images[draw.permutation[i], :, y, x0:x1]
        assert torch.equal(mixed.images[i], expected)
        lam = draw.lam[i if per_sample else 0]
        assert lam == pytest.approx(1 - (x1 - x0) * (y1 - y0) / (size_hw[0] * size_hw[1]), abs=1e-12)
        assert (lam == 1.0) == ((x0, y0, x1, y1) == (0, 0, 0, 0))
    assert sorted(draw.permutation.tolist()) == list(range(n))


def test_an_empty_box_gives_lambda_one_and_whole_labels():
    images, labels = make_batch(3, (8, 8))
    mixed = CutMix(prob=0.0).apply(images, labels, CutMix(prob=0.0).draw(3, (8, 8), seeded(0)))
    assert mixed.lam == 1.0
    assert torch.equal(mixed.images, images)
    assert torch.equal(mixed.labels_a, mixed.labels_b)


def test_every_draw_takes_one_number_from_the_generator():
    """So the random numbers stay in step whatever the method, its settings and the batch size are."""
    states = []
    for cls in [METHODS[name] for name in PLAIN]:
        for n in (1, 9):
            generator = seeded(3)
            cls().draw(n, (32, 32), generator)
            states.append(generator.get_state())
    assert all(torch.equal(state, states[0]) for state in states)


@pytest.mark.parametrize("method", [*(METHODS[name]() for name in PLAIN), CutMix(per_sample=True)], ids=repr)
def test_memory_format_is_kept(method):
    images, labels = make_batch(4, (32, 32))
    images = images.contiguous(memory_format=torch.channels_last)
    mixed = method.apply(images, labels, method.draw(4, (32, 32), seeded(1)))
    assert mixed.images.is_contiguous(memory_format=torch.channels_last)


# ---- bad input -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "match"),
    [
        pytest.param(lambda: CutMix(alpha=0.0), "alpha", id="alpha 0"),
        pytest.param(lambda: CutMix(alpha=float("nan")), "alpha", id="alpha NaN"),
        pytest.param(lambda: CutMix(alpha=float("inf")), "alpha", id="alpha infinite"),
        pytest.param(lambda: CutMix(prob=1.5), "prob", id="prob above 1"),
        pytest.param(lambda: Mixup(alpha=-1.0), "alpha", id="mixup alpha below 0"),
        pytest.param(lambda: Cutout(side=1.2), "side", id="side above 1"),
        pytest.param(lambda: Cutout(side_px=0), "side_px", id="side of no pixel"),
        pytest.param(lambda: HaS(grid=0), "grid", id="no cells"),
        pytest.param(lambda: HaS(grid=True), "grid", id="a bool is no count"),
        pytest.param(
            lambda: HaS(grid=9).draw(2, (8, 32), seeded(0)), "does not fit", id="grid finer than pixels"
        ),
        pytest.param(lambda: method_from_dict({"name": "cutmx"}), "did you mean 'cutmix'", id="unknown name"),
        pytest.param(
            lambda: method_from_dict({"name": "has", "rate": 1}),
            "unknown setting 'rate'",
            id="unknown setting",
        ),
    ],
)
def test_illegal_settings_are_user_errors(make, match):
    with pytest.raises(UserError, match=match):
        make()


LAYER_SETTINGS = {"feature_cutmix": {"layer": "layer1"}}
IMAGES, CLASSES = torch.zeros(2, 3, 8, 8), torch.zeros(2, dtype=torch.int64)


@pytest.mark.parametrize(
    "name", [name for name in METHODS if METHODS[name].apply is not METHODS["vanilla"].apply]
)
@pytest.mark.parametrize(
    ("images", "labels", "error", "match"),
    [
        pytest.param(IMAGES.byte(), CLASSES, TypeError, "floating point.*got torch.uint8", id="uint8"),
        pytest.param(IMAGES[0], CLASSES, ValueError, r"\[N, 3, H, W\], got \(3, 8, 8\)", id="no batch axis"),
        pytest.param(
            IMAGES.numpy(), CLASSES, TypeError, "`images` must be a tensor.*got ndarray", id="array"
        ),
        pytest.param(IMAGES, [0, 1], TypeError, "`labels` must be a tensor, integer.*got list", id="list"),
        pytest.param(
            IMAGES, CLASSES.float(), TypeError, "class indices, got torch.float32", id="float labels"
        ),
        pytest.param(IMAGES, CLASSES.bool(), TypeError, "class indices, got torch.bool", id="bool labels"),
        pytest.param(IMAGES, torch.eye(2).long(), ValueError, r"\[2\], got \(2, 2\)", id="one-hot labels"),
        pytest.param(IMAGES, CLASSES[:1], ValueError, r"\[2\], got \(1,\)", id="label count"),
        pytest.param(
            IMAGES[:1], CLASSES[:1], ValueError, "made for 2 images, got 1", id="another batch size"
        ),
    ],
)
def test_batches_that_do_not_fit_are_refused(name, images, labels, error, match):
    method = METHODS[name](**LAYER_SETTINGS.get(name, {}))
    with pytest.raises(error, match=match):
        method.apply(images, labels, method.draw(2, (8, 8), seeded(0)))


def test_plain_training_refuses_a_batch_that_it_cannot_read():
    with pytest.raises(TypeError, match="`labels` must be a tensor"):
        METHODS["vanilla"]().apply(IMAGES, None, None)


def test_settings_are_frozen():
    with pytest.raises(FrozenInstanceError):
        CutMix().alpha = 2.0  # type: ignore[misc]


def test_importing_names_and_settings_does_not_import_torch():
    code = "import sys, wsol.methods as r; r.CutMix(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
