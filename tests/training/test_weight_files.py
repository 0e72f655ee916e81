"""Weights from files: what is loaded, and what is refused."""

from __future__ import annotations

import copy
from urllib.error import URLError

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from tests.helpers.random_networks import images, randomized
from wsol.errors import UserError
from wsol.models import (
    NETWORKS,
    ClassifierSpec,
    build_classifier,
    load_external_classifier,
    load_pretrained,
)
from wsol.models.checkpoint_files import read_checkpoint
from wsol.models.networks import PATCH_TOKENS

SMALL = ClassifierSpec("resnet_small", 5, 8, 32)


# ---- weights from files --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrap",
    [
        pytest.param(lambda s: s, id="bare"),
        pytest.param(lambda s: {"state_dict": s, "epoch": 3, "arch": "resnet18"}, id="under state_dict"),
        pytest.param(lambda s: {"model": s, "optimizer": {"state": {}}}, id="under model"),
        pytest.param(lambda s: {f"module.{k}": v for k, v in s.items()}, id="DataParallel"),
        pytest.param(
            lambda s: {"state_dict": {f"module._orig_mod.{k}": v for k, v in s.items()}},
            id="compiled and parallel",
        ),
        pytest.param(lambda s: {"state_dict": {f"model.{k}": v for k, v in s.items()}}, id="Lightning"),
        pytest.param(
            lambda s: {k: v[..., None, None] if k == "fc.weight" else v for k, v in s.items()},
            id="head as a 1x1 conv",
        ),
        pytest.param(
            lambda s: {k: v for k, v in s.items() if "num_batches" not in k},
            id="before BatchNorm had counters",
        ),
    ],
)
def test_every_common_layout_loads_whole(wrap, resnet18_file, tmp_path):
    net, _ = resnet18_file
    torch.save(wrap(net.state_dict()), tmp_path / "wrapped.pth")
    model = load_external_classifier(tmp_path / "wrapped.pth", "resnet18", input_size=64)
    assert model.spec.num_classes == 6
    assert model.spec.output_stride == 32
    assert not model.training
    assert model.load_report.missing == model.load_report.left_out == ()
    assert not model.load_report.head_reinitialised
    with torch.inference_mode():
        torch.testing.assert_close(model(images(1, 64)).logits, net(images(1, 64)))


def test_an_external_network_asked_for_a_stride_follows_the_reference_at_any_size(resnet18_file):
    for size in (64, 224):
        model = load_external_classifier(resnet18_file[1], "resnet18", input_size=size, output_stride=16)
        assert model.describe()["stride_changes"] == ["layer4: stride 2 -> 1"]


@pytest.mark.parametrize("legacy", [False, True], ids=["zip format", "format before torch 1.6"])
def test_both_torch_file_formats_load(legacy, resnet18_file, tmp_path):
    net, _ = resnet18_file
    torch.save(net.state_dict(), tmp_path / "file.pth", _use_new_zipfile_serialization=not legacy)
    assert load_external_classifier(tmp_path / "file.pth", "resnet18").spec.num_classes == 6


def test_safetensors_load(resnet18_file, tmp_path):

    net, path = resnet18_file
    save_file(net.state_dict(), tmp_path / "file.safetensors")
    from_safetensors = read_checkpoint(tmp_path / "file.safetensors")
    assert all(torch.equal(value, from_safetensors[name]) for name, value in read_checkpoint(path).items())


def test_our_own_checkpoint_comes_back(tmp_path):
    model = randomized(build_classifier(SMALL))
    torch.save({"model": model.state_dict()}, tmp_path / "own.pth")
    again = load_external_classifier(tmp_path / "own.pth", "resnet_small", input_size=32)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("prefix", ["", "file:"])
def test_fine_tuning_takes_the_body_and_reports_the_new_head(prefix, resnet18_file):
    net, path = resnet18_file
    model = build_classifier(ClassifierSpec("resnet18", 10, 8, 64), pretrained=f"{prefix}{path}", seed=0)
    report = model.load_report
    assert report.head_reinitialised
    assert report.source_classes == 6
    assert report.missing == ("head.weight", "head.bias")
    assert report.left_out == ()  # the head is replaced, not left out
    assert report.notes() == [f"{path} has a head for 6 classes; this one starts at random"]
    assert report.loaded == len(net.state_dict()) - 2
    assert torch.equal(model.backbone.conv1.weight, net.conv1.weight)
    assert model.head.weight.shape == (10, 512)
    assert model.describe()["pretrained"]["head_reinitialised"] is True


def test_fine_tuning_keeps_a_head_that_fits(resnet18_file):
    net, path = resnet18_file
    model = build_classifier(ClassifierSpec("resnet18", 6, 8, 64), pretrained=str(path))
    assert not model.load_report.head_reinitialised
    assert torch.equal(model.head.weight, net.fc.weight)


