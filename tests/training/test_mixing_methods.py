"""Rivals and variants of CutMix: 4 x 4 cases by hand, published label weights and geometry, torchvision and timm."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy, interpolate

from tests.helpers.tiny_dataset import make_tiny_dataset, tiny_config
from tests.training.test_methods import numbered, seeded
from wsol.errors import UserError
from wsol.files.checked_safetensors import load_tensors
from wsol.methods import METHODS, CutMix, MixedBatch, mixed_cross_entropy, soft_targets
from wsol.methods.attentive_cutmix import AttentiveCutMix, AttentiveCutMixDraw
from wsol.methods.cutmix_box import BoxDraw, clipped_box
from wsol.methods.dropblock import DropBlock, dropped
from wsol.methods.feature_cutmix import FeatureCutMix, FeatureCutMixDraw
from wsol.methods.fmix import FMix, FMixDraw, highest, low_frequency_image
from wsol.methods.label_smoothing import LabelSmoothing
from wsol.methods.manifold_mixup import ManifoldMixup, ManifoldMixupDraw
from wsol.methods.resizemix import ResizeMix
from wsol.methods.saliencymix import SaliencyMix, SaliencyMixDraw, spectral_residual
from wsol.methods.snapmix import SnapMix, SnapMixDraw, shares
from wsol.models import ClassifierSpec, build_classifier
from wsol.models.head import Outputs
from wsol.training.look import Look
from wsol.training.progress import Silent
from wsol.training.session import train
from wsol.training.step import changed_layers

SWAP = torch.tensor([1, 0])
LABELS = torch.tensor([0, 1])
EXAMPLES = [
    *(
        cls()
        for name, cls in METHODS.items()
        if name not in ("feature_cutmix", "dropblock", "adl", "acol", "spg", "ts_cam", "vanilla")
    ),
    FeatureCutMix("layer2"),
    DropBlock(block=2, sites=("layer2", "layer3")),
    CutMix(center="gaussian", sigma=0.25),
    CutMix(side=0.5, labels="larger"),
    CutMix(per_sample=True, labels="half"),
]


class Shown:
    """A `Look` that shows given maps and features."""

    def __init__(self, maps: torch.Tensor) -> None:
        self.maps = maps

    def cams(self, images: torch.Tensor, class_ids: torch.Tensor) -> torch.Tensor:
        return self.maps

    def outputs(self, images: torch.Tensor) -> Outputs:
        return Outputs(torch.zeros(len(images), 2), self.maps[:, None], {})


@pytest.fixture(scope="module")
def small() -> Any:
    return build_classifier(ClassifierSpec("resnet_small", 7, 8, 32), seed=0)


# --- every method -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", EXAMPLES, ids=repr)
def test_inputs_are_never_changed_and_draws_alone_decide(method: Any, small: Any) -> None:
    images = torch.rand((6, 3, 32, 32), generator=seeded(1)) + 1.0
    labels = torch.tensor([0, 1, 2, 3, 4, 5])
    before, state = images.clone(), {k: v.clone() for k, v in small.state_dict().items()}
    torch.manual_seed(3)
    numbers = torch.get_rng_state()
    look = Look(small, nullcontext)
    seen = []
    for _ in range(2):
        draw = method.draw(6, (32, 32), seeded(5), 0.5)
        mixed = method.apply(images, labels, draw, look)
        with torch.no_grad(), changed_layers(small, method.layers(small, draw)):
            outputs = small.eval()(mixed.images)
        seen.append((mixed.images, outputs.logits, soft_targets(mixed, 7)))
    assert all(torch.equal(a, b) for a, b in zip(*seen)), "same generator state, same result"
    assert torch.equal(images, before)
    assert torch.equal(torch.get_rng_state(), numbers), "the global generator must stay untouched"
    assert all(torch.equal(state[k], v) for k, v in small.state_dict().items())
    targets = seen[0][2]
    assert (targets >= 0).all()
    if method.name != "snapmix":
        torch.testing.assert_close(targets.sum(1), torch.ones(6))
    torch.testing.assert_close(
        mixed_cross_entropy(outputs.logits, mixed),
        cross_entropy(outputs.logits, targets),
        rtol=1e-4,
        atol=1e-5,
    )


@pytest.mark.parametrize("method", [m for m in EXAMPLES if hasattr(m, "prob")], ids=repr)
def test_probability_zero_leaves_batches_alone(method: Any) -> None:
    from dataclasses import replace

    never = replace(method, prob=0.0)
    images, labels = torch.rand(4, 3, 16, 16), torch.arange(4)
    draw = never.draw(4, (16, 16), seeded(0))
    mixed = never.apply(images, labels, draw)
    assert torch.equal(mixed.images, images)
    assert torch.equal(soft_targets(mixed, 4), torch.eye(4))


# --- CutMix's variants --------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "own"), [("area", 0.75), ("larger", 1.0), ("half", 0.5)])
def test_cutmix_label_variants_weigh_as_published(kind: Any, own: float) -> None:
    """Table 8: one-hot gives all to the larger part, complete-label half each; a quarter is pasted here."""
    images = numbered(2, (4, 4))
    for per_sample in (False, True):
        method = CutMix(labels=kind, per_sample=per_sample)
        boxes = ((1, 1, 3, 3),) * (2 if per_sample else 1)
        mixed = method.apply(images, LABELS, BoxDraw(SWAP, boxes, (0.75,) * len(boxes)))
        assert soft_targets(mixed, 2).tolist() == [[own, 1 - own], [1 - own, own]]
        assert mixed.images[0, 0].tolist() == [[1, 1, 1, 1], [1, 2, 2, 1], [1, 2, 2, 1], [1, 1, 1, 1]]
    small_part = BoxDraw(SWAP, ((0, 0, 4, 3),), (0.25,))
    assert soft_targets(CutMix(labels="larger").apply(images, LABELS, small_part), 2)[0].tolist() == [0, 1]


def test_centre_gaussian_boxes_lie_about_the_middle() -> None:
    boxes = torch.tensor(CutMix(center="gaussian", sigma=0.05, side=0.25, per_sample=True).draw(
        4000, (64, 96), seeded(0)
    ).boxes_xyxy).double()  # fmt: skip
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    assert middle.mean(0).tolist() == pytest.approx([47.5, 31.5], abs=0.3)
    assert middle.std(0).tolist() == pytest.approx([0.05 * 96, 0.05 * 64], rel=0.05)
    assert set((boxes[:, 2] - boxes[:, 0]).tolist()) == {24.0}
    with pytest.raises(UserError, match="needs --cutmix-sigma, which the paper does not state"):
        CutMix(center="gaussian")


def test_fixed_size_is_sixteen_of_thirty_two_pixels() -> None:
    draw = CutMix(side=0.5, center="gaussian", sigma=1e-6).draw(2, (32, 32), seeded(0))
    assert draw.lam == (0.75,)
    x0, y0, x1, y1 = draw.boxes_xyxy[0]
    assert (x1 - x0, y1 - y0) == (16, 16)


@pytest.mark.parametrize("size_hw", [(32, 32), (33, 47)])
def test_cutmix_beside_timm(size_hw: tuple[int, int]) -> None:
    """timm 1.0.31 keeps the pixel that the paper's code drops from odd sides; up to that, the same boxes."""
    timm = pytest.importorskip("timm")
    from timm.data.mixup import rand_bbox

    height, width = size_hw
    for lam in (0.3, 0.62, 0.9):
        state = np.random.RandomState(5)
        patched = pytest.MonkeyPatch()
        patched.setattr(np.random, "randint", state.randint)
        y0, y1, x0, x1 = rand_bbox((1, 3, height, width), lam)
        patched.undo()
        draws = np.random.RandomState(5)
        ratio = (1 - lam) ** 0.5
        y, x = (draws.randint(0, side) for side in (height, width))
        ours = clipped_box(size_hw, lam, (x, y))
        even = int(height * ratio) % 2 == 0 and int(width * ratio) % 2 == 0
        slack = 0 if even or timm.__version__ < "1.0.31" else 1
        assert np.abs(np.subtract(ours, (x0, y0, x1, y1))).max() <= slack


