"""Checkpoints as training scripts write them: loaded whole, or refused with the key that stands in the way."""

from __future__ import annotations

import argparse
import collections
import pathlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from tests.helpers.dummy_network import TINY, TinyNet
from wsol.errors import UserError
from wsol.models import NETWORKS, load_external_classifier
from wsol.models.pretrained import load_pretrained

State = dict[str, torch.Tensor]
IMAGES = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(autouse=True)
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETWORKS, "tiny", TINY)


def trained(seed: int = 0) -> TinyNet:
    """Every tensor random, running statistics included, so that a missed one shows."""
    generator = torch.Generator().manual_seed(seed)
    net = TinyNet()
    for value in net.state_dict().values():
        if value.is_floating_point():
            value.copy_(torch.rand(value.shape, generator=generator) + 0.1)
    return net.eval()


def under(prefix: str, state: State) -> State:
    return {prefix + name: value for name, value in state.items()}


def body_under(prefix: str, state: State) -> State:
    return {(n if n.startswith("fc.") else prefix + n): v for n, v in state.items()}


def renamed(old: str, new: str) -> Callable[[State], State]:
    return lambda s: {n.replace(old, new): v for n, v in s.items()}


def weight_normed(state: State, parametrized: bool) -> State:
    """fc as torch's weight_norm stores it: lengths and directions, the directions at any length."""
    state = dict(state)
    weight = state.pop("fc.weight")
    names = ("fc.parametrizations.weight.original0", "fc.parametrizations.weight.original1")
    length, direction = names if parametrized else ("fc.weight_g", "fc.weight_v")
    return {**state, length: weight.norm(dim=1, keepdim=True), direction: 3 * weight}


def namespace(s: State) -> dict[str, Any]:
    args = argparse.Namespace(lr=0.1, output_dir=pathlib.Path("out"), seen=np.float32(1.0))
    return {
        "model": s,
        "optimizer": {"state": {0: {"momentum_buffer": torch.ones(2)}}},
        "args": args,
        "epoch": 3,
    }


LOADED: dict[str, Callable[[State], Any]] = {
    "torchvision's reference script": namespace,
    "timm's train.py": lambda s: {
        "epoch": 3,
        "arch": "tiny",
        "state_dict": s,
        "optimizer": {},
        "version": 2,
        "args": argparse.Namespace(lr=0.1),
        "metric": 71.0,
    },
    "numpy scalar beside (ImageNet example)": lambda s: {"state_dict": s, "best_acc1": np.float64(71.2)},
    "numpy array, path and defaultdict beside": lambda s: {
        "state_dict": s,
        "lrs": np.linspace(0, 1, 3),
        "names": np.array(["a", "b"]),
        "out": pathlib.Path("x"),
        "log": collections.defaultdict(list),
    },
    "Lightning": lambda s: {
        "state_dict": under("model.", s),
        "epoch": 1,
        "loops": {"fit": {}},
        "hyper_parameters": {"lr": 0.1},
        "optimizer_states": [{}],
    },
    "Lightning with a loss's weights and metrics": lambda s: {
        "state_dict": {
            **under("net.", s),
            "criterion.weight": torch.ones(3),
            "train_acc.correct": torch.ones(1),
            "val_metrics.acc.total": torch.ones(1),
        }
    },
    "SWA (AveragedModel)": lambda s: {"n_averaged": torch.tensor(3), **under("module.", s)},
    "EMA buffers beside": lambda s: {
        "state_dict": {**s, **{"ema_" + n.replace(".", "_"): v for n, v in s.items()}}
    },
    "DataParallel": lambda s: under("module.", s),
    "compiled": lambda s: under("_orig_mod.", s),
    "one stage compiled": renamed("layer2.", "layer2._orig_mod."),
    "one stage in DataParallel": renamed("layer1.", "layer1.module."),
    "compiled, parallel, Lightning": lambda s: {"state_dict": under("model.module._orig_mod.", s)},
    "FSDP with activation checkpoints": renamed(
        "layer2.0.", "layer2._fsdp_wrapped_module.0._checkpoint_wrapped_module."
    ),
    "net.": lambda s: {"state_dict": under("net.", s)},
    "encoder. and fc": lambda s: body_under("encoder.", s),
    "backbone. and classifier": lambda s: renamed("fc.", "classifier.")(body_under("backbone.", s)),
    "mmpretrain (backbone., head.fc.)": lambda s: {
        "meta": {"epoch": 1},
        "state_dict": renamed("fc.", "head.fc.")(body_under("backbone.", s)),
    },
    "model.backbone. and model.head": lambda s: renamed("fc.", "model.head.")(
        body_under("model.backbone.", s)
    ),
    "resnet.": lambda s: under("resnet.", s),
    "Dropout + Linear head": renamed("fc.", "fc.1."),
    "Sequential head of another name": renamed("fc.", "classifier.0."),
    "head as a 1x1 convolution": lambda s: {**s, "fc.weight": s["fc.weight"][..., None, None]},
    "weight-normalised head": lambda s: weight_normed(s, parametrized=False),
    "weight-normalised head, parametrized": lambda s: weight_normed(s, parametrized=True),
    "parameters, not tensors": lambda s: {n: nn.Parameter(v, requires_grad=False) for n, v in s.items()},
    "state two dicts deep": lambda s: {"checkpoint": {"model": s}},
    "before BatchNorm had counters": lambda s: {n: v for n, v in s.items() if "num_batches" not in n},
    "float64": lambda s: {n: v.double() for n, v in s.items()},
    "pickle protocol 2 without zip": lambda s: s,
}


