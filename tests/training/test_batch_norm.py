from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.helpers.tiny_dataset import tiny_config
from wsol.errors import UserError
from wsol.files.checked_safetensors import load_tensors, save_tensors
from wsol.machine.distributed import World
from wsol.models import ClassifierSpec, build_classifier
from wsol.training.batchnorm_stats import PartStatistics, freeze_statistics
from wsol.training.loop import Trainer
from wsol.training.progress import Silent
from wsol.training.session import train


@pytest.fixture
def start(manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Weights to start from: a network after one epoch, whose statistics are those of the tiny dataset."""
    monkeypatch.chdir(tmp_path)
    return train(tiny_config(manifest, epochs=1, out="first"), report=Silent()).run.weights


STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


def weights(file: Path) -> dict[str, torch.Tensor]:
    return load_tensors(file)[0]


@pytest.mark.parametrize("accumulate", [1, 2])
def test_frozen_statistics_stay_and_all_else_learns(manifest: Path, start: Path, accumulate: int) -> None:
    config = tiny_config(manifest, pretrained=str(start), freeze_batch_norm=True, accumulate=accumulate)
    before, after = weights(start), weights(train(config, report=Silent()).run.weights)
    for name, tensor in after.items():
        assert torch.equal(tensor, before[name]) == name.endswith(STATISTICS), name


@pytest.mark.parametrize("frozen", [True, False])
def test_only_frozen_batches_are_normalized_one_by_one(manifest: Path, start: Path, frozen: bool) -> None:
    """A network whose batches are normalized by fixed statistics sees an image alike in every batch."""
    model = build_classifier(ClassifierSpec("resnet_small", 3, 4, 32), pretrained=str(start)).train()
    if frozen:
        freeze_statistics(model)
    images = torch.rand(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        alone, together = model(images[:2]).logits, model(images).logits[:2]
    assert torch.allclose(alone, together, atol=1e-4) == frozen


def test_a_frozen_run_is_resumed_frozen(manifest: Path, start: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"pretrained": str(start), "freeze_batch_norm": True, "checkpoint_every_steps": 1}
    whole = train(tiny_config(manifest, out="whole", **settings), report=Silent()).run
    step, taken = Trainer.step, []

    def breaks(self: Trainer, batches: Any) -> None:
        if len(taken) == 4:
            raise RuntimeError("pulled the plug")
        taken.append(1)
        step(self, batches)

    monkeypatch.setattr(Trainer, "step", breaks)
    with pytest.raises(RuntimeError, match="pulled the plug"):
        train(tiny_config(manifest, out="broken", **settings), report=Silent())
    monkeypatch.setattr(Trainer, "step", step)
    resumed = train(tiny_config(manifest, out="broken", resume=True, **settings), report=Silent()).run
    for name, tensor in weights(whole.weights).items():
        assert torch.equal(tensor, weights(resumed.weights)[name]), name


class Lines(Silent):
    """Keeps what would be shown."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)


@pytest.mark.parametrize(
    ("folded", "frozen", "said"),
    [
        pytest.param(True, False, True, id="folded weights"),
        pytest.param(True, True, False, id="folded and frozen"),
        pytest.param(False, False, False, id="weights with statistics"),
    ],
)
def test_weights_whose_batch_normalization_is_folded_are_named(
    manifest: Path, start: Path, folded: bool, frozen: bool, said: bool
) -> None:
    """Converters for inference leave a mean of 0 and a variance of 1 - eps."""
    tensors = weights(start)
    for name, tensor in tensors.items():
        if folded and name.endswith("running_mean"):
            tensor.zero_()
        if folded and name.endswith("running_var"):
            tensor.fill_(0.999)
    save_tensors(Path("start.safetensors"), tensors, {})
    report = Lines()
    train(
        tiny_config(manifest, epochs=1, pretrained="start.safetensors", freeze_batch_norm=frozen),
        report=report,
    )
    assert any("is folded into its convolutions" in line for line in report.lines) == said


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param({}, "does nothing without --pretrained", id="from scratch"),
        pytest.param(
            {"arch": "vgg16_gap", "pretrained": "vgg.safetensors"},
            "does nothing without batch normalization in --arch vgg16_gap",
            id="a network that has none",
        ),
    ],
)
def test_nothing_to_freeze_is_said(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if changes:
        network = build_classifier(ClassifierSpec("vgg16_gap", 3, 8, 32))
        save_tensors(Path("vgg.safetensors"), network.state_dict(), {})
    with pytest.raises(UserError, match=message):
        train(tiny_config(manifest, freeze_batch_norm=True, **changes), report=Silent())
    assert not Path("runs").exists()


def test_parts_move_the_running_statistics_and_no_other_buffer() -> None:
    """Tables of indices (coatnet, maxvit) and blur filters (resnetblur) are buffers too, and constants."""
    net = torch.nn.Sequential(torch.nn.BatchNorm2d(2))
    table, blur = torch.arange(5), torch.rand(64, generator=torch.Generator().manual_seed(0))
    net.register_buffer("table", table.clone())
    net.register_buffer("blur", blur.clone())
    statistics = PartStatistics(net, 3, World())
    for turn in range(3):
        statistics.before_part(turn == 0)
        net(torch.full((1, 2, 1, 2), float(turn)))
        statistics.after_part()
    statistics.after_step()
    assert torch.equal(net.get_buffer("table"), table)
    assert torch.equal(net.get_buffer("blur"), blur)
    assert net.get_buffer("0.running_mean").tolist() == pytest.approx([0.1, 0.1])  # momentum 0.1, mean 1
    assert int(net.get_buffer("0.num_batches_tracked")) == 1
