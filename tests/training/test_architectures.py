"""ADL, ACoL, SPG and TS-CAM: logits, losses and maps against a plain transcription of the papers' formulas."""

from __future__ import annotations

import copy
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn.functional import avg_pool2d, cross_entropy, max_pool2d

from tests.helpers.oracles import oracle
from tests.helpers.tiny_dataset import make_tiny_dataset, tiny_config
from tests.training.test_methods import seeded
from wsol.cams.cell_centers import cell_centers
from wsol.cams.extract import extract_cams
from wsol.errors import UserError
from wsol.files.checked_safetensors import load_tensors
from wsol.methods import MixedBatch, acol_head
from wsol.methods.acol import ACoL
from wsol.methods.adl import ADL
from wsol.methods.spg import SPG
from wsol.methods.spg_head import guided_loss
from wsol.methods.ts_cam import TsCam
from wsol.models import ClassifierSpec, build_classifier
from wsol.runs.network import load_classifier
from wsol.training.loop import Trainer
from wsol.training.progress import Silent
from wsol.training.session import train
from wsol.training.step import changed_layers

IMAGES = torch.rand((3, 3, 32, 32), generator=seeded(0)) - 0.5
LABELS = torch.tensor([2, 0, 1])
WHOLE = MixedBatch(IMAGES, LABELS, LABELS, 1.0)


def min_max(maps: torch.Tensor) -> torch.Tensor:
    """Each map of [N, h, w] to [0, 1], one by one."""
    return torch.stack([(m - m.min()) / (m.max() - m.min()) for m in maps])


# --- ADL ----------------------------------------------------------------------------------------------------


class PlainADL(nn.Module):
    """Algorithm 1 of the paper; `coin` below the drop rate hides."""

    def __init__(self, coin: float, rate: float, threshold: float) -> None:
        super().__init__()
        self.hides = coin < rate
        self.threshold = threshold

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        attention = features.mean(dim=1)
        out = torch.empty_like(features)
        for n, own in enumerate(attention):
            keep = (own < self.threshold * own.max()).float()
            out[n] = features[n] * (keep if self.hides else torch.sigmoid(own))
        return out


@pytest.mark.parametrize(
    ("arch", "stride", "sites"),
    [
        ("resnet50", 16, [("layer3", 0), ("layer4", 0), ("layer4", 2)]),
        ("vgg16_gap", 8, [("features", 16), ("features", 22), ("features", 29)]),
        ("inception_v3", 8, [("", "Mixed_5d"), ("", "Mixed_6e"), ("", "SPG_A3_2b")]),
    ],
)
def test_adl_equals_layers_put_in_by_hand(arch: str, stride: int, sites: list[tuple[str, Any]]) -> None:
    method = ADL(drop_rate=0.5, threshold=0.8)
    model = build_classifier(ClassifierSpec(arch, 3, stride, 32, "late"), seed=0, method=method).train()
    plain = copy.deepcopy(model)
    draws = [method.draw(3, (32, 32), seeded(seed)) for seed in range(8)]
    coins = [copy.deepcopy(d).random(3).tolist() for d in draws]
    chosen = next(i for i, c in enumerate(coins) if min(c) < 0.5 <= max(c))  # one that hides, one that weighs
    for (name, place), coin in zip(sites, coins[chosen]):
        stage = plain.backbone.get_submodule(name)
        behind = nn.Sequential(stage.get_submodule(str(place)), PlainADL(coin, 0.5, 0.8))
        setattr(stage, str(place), behind)
    with changed_layers(model, method.layers(model, draws[chosen])):
        ours = model(IMAGES)
    theirs = plain(IMAGES)
    torch.testing.assert_close(ours.logits, theirs.logits)
    extended = build_classifier(model.spec, seed=0, method=method).eval()
    assert torch.equal(extended(IMAGES).logits, build_classifier(model.spec, seed=0).eval()(IMAGES).logits)


def test_adl_by_hand() -> None:
    features = torch.tensor([[[[1.0, 4.0], [5.0, 0.0]], [[1.0, 4.0], [3.0, 0.0]]]])  # means 1, 4, 4, 0
    assert ADL(threshold=0.8).hidden(features)[0, 0].tolist() == [[1, 0], [0, 0]]
    with pytest.raises(UserError, match="adl has no published places for resnet_small"):
        build_classifier(ClassifierSpec("resnet_small", 3, 8, 32), method=ADL())