@pytest.mark.parametrize("layout", LOADED)
def test_layouts_of_training_scripts_load_whole(layout: str, tmp_path: Path) -> None:
    net = trained()
    file = tmp_path / "theirs.pth"
    torch.save(
        LOADED[layout](net.state_dict()), file, _use_new_zipfile_serialization="without zip" not in layout
    )
    model = load_external_classifier(file, "tiny")
    assert model.spec.num_classes == 3
    assert model.load_report is not None
    assert (model.load_report.missing, model.load_report.head_reinitialised) == ((), False)
    with torch.inference_mode():
        torch.testing.assert_close(model(IMAGES).logits, net(IMAGES))


def test_a_head_without_bias_loads_with_zeros(tmp_path: Path) -> None:
    net = trained()
    torch.save({n: v for n, v in net.state_dict().items() if n != "fc.bias"}, tmp_path / "x.pth")
    model = load_external_classifier(tmp_path / "x.pth", "tiny")
    with torch.inference_mode():
        torch.testing.assert_close(model(IMAGES).logits, net(IMAGES) - net.fc.bias)


def broken(name: str, value: torch.Tensor) -> Callable[[State], State]:
    return lambda s: {**s, name: value}


REFUSED: dict[str, tuple[Callable[[State], Any], str]] = {
    "two layers in the head": (
        lambda s: {**renamed("fc.", "fc.0.")(s), "fc.2.weight": torch.ones(3, 3), "fc.2.bias": torch.ones(3)},
        r"the head fc consists of several layers with weights \(fc\.0\.bias, fc\.0\.weight",
    ),
    "an unknown module": (
        lambda s: {**s, "attention.weight": torch.ones(2)},
        r"also has 1 tensors \(attention\.weight\).*--ignore-weights attention",
    ),
    "a deeper stage": (lambda s: {**s, "layer2.1.conv1.weight": torch.ones(2)}, r"layer2\.1\.conv1\.weight"),
    "a layer missing": (
        lambda s: {n: v for n, v in s.items() if n != "layer1.0.conv1.weight"},
        r"lacks 1 tensors \(backbone\.layer1\.0\.conv1\.weight\)",
    ),
    "no head": (lambda s: {n: v for n, v in s.items() if "fc" not in n}, "has no head that tiny knows"),
    "another network": (lambda s: {"conv_stem.weight": torch.ones(2)}, r"it has conv_stem\.weight"),
    "another width": (
        lambda s: {**s, "layer1.0.conv1.weight": torch.ones(4, 3, 3, 3)},
        r"layer1\.0\.conv1\.weight has shape \(4, 3, 3, 3\)",
    ),
    "the optimizer alone": (
        lambda s: {"optimizer": {"state": {}}, "epoch": 1},
        "top level has: optimizer, epoch",
    ),
    "an expanded view": (
        broken("layer1.0.conv1.weight", torch.zeros(1).expand(10**6, 10**6)),
        r"layer1\.0\.conv1\.weight has shape \[1000000, 1000000\]",
    ),
    "an expanded view of a small size": (
        broken("layer1.0.conv1.weight", torch.zeros(1).expand(30_000, 3_000)),
        r"layer1\.0\.conv1\.weight has shape \[30000, 3000\], but the file stores fewer",
    ),
    "sparse": (broken("fc.weight", torch.eye(3).to_sparse()), r"fc\.weight is sparse"),
    "meta": (broken("fc.weight", torch.ones(3, 8, device="meta")), r"fc\.weight has no values"),
    "float8": (
        broken("fc.weight", torch.ones(3, 8).to(torch.float8_e4m3fn)),
        r"fc\.weight has the number format float8_e4m3fn",
    ),
    "quantised": (
        broken("fc.weight", torch.quantize_per_tensor(torch.ones(3, 8), 0.1, 0, torch.qint8)),
        r"fc\.weight is quantised",
    ),
    "infinite": (
        broken("fc.bias", torch.full((3,), float("inf"))),
        r"NaN or infinite values in 1 tensors \(first: fc",
    ),
}