# --- label smoothing ----------------------------------------------------------------------------------------


def test_label_smoothing_by_hand() -> None:
    logits = torch.tensor([[2.0, 0.0]])
    mixed = MixedBatch(torch.zeros(1, 3, 2, 2), torch.tensor([0]), torch.tensor([0]), 1.0)
    loss = LabelSmoothing(0.1).loss(Outputs(logits, logits, {}), mixed)
    assert loss.item() == pytest.approx(0.95 * 0.126928 + 0.05 * 2.126928, abs=1e-6)


# --- in a layer ---------------------------------------------------------------------------------------------


def test_feature_cutmix_pastes_cells_and_weighs_them() -> None:
    method, features = FeatureCutMix("layer2"), numbered(2, (4, 4))
    draw = FeatureCutMixDraw(SWAP, 0.75, (0.0, 0.5))
    mixed = method.apply(torch.zeros(2, 3, 16, 16), LABELS, draw)
    (change,) = method.layers(None, draw).values()  # type: ignore[arg-type]
    # half a side is two cells, the centre (0, 2): columns 0, rows 1 and 2
    assert change(features)[0, 0].tolist() == [[1, 1, 1, 1], [2, 1, 1, 1], [2, 1, 1, 1], [1, 1, 1, 1]]
    assert soft_targets(mixed, 2).tolist() == [[0.875, 0.125], [0.125, 0.875]]


