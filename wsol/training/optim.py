"""The optimizer and its learning rate; the schedule is a pure function of the step, so it has no state to lose."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch

from wsol.cams.layers import layer_named

if TYPE_CHECKING:
    from wsol.models import Classifier
    from wsol.training.config import TrainConfig


def learning_rate(config: TrainConfig, step: int, steps_per_epoch: int) -> float:
    """The backbone's learning rate at a step (from 0).

    `step`: times decay_factor after each of the milestones, or else after every decay_every epochs; constant within an
    epoch. `cosine`: half a cosine wave from --lr to zero over the whole run, step by step. Warmup multiplies either by
    a ramp from 0 (excluded) to 1 over warmup_epochs.
    """
    if config.schedule == "step":
        epoch = step // steps_per_epoch
        falls = (
            sum(m <= epoch for m in config.milestones) if config.milestones else epoch // config.decay_every
        )
        rate = config.base_lr * config.decay_factor**falls
    else:
        rate = config.base_lr * 0.5 * (1 + math.cos(math.pi * step / (config.epochs * steps_per_epoch)))
    ramp = config.warmup_epochs * steps_per_epoch
    return rate * (step + 1) / ramp if step + 1 < ramp else rate


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every parameter group its own multiple of the backbone's rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_ratio"]


def build_optimizer(model: Classifier, config: TrainConfig) -> torch.optim.SGD:
    """SGD with two groups; weight decay acts on every parameter, as in the references.

    The fast group learns `head_lr_ratio` times as fast: the head, layers that no published weights have, and those that
    `fast_layers` names. `UserError` for a layer that the network does not have.
    """
    roles = model.parameters_by_role(pretrained=config.pretrained is not None)
    chosen = [p for name in config.fast_layers for p in layer_named(model.backbone, name).parameters()]
    fast = list(dict.fromkeys([*roles["head"], *roles["new"], *chosen]))
    known = {id(p) for p in fast}
    groups = [
        {
            "params": [p for p in model.parameters() if id(p) not in known and p.requires_grad],
            "lr_ratio": 1.0,
        },
        {"params": fast, "lr_ratio": config.head_lr_ratio},
    ]
    return torch.optim.SGD(
        groups,
        lr=config.base_lr,
        momentum=config.momentum,
        nesterov=config.nesterov,
        weight_decay=config.weight_decay,
        fused=True,
    )


def optimizer_tensors(model: Classifier, optimizer: torch.optim.Optimizer) -> dict[str, torch.Tensor]:
    """The optimizer's memory by parameter name; parameters that were never stepped have none."""
    found = {}
    for name, parameter in model.named_parameters():
        momentum = optimizer.state.get(parameter, {}).get("momentum_buffer")
        if momentum is not None:
            found[name] = momentum
    return found


def restore_optimizer(
    model: Classifier, optimizer: torch.optim.Optimizer, tensors: Mapping[str, torch.Tensor]
) -> None:
    """Put back what `optimizer_tensors` took."""
    for name, parameter in model.named_parameters():
        if name in tensors:
            memory = torch.empty_like(parameter).copy_(tensors[name])  # on its device, in its layout
            optimizer.state[parameter]["momentum_buffer"] = memory.detach()
