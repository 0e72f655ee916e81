"""Batch normalization in training: frozen statistics, and running statistics when a step's batch is cut into parts.

Each part is normalized by its own mean and variance. The running statistics move once a step, by the mean
over all parts of what each part alone would have made of them; so they too are the same for P processes as
for one process with `--accumulate P`, and do not depend on the order of the parts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from wsol.machine.distributed import World, total

if TYPE_CHECKING:
    from torch import Tensor, nn

    from wsol.models import Classifier


def batch_norm_layers(model: Classifier) -> list[_BatchNorm]:
    """The network's batch normalization that published weights have statistics for: not the head's, nor that of layers
    which no published weights have.
    """
    roles = model.parameters_by_role(pretrained=True)
    own = {id(p) for role in ("head", "new") for p in roles[role]}
    return [
        module
        for module in model.modules()
        if isinstance(module, _BatchNorm) and not own & {id(p) for p in module.parameters()}
    ]


def freeze_statistics(model: Classifier) -> None:
    """Normalize every batch by the pretrained statistics from now on, and keep them; scale and shift learn on."""
    for layer in batch_norm_layers(model):
        layer.eval()


def is_folded(model: Classifier) -> bool:
    """Whether the weights' batch normalization was folded into the convolutions, as converters for inference do: every
    mean is then zero and every variance one, and normalizing by a batch's own would undo what the network has learned.
    """
    layers = batch_norm_layers(model)
    return bool(layers) and all(
        layer.running_mean is not None
        and layer.running_var is not None
        and not layer.running_mean.any()
        and bool((layer.running_var - 1).abs().max() < 0.01)
        for layer in layers
    )


class PartStatistics:
    """Averages a network's running statistics over the parts of each step; does nothing for a single part."""

    def __init__(self, model: nn.Module, parts: int, world: World) -> None:
        self._world = world
        self._parts = parts
        self._live: list[Tensor] = []
        self._counts: list[Tensor] = []
        if parts > 1:
            training = [module for module in model.modules() if module.training]  # the others' are frozen
            for name, buffer in (
                named for module in training for named in module.named_buffers(recurse=False)
            ):
                if name in ("running_mean", "running_var"):  # other buffers are constants: tables, filters
                    self._live.append(buffer)
                elif name == "num_batches_tracked":
                    self._counts.append(buffer)
        self._before: list[Tensor] = []
        self._counts_before: list[Tensor] = []
        self._sums: list[Tensor] = []

    def before_part(self, first: bool) -> None:
        """Call before each part's forward pass: every part starts from the step's first statistics."""
        if not self._live:
            return
        if first:
            self._before = [buffer.clone() for buffer in self._live]
            self._sums = [torch.zeros_like(buffer) for buffer in self._live]
            self._counts_before = [count.clone() for count in self._counts]
        else:
            torch._foreach_copy_(self._live, self._before)

    def after_part(self) -> None:
        """Call after each part's forward pass."""
        if self._live:
            torch._foreach_add_(self._sums, self._live)

    def after_step(self) -> None:
        """Call when all of this process's parts are through."""
        if not self._live:
            return
        flat = torch.cat([s.reshape(-1) for s in self._sums])
        flat = total(self._world, flat) / self._parts
        for buffer, mean in zip(self._live, flat.split([b.numel() for b in self._live])):
            buffer.copy_(mean.view_as(buffer))
        for count, before in zip(self._counts, self._counts_before):
            count.copy_(before + 1)