# --- ACoL ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arch", "stride"),
    [("resnet18", 8), ("resnet50", 16), ("vgg16_gap", 16), ("vgg16_gap", 8), ("inception_v3", 16)],
)
def test_acol_equals_its_formulas(arch: str, stride: int) -> None:
    model = build_classifier(ClassifierSpec(arch, 3, stride, 32, "late"), seed=0, method=ACoL(0.6)).eval()
    state = dict(model.named_parameters())
    features = model.backbone(IMAGES)
    if arch == "vgg16_gap":
        features = plain_acol_vgg(state, stride)
        features = avg_pool2d(features, 3, 1, 1)
    if arch == "inception_v3":
        features = plain_inception(model.backbone, IMAGES, 16)[1]

    def branch(values: torch.Tensor, name: str) -> torch.Tensor:
        for i, padding in ((0, 1), (2, 1), (4, 0)):
            values = nn.functional.conv2d(
                values, state[f"head.{name}.{i}.weight"], state[f"head.{name}.{i}.bias"], padding=padding
            )
            values = values if i == 4 else values.relu()
        return values

    map_a = branch(features, "a")
    own_a = torch.stack([map_a[n, k] for n, k in enumerate(LABELS)])
    erased = features * (min_max(own_a.detach()) < 0.6).float()[:, None]
    map_b = branch(erased, "b")
    logits, logits_b = map_a.mean((2, 3)), map_b.mean((2, 3))
    outputs = model(IMAGES, LABELS)
    torch.testing.assert_close(outputs.logits, logits)
    torch.testing.assert_close(outputs.extra["logits_b"], logits_b)
    torch.testing.assert_close(
        ACoL().loss(outputs, WHOLE), cross_entropy(logits, LABELS) + cross_entropy(logits_b, LABELS)
    )
    own_b = torch.stack([map_b[n, k] for n, k in enumerate(LABELS)])
    expected = torch.maximum(min_max(own_a), min_max(own_b)).detach()
    torch.testing.assert_close(extract_cams(model, IMAGES, LABELS).maps, expected)
    assert torch.equal(model(IMAGES).logits, outputs.logits), "branch A does not depend on the class"


def plain_acol_vgg(state: dict[str, Any], stride: int) -> torch.Tensor:
    """clovaai/wsolevaluation's list for ACoL: M1 is a 3x3 pooling at stride 2, M2 at stride 1."""
    last = ["M1", *["c"] * 3, "M2"] if stride == 16 else ["M2", *["c"] * 3, "M2"]
    layers = ["c", "c", "M1", "c", "c", "M1", "c", "c", "c", "M1", "c", "c", "c", *last]
    names = sorted(
        (n for n in state if n.startswith("backbone.features.") and n.endswith("weight")), key=_place
    )
    x, convolutions = IMAGES, iter(names)
    for layer in layers:
        if layer == "c":
            name = next(convolutions)
            x = nn.functional.conv2d(x, state[name], state[name.replace("weight", "bias")], padding=1).relu()
        else:
            x = max_pool2d(x, 3, 2 if layer == "M1" else 1, 1)
    return x


def _place(name: str) -> int:
    return int(name.split(".")[2])


def test_networks_that_a_method_is_not_defined_for_are_refused() -> None:
    for method in (ACoL(), SPG()):
        for arch in ("timm:resnet18", "mobilenet_v2"):
            with pytest.raises(UserError, match=f"not for {arch}; choose one of them"):
                build_classifier(ClassifierSpec(arch, 3, 32, 64), method=method)


# --- SPG ----------------------------------------------------------------------------------------------------


def plain_guided_loss(logits: torch.Tensor, guide: torch.Tensor, high: float, low: float) -> torch.Tensor:
    """clovaai/wsolevaluation's, image by image: 1, 0, or 255 for pixels that teach nothing."""
    masks = torch.full_like(guide, 255.0)
    for mask, own in zip(masks, guide):
        front = own > high
        if front.sum() < 30 * own.numel() / 224**2:
            front = own > 0.7 * own.max()
        mask[front] = 1.0
        mask[own < low] = 0.0
    taught = masks < 255
    return nn.functional.binary_cross_entropy_with_logits(logits[taught], masks[taught])


