"""Fixtures that several files of this folder share."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torchvision
from torch import nn

from tests.helpers.random_networks import randomized
from tests.helpers.tiny_dataset import make_tiny_dataset


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny dataset, to be read only: tests that damage something copy it first."""
    return make_tiny_dataset(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs and the pixel cache go to the current folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def resnet18_file(tmp_path: Path) -> tuple[nn.Module, Path]:
    """A ResNet-18 of six classes and the file of its weights."""
    net = randomized(torchvision.models.resnet18(weights=None, num_classes=6))
    torch.save(net.state_dict(), tmp_path / "resnet18.pth")
    return net, tmp_path / "resnet18.pth"