def test_vgg16_gap_takes_torchvisions_convolutions(tmp_path):
    convs = torchvision.models.vgg.make_layers(torchvision.models.vgg.cfgs["D"])
    state = {f"features.{name}": value for name, value in randomized(convs).state_dict().items()}
    state |= {"classifier.0.weight": torch.zeros(4, 8), "classifier.6.weight": torch.zeros(1000, 4)}
    torch.save(state, tmp_path / "vgg16.pth")
    model = build_classifier(
        ClassifierSpec("vgg16_gap", 3, 8, 32), pretrained=str(tmp_path / "vgg16.pth")
    ).eval()
    assert model.load_report.missing == tuple(
        n for n in model.state_dict() if n.startswith(("backbone.conv6", "head."))
    )
    assert len(model.load_report.left_out) == 2
    last = model.backbone.features[28]  # conv5_3: behind the dropped poolings, under its own name
    assert torch.equal(last.weight, state["features.28.weight"])
    with pytest.raises(UserError, match="the head classifier consists of several layers"):
        load_pretrained(model, tmp_path / "vgg16.pth", allow_new_head=False)
    with pytest.raises(UserError, match="vgg16_gap"):
        load_external_classifier(tmp_path / "vgg16.pth", "vgg16")


def reference_vgg(stride: int) -> dict[str, torch.Tensor]:
    """wsolevaluation's VGG16-GAP: dropped poolings leave no gap in the numbers of its layers."""
    plan = list(torchvision.models.vgg.cfgs["D"][:-1])
    if stride == 8:
        del plan[13]  # pool4
    features = torchvision.models.vgg.make_layers(plan)
    parts = {"features": features, "conv6": nn.Conv2d(512, 1024, 3, padding=1), "fc": nn.Linear(1024, 3)}
    return randomized(nn.ModuleDict(parts)).state_dict()


@pytest.mark.parametrize("stride", [16, 8])
def test_the_reference_numbers_vggs_layers_without_gaps(tmp_path, stride):
    state = reference_vgg(stride)
    torch.save({"state_dict": state}, tmp_path / "vgg.pth.tar")
    model = load_external_classifier(
        tmp_path / "vgg.pth.tar", "vgg16_gap", input_size=32, output_stride=stride
    )
    convs = [m for m in model.backbone.features if isinstance(m, nn.Conv2d)]
    theirs = [v for n, v in state.items() if n.startswith("features.") and n.endswith("weight")]
    assert len(convs) == len(theirs) == 13
    assert all(torch.equal(ours.weight, value) for ours, value in zip(convs, theirs))
    assert model.load_report.left_out == ()
    assert model.load_report.other_weights == ()


@pytest.mark.parametrize("stride", [16, 8])
def test_a_layer_under_the_prefix_of_the_taken_weights_is_never_passed_over(tmp_path, stride):
    """The second set of weights is no reason: the layer belongs to the first."""
    state = reference_vgg(stride)
    both = {f"{prefix}.{n}": v for prefix in ("net", "ema") for n, v in state.items()}
    torch.save({**both, "net.attention.weight": torch.ones(1)}, tmp_path / "vgg.pth")
    with pytest.raises(UserError, match=r"also has 1 tensors \(net\.attention\.weight\)"):
        load_external_classifier(
            tmp_path / "vgg.pth", "vgg16_gap", input_size=32, output_stride=stride, weights_key="net."
        )


def test_the_references_numbers_say_their_output_stride(tmp_path):
    torch.save(reference_vgg(8), tmp_path / "vgg.pth")
    with pytest.raises(
        UserError, match=r"holds features\.23\.weight: .* at output stride 8, not 16; pass --output-stride 8"
    ):
        load_external_classifier(tmp_path / "vgg.pth", "vgg16_gap", input_size=32)


# ---- refusals ------------------------------------------------------------------------------------


class Payload:
    """An object whose unpickling would run code."""

    def __reduce__(self):
        return (print, ("code from a checkpoint ran",))


def write(path, kind: str, state: dict[str, torch.Tensor]) -> None:
    match_all = {
        "code": lambda: torch.save({"state_dict": state, "args": Payload()}, path),
        "object": lambda: torch.save(
            {"state_dict": state, "config": ClassifierSpec("resnet18", 2, 8, 64)}, path
        ),
        "garbage": lambda: path.write_bytes(b"this is no checkpoint" * 50),
        "empty": lambda: path.write_bytes(b""),
        "html": lambda: path.write_text("<!DOCTYPE html><html>404</html>"),
        "cut": lambda: (torch.save(state, path), path.write_bytes(path.read_bytes()[:20_000])),
        "no weights": lambda: torch.save({"epoch": 3, "best": 0.5}, path),
        "a list": lambda: torch.save([1, 2], path),
        "nan": lambda: torch.save({**state, "conv1.weight": state["conv1.weight"] * float("nan")}, path),
    }
    match_all[kind]()