def test_manifold_mixup_blends_the_layer_that_was_drawn(small: Any) -> None:
    images, method = torch.rand(2, 3, 32, 32, generator=seeded(0)), ManifoldMixup()
    draw = ManifoldMixupDraw(SWAP, 0.75, "layer1")
    mixed = method.apply(images, LABELS, draw)
    assert torch.equal(mixed.images, images)
    assert soft_targets(mixed, 2).tolist() == [[0.75, 0.25], [0.25, 0.75]]
    network = small.eval().backbone
    with torch.no_grad(), changed_layers(small, method.layers(small, draw)):
        found = small(images).features
    with torch.no_grad():
        x = network.layer1(network.relu(network.bn1(network.conv1(images))))
        by_hand = network.layer3(network.layer2(0.75 * x + 0.25 * x.flip(0)))
    torch.testing.assert_close(found, by_hand)
    layers = {method.draw(2, (8, 8), seeded(i)).layer for i in range(40)}
    assert layers == {"input", "layer1", "layer2"}
    blended = method.apply(images, LABELS, ManifoldMixupDraw(SWAP, 0.75, "input"))
    torch.testing.assert_close(blended.images, 0.75 * images + 0.25 * images.flip(0))


def test_a_layer_that_is_not_there_is_refused(small: Any) -> None:
    with pytest.raises(UserError, match="unknown layer 'layer9'"):
        FeatureCutMix("layer9").extend(small)


def test_dropblock_drops_whole_squares_of_the_published_share() -> None:
    ones = torch.ones(2000, 1, 14, 14)
    out = dropped(ones, 0.1, 7, seeded(0))
    assert (out == 0).double().mean().item() == pytest.approx(0.095, abs=0.01)  # squares overlap a little
    assert out.mean().item() == pytest.approx(1.0, abs=1e-5)
    one = dropped(torch.ones(1, 3, 4, 4), 1e-9, 2, seeded(0))
    assert torch.equal(one, torch.ones(1, 3, 4, 4))
    image = next(o for o in out if 0 < (o == 0).sum() <= 49)
    rows, columns = (image[0] == 0).nonzero().T
    assert len(rows) == 49
    assert (rows.max() - rows.min(), columns.max() - columns.min()) == (6, 6)
    assert DropBlock().layers(None, DropBlock().draw(2, (8, 8), seeded(0), 0.0)) == {}  # type: ignore[arg-type]
    assert DropBlock().draw(2, (8, 8), seeded(0), 0.5).drop == 0.05