@pytest.mark.parametrize(
    ("arch", "stride"),
    [("resnet18", 8), ("resnet50", 16), ("vgg16_gap", 16), ("inception_v3", 16)],
)
def test_spg_equals_its_formulas(arch: str, stride: int) -> None:
    method = SPG()
    model = build_classifier(ClassifierSpec(arch, 3, stride, 32, "late"), seed=0, method=method).train()
    plain, head = copy.deepcopy(model), model.head
    x, network = IMAGES, plain.backbone
    if arch == "inception_v3":
        network.dropout.p = model.backbone.dropout.p = 0.0  # type: ignore[union-attr, assignment]
        early, late = plain_inception(network, IMAGES, stride)
        final = network.SPG_A3_2b(network.SPG_A3_1b(late))  # type: ignore[operator]
    elif arch != "vgg16_gap":
        x = network.layer2(network.layer1(network.maxpool(network.relu(network.bn1(network.conv1(x))))))
        early = network.layer3[0](x)
        late = network.layer3[1:](early)
        final = network.layer4(late)
    else:
        early = max_pool2d(network.features[:23](x), 3, 2, 1)
        late = network.features[24:30](early)
        final = head.a3(late)
    outputs = model(IMAGES, LABELS)
    logits_b1, logits_b2 = head.shared(head.b1(early)), head.shared(head.b2(late))
    maps, logits_c = head.a4(final), head.c(final)
    torch.testing.assert_close(outputs.logits, maps.mean((2, 3)))
    torch.testing.assert_close(outputs.extra["b1"], logits_b1)
    torch.testing.assert_close(outputs.extra["b2"], logits_b2)

    def up(values: torch.Tensor) -> torch.Tensor:
        return nn.functional.interpolate(values, (32, 32), mode="bilinear", align_corners=False)[:, 0]

    attention = min_max(up(torch.stack([maps[n, k] for n, k in enumerate(LABELS)])[:, None])).detach()
    b1, b2 = up(logits_b1), up(logits_b2)
    expected = cross_entropy(outputs.logits, LABELS)
    expected = expected + plain_guided_loss(b2, attention, 0.7, 0.01)
    expected = expected + plain_guided_loss(b1, b2.sigmoid().detach(), 0.5, 0.05)
    fused = ((b1.sigmoid() + b2.sigmoid()) / 2).detach()
    expected = expected + plain_guided_loss(up(logits_c), fused, 0.7, 0.1)
    torch.testing.assert_close(method.loss(outputs, WHOLE), expected)
    model.eval()
    evaluated = model(IMAGES)
    assert set(evaluated.extra) == {"maps"}, "the branches are for training alone"
    own = torch.stack([evaluated.extra["maps"][n, k] for n, k in enumerate(LABELS)])
    torch.testing.assert_close(extract_cams(model, IMAGES, LABELS).maps, own.detach())


def plain_inception(network: Any, images: torch.Tensor, stride: int) -> tuple[torch.Tensor, torch.Tensor]:
    """clovaai/wsolevaluation's forward pass, up to what SPG's B1 and B2 read."""
    x = network.Conv2d_2b_3x3(network.Conv2d_2a_3x3(network.Conv2d_1a_3x3(images)))
    x = max_pool2d(x, kernel_size=3, stride=2, padding=1, ceil_mode=True)
    x = network.Conv2d_4a_3x3(network.Conv2d_3b_1x1(x))
    x = max_pool2d(x, kernel_size=3, stride=2, padding=1, ceil_mode=True)
    x = early = network.Mixed_5d(network.Mixed_5c(network.Mixed_5b(x)))
    if stride == 16:
        x = early = max_pool2d(x, kernel_size=3, stride=2, ceil_mode=True)
    six = network.Mixed_6a
    by_six = [conv2d_bn(six.branch3x3, x), x, max_pool2d(x, kernel_size=3, stride=1, padding=1)]
    by_six[1] = conv2d_bn(six.branch3x3dbl_3, six.branch3x3dbl_2(six.branch3x3dbl_1(x)))
    x = torch.cat(by_six, 1)
    return early, network.Mixed_6e(network.Mixed_6d(network.Mixed_6c(network.Mixed_6b(x))))


def conv2d_bn(block: Any, x: torch.Tensor) -> torch.Tensor:
    """A 3 x 3 convolution at stride 1, padded, without bias; batch norm of epsilon 0.001; ReLU."""
    x = nn.functional.conv2d(x, block.conv.weight, padding=1)
    bn = block.bn
    return nn.functional.batch_norm(
        x,
        bn.running_mean,
        bn.running_var,
        bn.weight,
        bn.bias,
        training=block.training,
        momentum=0.0,
        eps=0.001,
    ).relu()


def test_spg_masks_by_hand() -> None:
    guide = torch.tensor([[[0.9, 0.3], [0.02, 0.8]], [[0.4, 0.2], [0.3, 0.0]]])
    logits = torch.zeros(2, 2, 2)
    # image 1: two above 0.7, one below 0.05; image 2: none above, so what is above 0.28: two, and one below
    assert guided_loss(logits, guide, 0.7, 0.05).item() == pytest.approx(0.693147, abs=1e-6)
    logits[1, 1, 0] = 2.0  # foreground of image 2
    expected = (5 * 0.693147 + 0.126928) / 6
    assert guided_loss(logits, guide, 0.7, 0.05).item() == pytest.approx(expected, abs=1e-6)
    assert guided_loss(logits, torch.zeros(2, 2, 2), 0.7, 0.0).item() == 0


# --- TS-CAM -------------------------------------------------------------------------------------------------