@pytest.mark.parametrize(
    ("kind", "match"),
    [
        ("code", "could run code"),
        ("object", "could run code"),
        ("garbage", "cannot be read"),
        ("empty", "cannot be read"),
        ("html", "cannot be read"),
        ("cut", "cannot be read"),
        ("no weights", "top level has: epoch, best"),
        ("a list", "holds a list"),
        ("nan", "NaN or infinite values in 1 tensors"),
    ],
)
def test_unusable_files_are_user_errors(kind, match, resnet18_file, tmp_path, capfd):
    net, _ = resnet18_file
    write(tmp_path / "bad.pth", kind, net.state_dict())
    with pytest.raises(UserError, match=match) as caught:
        load_external_classifier(tmp_path / "bad.pth", "resnet18")
    assert "bad.pth" in str(caught.value)
    assert "code from a checkpoint ran" not in capfd.readouterr().out


def test_a_cut_safetensors_file_is_a_user_error(tmp_path):
    (tmp_path / "bad.safetensors").write_bytes(b"\x10\x00\x00\x00\x00\x00\x00\x00{}")
    with pytest.raises(UserError, match="cannot be read"):
        read_checkpoint(tmp_path / "bad.safetensors")


def test_missing_files_and_folders_are_user_errors(tmp_path):
    with pytest.raises(UserError, match="does not exist"):
        read_checkpoint(tmp_path / "none.pth")
    with pytest.raises(UserError, match="is a folder"):
        read_checkpoint(tmp_path)


@pytest.mark.parametrize(
    ("change", "options", "match"),
    [
        pytest.param(
            lambda s: None, {"num_classes": 7}, "a head for 6 classes, expected 7", id="class count"
        ),
        pytest.param(
            lambda s: (s.pop("fc.weight"), s.pop("fc.bias")), {"num_classes": 6}, "no head", id="head missing"
        ),
        pytest.param(
            lambda s: s.pop("fc.weight"), {}, "class count is unknown", id="head cut, count unknown"
        ),
        pytest.param(lambda s: s.pop("conv1.weight"), {}, "lacks 1 tensors", id="a layer missing"),
        pytest.param(
            lambda s: s.update({"layer1.2.conv1.weight": torch.zeros(1)}),
            {},
            "also has 1",
            id="deeper network",
        ),
        pytest.param(
            lambda s: s.update({"conv1.weight": torch.zeros(64, 3, 3, 3)}),
            {},
            r"shape \(64, 3, 3, 3\)",
            id="shape",
        ),
    ],
)
def test_evaluation_refuses_weights_that_do_not_fit(change, options, match, resnet18_file, tmp_path):
    state = dict(resnet18_file[0].state_dict())
    change(state)
    torch.save(state, tmp_path / "changed.pth")
    with pytest.raises(UserError, match=match):
        load_external_classifier(tmp_path / "changed.pth", "resnet18", **options)


def test_a_refused_file_leaves_the_model_as_it_was(resnet18_file):
    model = build_classifier(ClassifierSpec("resnet34", 6, 8, 64), seed=0)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(UserError, match="Choose the architecture"):
        load_pretrained(model, resnet18_file[1], allow_new_head=True)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.load_report is None


def test_without_network_the_message_says_what_to_do(monkeypatch):
    def no_network(arch):
        raise URLError("Name or service not known")

    monkeypatch.setattr("wsol.models.torchvision_network.weights", no_network)
    with pytest.raises(UserError, match="give its path instead of 'imagenet'"):
        build_classifier(ClassifierSpec("resnet18", 2, 8, 64), pretrained="imagenet")
    with pytest.raises(UserError, match="no ImageNet weights"):
        build_classifier(SMALL, pretrained="imagenet")


def test_imagenet_weights_keep_the_head_of_a_thousand_classes_only(monkeypatch):
    net = randomized(torchvision.models.resnet18(weights=None))
    monkeypatch.setattr("wsol.models.torchvision_network.weights", lambda arch: net.state_dict())
    same = build_classifier(ClassifierSpec("resnet18", 1000, 16, 224), pretrained="imagenet")
    other = build_classifier(ClassifierSpec("resnet18", 200, 16, 224), pretrained="imagenet")
    assert (same.load_report.head_reinitialised, other.load_report.head_reinitialised) == (False, True)
    assert same.load_report.source == "torchvision IMAGENET1K_V1"


@pytest.mark.parametrize(
    "arch", [name for name, network in NETWORKS.items() if network.weights and name not in PATCH_TOKENS]
)
def test_torchvision_offers_the_weights_we_name(arch):
    assert "IMAGENET1K_V1" in torchvision.models.get_model_weights(arch.removesuffix("_gap")).__members__
