"""The learning rate, the groups of parameters, weight decay."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from wsol.models import ClassifierSpec, build_classifier
from wsol.training.config import TrainConfig
from wsol.training.optim import build_optimizer, learning_rate, set_learning_rate

SPEC = ClassifierSpec("resnet_small", 3, 4, 32)


@pytest.mark.parametrize(
    ("settings", "step", "expected"),
    [
        pytest.param({"schedule": "step", "decay_every": 2}, 0, 1.0, id="step: first"),
        pytest.param({"schedule": "step", "decay_every": 2}, 19, 1.0, id="step: last before the decay"),
        pytest.param({"schedule": "step", "decay_every": 2}, 20, 0.1, id="step: first after it"),
        pytest.param({"schedule": "step", "decay_every": 2, "decay_factor": 0.5}, 45, 0.25, id="step: twice"),
        pytest.param({"schedule": "cosine"}, 0, 1.0, id="cosine: first"),
        pytest.param({"schedule": "cosine"}, 50, 0.5, id="cosine: middle"),
        pytest.param({"schedule": "cosine"}, 25, 0.5 + 0.5**0.5 / 2, id="cosine: quarter"),
        pytest.param({"schedule": "step", "warmup_epochs": 0.5}, 0, 0.2, id="warmup: first of five"),
        pytest.param({"schedule": "step", "warmup_epochs": 0.5}, 4, 1.0, id="warmup: fifth"),
        pytest.param({"schedule": "step", "warmup_epochs": 0.01}, 0, 1.0, id="warmup shorter than a step"),
    ],
)
def test_learning_rate(settings: dict[str, object], step: int, expected: float) -> None:
    """Ten epochs of ten steps at a rate of 1."""
    config = TrainConfig(lr=1.0, epochs=10, **settings)
    assert learning_rate(config, step, 10) == pytest.approx(expected)


def test_the_rate_falls_after_the_milestones() -> None:
    """Choe et al.'s code multiplies before epochs 3, 6, 9 (counted from 1): two epochs at the full rate, not three."""
    config = TrainConfig(lr=1.0, epochs=10, schedule="step", milestones=(2, 5, 8))
    rates = [learning_rate(config, 10 * epoch, 10) for epoch in range(10)]
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.001, 0.001])


@pytest.mark.parametrize(
    ("arch", "settings", "fast"),
    [
        ("resnet50", {"pretrained": "imagenet", "fast_layers": ("layer4",)}, ("backbone.layer4.", "head.")),
        ("vgg16_gap", {"pretrained": "imagenet"}, ("backbone.conv6.", "head.")),
        ("vgg16_gap", {"classifier_lr_ratio": 10.0}, ("head.",)),
    ],
)
def test_ten_times_the_rate_is_the_references_groups(
    arch: str, settings: dict[str, object], fast: tuple[str, ...]
) -> None:
    """clovaai/wsolevaluation, main.py: layer4 and fc of ResNet-50; all but `features` of VGG16."""
    with torch.device("meta"):
        model = build_classifier(ClassifierSpec(arch, 3, 16, 224))
    config = TrainConfig(arch=arch, size=224, **settings)
    body, quick = build_optimizer(model, config).param_groups
    assert (body["lr_ratio"], quick["lr_ratio"]) == (1.0, 10.0)
    names = {id(p): name for name, p in model.named_parameters()}
    assert {names[id(p)] for p in quick["params"]} == {n for n in names.values() if n.startswith(fast)}
    assert len(body["params"]) + len(quick["params"]) == len(names)


def test_a_fresh_head_stays_random_under_weights_that_have_one(tmp_path: Path) -> None:
    donor = build_classifier(SPEC, seed=1)
    torch.save(donor.state_dict(), tmp_path / "donor.pth")
    start = str(tmp_path / "donor.pth")
    kept = build_classifier(SPEC, pretrained=start, seed=2)
    fresh = build_classifier(SPEC, pretrained=start, seed=2, fresh_head=True)
    assert torch.equal(kept.head.weight, donor.head.weight)
    assert torch.equal(fresh.head.weight, build_classifier(SPEC, seed=2).head.weight)
    assert torch.equal(fresh.backbone.conv1.weight, donor.backbone.conv1.weight)
    assert fresh.load_report is not None
    assert fresh.load_report.head_reinitialised


def test_head_learns_faster_and_everything_decays() -> None:
    config = TrainConfig(lr=0.5, classifier_lr_ratio=10, weight_decay=0.25)
    model = build_classifier(SPEC, seed=0)
    optimizer = build_optimizer(model, config)
    set_learning_rate(optimizer, 0.5)
    body, head = optimizer.param_groups
    assert (body["lr"], head["lr"]) == (0.5, 5.0)
    assert {id(p) for p in head["params"]} == {id(model.head.weight), id(model.head.bias)}
    assert len(body["params"]) + len(head["params"]) == len(list(model.parameters()))
    assert body["weight_decay"] == head["weight_decay"] == 0.25
