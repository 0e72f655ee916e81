"""Contexts a network runs in: evaluation mode that leaves no trace, and full precision."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import nn


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Put every module of `model` into evaluation mode, and each back into its own mode afterwards.

    Errors included, also those of a module whose own `eval` raises.
    """
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for module, training in modes:
            module.training = training


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Full precision for a few operations, on devices that know autocast and on those that do not."""
    if torch.amp.is_autocast_available(device.type):
        return torch.autocast(device.type, enabled=False)
    return nullcontext()