def test_ts_cam_equals_its_formulas() -> None:
    """Section 3 of the paper and the authors' code, with the attention that timm's own blocks compute."""
    timm = oracle("timm")
    images = torch.rand((2, 3, 48, 48), generator=seeded(1)) - 0.5
    spec = ClassifierSpec("deit_tiny", 3, 16, 48)
    model = build_classifier(spec, seed=0, method=TsCam()).eval()
    plain = timm.create_model("deit_tiny_patch16_224", num_classes=0, img_size=48).eval()
    plain.load_state_dict(model.backbone.body.state_dict())  # type: ignore[union-attr]
    attentions: list[torch.Tensor] = []
    for block in plain.blocks:
        block.attn.fused_attn = False
        block.attn.attn_drop.register_forward_hook(lambda module, inputs, output: attentions.append(output))
    tokens = plain.forward_features(images)  # [2, 1 + 9, C]
    patches = tokens[:, 1:].transpose(1, 2).reshape(2, -1, 3, 3)
    state = dict(model.head.named_parameters())
    maps = nn.functional.conv2d(patches, state["conv.weight"], state["conv.bias"], padding=1)
    attention = torch.stack(attentions).mean(2).sum(0)[:, 0, 1:].reshape(2, 3, 3)
    found = extract_cams(model, images, torch.tensor([2, 0]))
    torch.testing.assert_close(found.logits, maps.mean((2, 3)))
    torch.testing.assert_close(found.maps, maps[[0, 1], [2, 0]] * attention)
    outputs = model.train()(images)
    torch.testing.assert_close(outputs.logits, maps.mean((2, 3)))
    outputs.logits.sum().backward()
    unread = {name for name, p in model.named_parameters() if p.grad is None}
    assert not unread  # several processes need every weight in every pass


def test_ts_cam_starts_from_timms_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of a network that classifies by its class token: all but its head are taken."""
    theirs = oracle("timm").create_model("deit_tiny_patch16_224", num_classes=1000, img_size=32).state_dict()
    own = {name: value for name, value in theirs.items() if not name.startswith("head.")}
    monkeypatch.setattr("wsol.models.patch_tokens.weights", lambda arch: own)
    spec = ClassifierSpec("deit_tiny", 3, 16, 32)
    model = build_classifier(spec, pretrained="imagenet", seed=0, method=TsCam())
    assert model.load_report is not None
    assert model.load_report.head_reinitialised
    loaded = model.backbone.body.state_dict()  # type: ignore[union-attr]
    assert all(torch.equal(loaded[name], value) for name, value in own.items())


def test_patch_tokens_without_ts_cam_have_an_exact_map() -> None:
    oracle("timm")
    model = build_classifier(ClassifierSpec("deit_tiny", 3, 16, 32), seed=0).eval()
    found = extract_cams(model, IMAGES, LABELS)
    own = found.logits[range(3), LABELS]
    torch.testing.assert_close(found.maps.mean((1, 2)) + model.head.bias[LABELS], own)
    cells = cell_centers(model, "final")
    assert cells is None or cells.offset_xy == (0, 0)  # patches do not overlap
    with pytest.raises(UserError, match="multiple"):
        build_classifier(ClassifierSpec("deit_tiny", 3, 16, 40))
    with pytest.raises(UserError, match="ts_cam is defined for transformers"):
        build_classifier(ClassifierSpec("resnet_small", 3, 8, 32), method=TsCam())


# --- whole runs ---------------------------------------------------------------------------------------------

RUNS: list[dict[str, Any]] = [
    {"method": "acol", "output_stride": 8},
    {"method": "adl", "adl_sites": ("layer2", "layer3")},
    {"method": "spg", "output_stride": 8},
    {"method": "ts_cam", "arch": "deit_tiny"},
]


@pytest.fixture
def manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return make_tiny_dataset(tmp_path / "d")


@pytest.mark.parametrize("settings", RUNS, ids=lambda settings: settings["method"])
def test_an_interrupted_run_continues_with_the_same_bits(
    manifest: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any]
) -> None:
    monkeypatch.setattr(acol_head, "WIDTH", 16)  # quick
    config = tiny_config(manifest, lr=0.001, epochs=1, **settings)
    whole = train(config, report=Silent()).run
    step = Trainer.step

    def signalled(trainer: Trainer, batches: Any) -> None:
        step(trainer, batches)
        if trainer.position.step == 0:
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", signalled)
        stopped = train(config, report=Silent())
    assert stopped.exit_code == 130
    asked = ["--resume", "--out", str(stopped.run.dir)]
    again = train(replace(config, resume=True, out=str(stopped.run.dir)), asked, report=Silent())
    assert again.exit_code == 0
    ours, theirs = (load_tensors(r.weights)[0] for r in (again.run, whole))
    assert set(ours) == set(theirs)
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())
    assert load_classifier(again.run).method == config.make_method()
