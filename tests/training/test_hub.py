"""Weights named as repositories of the Hugging Face hub, which a local folder stands for."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from wsol.errors import UserError
from wsol.models import ClassifierSpec, build_classifier, load_external_classifier
from wsol.models.hub import network_of

timm = pytest.importorskip("timm")
huggingface_hub = pytest.importorskip("huggingface_hub")
NAME = "hf-hub:me/birds@main"
CONFIG = {
    "architecture": "test_resnet",
    "num_classes": 3,
    "pretrained_cfg": {
        "mean": [0.5, 0.4, 0.3],
        "std": [0.2, 0.2, 0.2],
        "input_size": [3, 96, 96],
        "interpolation": "bilinear",
    },
}


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that stands for `me/birds`; only files that lie there can be fetched."""

    def download(repo_id: str, filename: str, revision: str | None = None) -> str:
        assert (repo_id, revision) == ("me/birds", "main")
        if not (tmp_path / filename).is_file():
            raise RuntimeError(f"404: {filename}\nsecond line")
        return str(tmp_path / filename)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    return tmp_path


def test_a_repository_says_its_network_and_its_input(hub: Path) -> None:
    theirs = timm.create_model("test_resnet", num_classes=3).eval()
    save_file(theirs.state_dict(), hub / "model.safetensors")
    (hub / "config.json").write_text(json.dumps(CONFIG))
    arch, pixels = network_of(NAME, None)
    assert (arch, pixels.size, pixels.mean, pixels.std) == (
        "timm:test_resnet",
        96,
        (0.5, 0.4, 0.3),
        (0.2,) * 3,
    )
    assert pixels.interpolation == "bilinear"
    model = load_external_classifier(NAME, arch, pixels=pixels)
    images = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(model(images).logits, theirs(images))
    assert model.spec.num_classes == 3


def test_fine_tuning_starts_from_a_repository(hub: Path) -> None:
    theirs = timm.create_model("test_resnet", num_classes=3).state_dict()
    save_file(theirs, hub / "model.safetensors")
    model = build_classifier(ClassifierSpec("timm:test_resnet", 5, None, 96), pretrained=NAME)
    report = model.load_report
    assert report is not None
    assert (report.source, report.head_reinitialised, report.source_classes) == (NAME, True, 3)
    name = next(iter(theirs))
    assert torch.equal(model.state_dict()[f"backbone.body.{name}"], theirs[name])


def written(config: object) -> Callable[[Path], object]:
    return lambda hub: (hub / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("name", "arch", "lay", "message"),
    [
        ("weights.pth", None, lambda hub: None, "--checkpoint needs --arch"),
        (NAME, None, lambda hub: None, r"config\.json could not be fetched \(404: config\.json\)"),
        (
            "hf-hub:birds",
            None,
            lambda hub: None,
            "names no repository of the hub; expected hf-hub:OWNER/NAME",
        ),
        ("hf-hub:../a/b", None, lambda hub: None, "names no repository of the hub"),
        (NAME, None, written({"num_classes": 3}), "names no 'architecture'; give the network with --arch"),
        (NAME, None, written([1]), "names no 'architecture'"),
        (NAME, None, written({"architecture": "no_such"}), "unknown timm network 'no_such'"),
        (
            NAME,
            "timm:test_resnet",
            written({"pretrained_cfg": {"mean": 3, "std": 1, "input_size": 4}}),
            "no input",
        ),
    ],
)
def test_repositories_that_say_too_little(
    hub: Path, name: str, arch: str | None, lay: Callable[[Path], object], message: str
) -> None:
    lay(hub)
    with pytest.raises(UserError, match=message):
        network_of(name, arch)


def test_pickled_weights_are_not_fetched(hub: Path) -> None:
    (hub / "pytorch_model.bin").write_bytes(b"\x80\x02cos\nsystem\n")
    with pytest.raises(
        UserError, match=r"model\.safetensors could not be fetched .* Pickled weights are never"
    ):
        load_external_classifier(NAME, "timm:test_resnet")