# --- other pastes -------------------------------------------------------------------------------------------


def test_resizemix_pastes_the_whole_partner_small() -> None:
    images = numbered(2, (4, 4))
    images[1] = torch.arange(16.0).view(4, 4)
    mixed = ResizeMix().apply(images, LABELS, BoxDraw(SWAP, ((2, 0, 4, 2),), (0.75,)))
    assert mixed.images[0, 1].tolist() == [[1, 1, 0, 2], [1, 1, 8, 10], [1, 1, 1, 1], [1, 1, 1, 1]]
    assert soft_targets(mixed, 2).tolist() == [[0.75, 0.25], [0.25, 0.75]]
    sides = [ResizeMix().draw(2, (200, 200), seeded(i)).boxes_xyxy[0] for i in range(300)]
    assert max(x1 - x0 for x0, _, x1, _ in sides) <= 160


def test_fmix_masks_by_hand_and_by_formula() -> None:
    images = numbered(2, (2, 2))
    own = torch.tensor([[True, False], [True, True]])
    mixed = FMix().apply(images, LABELS, FMixDraw(SWAP, own, 0.7))
    assert mixed.images[0, 0].tolist() == [[1, 2], [1, 1]]
    assert soft_targets(mixed, 2)[0].tolist() == pytest.approx([0.7, 0.3])
    # the definition: a sum over all frequencies of noise over frequency^decay
    image = low_frequency_image((6, 8), 3.0, np.random.default_rng(0))
    noise = np.random.default_rng(0).standard_normal((2, 6, 5))
    half = (noise[0] + 1j * noise[1]) / np.maximum(
        np.sqrt(np.fft.fftfreq(6)[:, None] ** 2 + np.fft.rfftfreq(8) ** 2), 1 / 8
    ) ** 3
    np.testing.assert_allclose(image, np.fft.irfftn(half, (6, 8), axes=(0, 1)), atol=1e-12)
    shares_kept = [
        highest(low_frequency_image((32, 32), 3.0, np.random.default_rng(i)), 0.3, round_up=False).mean()
        for i in range(5)
    ]
    assert shares_kept == [307 / 1024] * 5


def test_saliency_finds_the_odd_patch() -> None:
    noise = torch.rand((64, 64), generator=seeded(0))
    stripes = torch.arange(64.0).remainder(8).expand(64, 64) / 8 + 0.02 * noise
    odd = stripes.clone()
    odd[40:46, 18:24] = 2.0
    place = int(spectral_residual(odd).argmax())
    assert 36 <= place // 64 <= 50
    assert 14 <= place % 64 <= 28
    images = torch.stack([stripes.expand(3, 64, 64), odd.expand(3, 64, 64)])
    mixed = SaliencyMix().apply(images, LABELS, SaliencyMixDraw(SWAP, 0.75))
    row, column = divmod(place, 64)
    x0, y0, x1, y1 = clipped_box((64, 64), 0.75, (column, row))
    assert torch.equal(mixed.images[0, :, y0:y1, x0:x1], images[1, :, y0:y1, x0:x1])
    assert mixed.lam == 1 - (x1 - x0) * (y1 - y0) / 64**2


