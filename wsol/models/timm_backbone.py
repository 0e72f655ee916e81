"""Backbones from timm, where a classic CAM exists: a final map [N, C, h, w], average pooling, one linear
head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from wsol.errors import UserError, unknown_name
from wsol.models.checkpoint_files import first_line
from wsol.models.names import TIMM_PREFIX


@dataclass(frozen=True)
class TimmParts:
    """A timm network taken apart: `head` has been taken off `body`. `stride` is measured, not looked up."""

    body: nn.Module
    head: nn.Linear
    head_name: str
    stride: int
    stride_changes: tuple[str, ...]


class TimmBackbone(nn.Module):
    """The part of a timm network up to the final map; weights keep timm's names."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, images: Tensor) -> Tensor:
        return self.body.forward_features(images)  # type: ignore[operator]


def import_timm() -> Any:
    """The timm package; UserError where it is not installed."""
    try:
        import timm
    except ImportError as error:
        raise UserError(
            "networks named timm:NAME need the package timm; install it with `pip install 'wsol-eval[backbones]'`"
        ) from error
    return timm


def head_name(arch: str) -> str:
    """The name of a timm network's classifier layer, as its checkpoints spell it."""
    timm = import_timm()
    name = arch.removeprefix(TIMM_PREFIX)
    if not timm.is_model(name):
        near = timm.list_models(f"*{name.split('_')[0].split('.')[0]}*")
        raise unknown_name("timm network", name, near or timm.list_models("resnet*")) from None
    classifier = timm.get_pretrained_cfg(name).classifier
    return classifier if isinstance(classifier, str) else "fc"


def take_apart(arch: str, num_classes: int, input_size: int, output_stride: int | None) -> TimmParts:
    """Build a timm network and separate its head.

    `output_stride` None keeps the network's own. Raises UserError when timm is missing, does not know the
    name, cannot give the stride, or when the network's logits are not head(mean over the cells of the final
    map).
    """
    timm = import_timm()
    classifier = head_name(arch)
    name = arch.removeprefix(TIMM_PREFIX)
    options = {} if output_stride in (None, 32) else {"output_stride": output_stride}
    try:
        body = timm.create_model(name, pretrained=False, num_classes=num_classes, **options)
    except (TypeError, ValueError, AssertionError, NotImplementedError, RuntimeError) as error:
        raise UserError(
            f"timm cannot make {name} at output stride {output_stride}: {first_line(error)}; "
            f"try its own stride (32 for most networks)"
        ) from error
    head, stride = _checked_head(body, arch, input_size)
    if output_stride is not None and stride != output_stride:
        raise UserError(
            f"{arch} has output stride {stride} at {input_size} pixels, not {output_stride}; ask for {stride}"
        )
    body.reset_classifier(0)
    changes = (f"output stride {stride} through timm, which dilates",) if options else ()
    return TimmParts(body, head, classifier, stride, changes)


def timm_weights(arch: str) -> dict[str, Tensor]:
    """A timm network's own pretrained weights, downloaded on first use; whatever its hub raises when that
    fails.
    """
    timm = import_timm()
    head_name(arch)  # an unknown name is the user's mistake, not the network's
    return timm.create_model(arch.removeprefix(TIMM_PREFIX), pretrained=True).state_dict()


def _checked_head(body: Any, arch: str, input_size: int) -> tuple[nn.Linear, int]:
    """The linear head and the measured stride, after a trial that logits == head(mean of the final map)."""
    head = body.get_classifier()
    training = body.training
    body.eval()
    trial = torch.rand((1, 3, input_size, input_size), generator=torch.Generator().manual_seed(0))
    try:
        with torch.inference_mode():
            features, logits = body.forward_features(trial), body(trial)
    except (AssertionError, RuntimeError, ValueError) as error:
        raise UserError(f"{arch} does not take images of {input_size} pixels: {first_line(error)}") from error
    finally:
        body.train(training)
    if not (
        isinstance(head, nn.Linear)
        and isinstance(features, Tensor)  # some give a list or a pair
        and features.ndim == 4
        and features.shape[1] == head.in_features
        and _agree(head(features.mean((2, 3))), logits)
    ):
        raise UserError(
            f"{arch} has no class activation map: its logits are not one linear head over the average of a "
            f"final map [N, C, h, w]; choose a network with average pooling and a single linear head (timm:resnet50, "
            f"timm:densenet121, timm:efficientnet_b0, timm:regnetx_002 ...)"
        )
    return head, round(input_size / features.shape[-1])


def _agree(a: Tensor, b: Tensor) -> bool:
    scale = float(b.detach().abs().max())
    return bool(torch.allclose(a.detach(), b, rtol=1e-4, atol=1e-4 * scale))
