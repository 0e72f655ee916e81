from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

from eval.evaluation.networks import pick_device
from wsol.machine.distributed import World


@pytest.fixture
def with_tf32() -> Iterator[None]:
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


@pytest.mark.usefixtures("with_tf32")
@pytest.mark.parametrize("name", ["auto", "cuda:0"])
def test_float32_is_float32_on_a_gpu_in_every_evaluation(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """torch lets convolutions round to TF32 by default; every command that evaluates asks for its device here."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch, "empty", lambda *_, device: None)
    assert pick_device(name, World()) == torch.device("cuda:0")
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32