def test_snapmix_weighs_by_the_maps() -> None:
    images = numbered(2, (4, 4))
    maps = torch.ones(2, 4, 4)
    maps[0, 0, 0], maps[0, 3, 3] = 4.0, 2.0  # above the minimum: 3 and 1
    maps[1, :2, :2] = 3.0
    draw = SnapMixDraw(SWAP, (0, 0, 2, 2), (2, 2, 4, 4))
    mixed = SnapMix().apply(images, LABELS, draw, Shown(maps))  # type: ignore[arg-type]
    assert mixed.images[0, 0].tolist() == [[2, 2, 1, 1], [2, 2, 1, 1], [1, 1, 1, 1], [1, 1, 1, 1]]
    # own: 1 - 3/4 and 1 - 1; lent: nothing of map 1 lies at the lower right, a quarter of map 0 does
    assert soft_targets(mixed, 2).tolist() == [[0.25, 0.0], [0.25, 0.0]]
    assert shares(torch.ones(1, 2, 2), (4, 4), (0, 0, 2, 2)).tolist() == [0.25]
    patch = torch.rand(1, 3, 4, 4, generator=seeded(2)).expand(2, 3, 4, 4)
    bigger = SnapMix().apply(patch, LABELS, SnapMixDraw(SWAP, (0, 0, 3, 3), (2, 2, 4, 4)), Shown(maps))  # type: ignore[arg-type]
    expected = interpolate(patch[:1, :, 2:, 2:], (3, 3), mode="bilinear", align_corners=True)
    torch.testing.assert_close(bigger.images[:1, :, :3, :3], expected)


def test_attentive_cutmix_pastes_the_partners_strongest_cells() -> None:
    images, attention = numbered(2, (4, 4)), torch.tensor([[[9.0, 0], [0, 8]], [[0, 7.0], [1, 0]]])
    method = AttentiveCutMix(cells=1, grid=2)
    mixed = method.apply(images, LABELS, AttentiveCutMixDraw(SWAP, True), Shown(attention))  # type: ignore[arg-type]
    assert mixed.images[0, 0].tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [1, 1, 1, 1], [1, 1, 1, 1]]
    assert mixed.images[1, 0].tolist() == [[1, 1, 2, 2], [1, 1, 2, 2], [2, 2, 2, 2], [2, 2, 2, 2]]
    assert soft_targets(mixed, 2).tolist() == [[0.75, 0.25], [0.25, 0.75]]
    assert AttentiveCutMix().cells / AttentiveCutMix().grid ** 2 == 6 / 49


# --- through the training command ---------------------------------------------------------------------------


def test_looking_changes_nothing_and_gives_true_gradients(small: Any) -> None:
    small.train()
    images = torch.rand(3, 3, 32, 32, generator=seeded(0))
    state = {k: v.clone() for k, v in small.state_dict().items()}
    look = Look(small, nullcontext)
    gradient = look.input_gradient(images, torch.arange(3))
    assert look.cams(images, torch.arange(3)).shape == (3, 4, 4)
    assert small.training
    assert all(p.grad is None for p in small.parameters())
    assert all(torch.equal(state[k], v) for k, v in small.state_dict().items())
    watched = images.clone().requires_grad_()
    cross_entropy(small.eval()(watched).logits, torch.arange(3), reduction="sum").backward()
    torch.testing.assert_close(gradient, watched.grad)
    small.zero_grad()


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "feature_cutmix", "feature_cutmix_layer": "layer1", "accumulate": 2},
        {"method": "snapmix", "precision": "bf16"},
        {"method": "dropblock", "dropblock_sites": ("layer2",), "dropblock_block": 2},
        {"method": "cutmix", "method_schedule": "linear", "method_off_epochs": 1},
    ],
    ids=lambda settings: settings["method"],
)
def test_methods_train_through_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    run = train(tiny_config(make_tiny_dataset(tmp_path / "d"), **settings), report=Silent()).run
    assert run.make_method().name == settings["method"]
    assert run.record["result"]["train_loss"] < 3


def test_schedule_and_last_epochs_leave_steps_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    manifest = make_tiny_dataset(tmp_path / "d")
    weights = []
    for settings in ({"method": "cutmix", "method_off_epochs": 2}, {"method": "vanilla"}):
        run = train(tiny_config(manifest, **settings), report=Silent()).run
        weights.append(load_tensors(run.weights)[0])
    assert all(torch.equal(weights[0][name], tensor) for name, tensor in weights[1].items())
    with pytest.raises(UserError, match="--method-off-epochs does nothing with --method vanilla"):
        tiny_config(manifest, method="vanilla", method_off_epochs=1)
    with pytest.raises(UserError, match="--compile cannot be used with --method dropblock"):
        tiny_config(manifest, method="dropblock", compile=True)