@pytest.mark.parametrize("layout", REFUSED)
def test_other_layouts_are_refused_with_the_key(layout: str, tmp_path: Path) -> None:
    make, message = REFUSED[layout]
    torch.save(make(trained().state_dict()), tmp_path / "theirs.pth")
    with pytest.raises(UserError, match=message) as caught:
        load_external_classifier(tmp_path / "theirs.pth", "tiny")
    assert "theirs.pth" in str(caught.value)


def test_tensors_that_have_no_part_in_the_logits_are_passed_over_when_named(tmp_path: Path) -> None:
    net = trained()
    torch.save({**net.state_dict(), "projector.weight": torch.ones(2, 2)}, tmp_path / "x.pth")
    model = load_external_classifier(tmp_path / "x.pth", "tiny", ignore=("projector",))
    assert model.load_report is not None
    assert model.load_report.left_out == ("projector.weight",)
    assert "left out 1 tensors (projector.weight)" in model.load_report.notes()[0]


class Payload:
    """Unpickling this writes a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.file,))


@pytest.mark.parametrize("protocol", [2, 4])
def test_a_payload_does_not_run(protocol: int, tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    torch.save(
        {"state_dict": trained().state_dict(), "args": argparse.Namespace(hook=Payload(mark))},
        tmp_path / "x.pth",
        pickle_protocol=protocol,
    )
    with pytest.raises(UserError, match="could run code"):
        load_external_classifier(tmp_path / "x.pth", "tiny")
    assert not mark.exists()


def test_a_whole_pickled_network_is_refused_by_its_class(tmp_path: Path) -> None:
    torch.save(trained(), tmp_path / "x.pth")
    with pytest.raises(
        UserError, match=r"object of tests\.helpers\.dummy_network\.TinyNet.*old\.state_dict\(\)"
    ):
        load_external_classifier(tmp_path / "x.pth", "tiny")


SEVERAL: dict[str, tuple[Callable[[State, State], Any], str, str]] = {
    "timm with --model-ema": (
        lambda raw, ema: {"state_dict": raw, "state_dict_ema": ema},
        "state_dict",
        "state_dict_ema",
    ),
    "torchvision with --model-ema": (
        lambda raw, ema: {
            "model_ema": {"n_averaged": torch.tensor(1), **under("module.", ema)},
            "model": raw,
        },
        "model",
        "model_ema",
    ),
    "two prefixes of one dict": (
        lambda raw, ema: {"state_dict": {**under("ema_model.", ema), **under("model.", raw)}},
        "state_dict:model.",
        "ema_model.",
    ),
    "student and teacher": (
        lambda raw, ema: {"teacher": under("backbone.", ema), "student": under("backbone.", raw)},
        "student",
        "teacher",
    ),
}


@pytest.mark.parametrize("layout", SEVERAL)
def test_of_several_sets_the_raw_one_is_taken_and_the_others_are_named(layout: str, tmp_path: Path) -> None:
    make, taken, other = SEVERAL[layout]
    raw, ema = trained(0), trained(1)
    torch.save(make(raw.state_dict(), ema.state_dict()), tmp_path / "both.pth")
    model = load_external_classifier(tmp_path / "both.pth", "tiny")
    report = model.load_report
    assert report is not None
    assert report.weights_key == taken
    assert [o.endswith(other) for o in report.other_weights] == [True]
    assert f"taken: '{taken}'" in report.notes()[0]
    averaged = load_external_classifier(tmp_path / "both.pth", "tiny", weights_key=other)
    with torch.inference_mode():
        torch.testing.assert_close(model(IMAGES).logits, raw(IMAGES))
        torch.testing.assert_close(averaged(IMAGES).logits, ema(IMAGES))
    assert averaged.describe()["pretrained"]["weights_key"].endswith(other)
    with pytest.raises(UserError, match="it has: '.*" + other.rstrip(".")):
        load_external_classifier(tmp_path / "both.pth", "tiny", weights_key="swa")


def test_fine_tuning_passes_over_what_lies_beside_the_body(tmp_path: Path) -> None:
    """Contrastive pre-training: two encoders, a queue, a projection in the head's place."""
    raw, momentum = trained(0), trained(1)
    state = {**under("encoder_q.", raw.state_dict()), **under("encoder_k.", momentum.state_dict())}
    state = renamed("fc.", "fc.0.")(state) | {
        "encoder_q.fc.2.weight": torch.ones(2, 2),
        "queue": torch.ones(2),
    }
    torch.save({"state_dict": state}, tmp_path / "moco.pth")
    from wsol.models import ClassifierSpec, build_classifier

    model = build_classifier(ClassifierSpec("tiny", 5, 4, 32), seed=0)
    report = load_pretrained(model, tmp_path / "moco.pth", allow_new_head=True)
    assert report.head_reinitialised
    assert report.weights_key == "state_dict:encoder_q."
    assert torch.equal(model.backbone.layer1[0]["conv1"].weight, raw.layer1[0]["conv1"].weight)
