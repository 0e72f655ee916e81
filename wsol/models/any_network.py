"""Any `torch.nn.Module` that gives logits, seen as a network whose score maps can be read at one of its layers."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from wsol.errors import UserError
from wsol.models.head import Outputs
from wsol.models.mode import evaluation_mode
from wsol.models.pixels import Pixels


@dataclass(frozen=True)
class AnySpec:
    """What is known of somebody's own network: its classes, its input, and the layer that maps are read at."""

    num_classes: int
    input_size: int
    pixels: Pixels
    layer: str

    @property
    def input(self) -> Pixels:
        """The input it was made for."""
        return self.pixels


class AnyNetwork(nn.Module):
    """A module that turns images float [N, 3, S, S] into logits [N, K].

    `layer` is the dotted name of the module whose output [N, C, h, w] score maps are read from; None takes the last one
    with more than one cell. The map of a class is made from the gradient of its logit with respect to that output
    (`hirescam` and its kin). Where average pooling and one linear layer follow, `hirescam` is the class activation map
    divided by the number of cells.

    Raises UserError where the module does not give logits [N, K], or no layer fits.
    """

    def __init__(self, module: nn.Module, pixels: Pixels, layer: str | None = None) -> None:
        super().__init__()
        self.backbone = module
        self.head = nn.Identity()
        layers, num_classes = _trial(module, pixels.size)
        if layer is None:
            if not layers:
                raise UserError(
                    f"no layer of {type(module).__name__} gives a map [N, channels, cells, cells] of more than one "
                    "cell; name one with `layer`"
                )
            layer = layers[-1]
        self.spec = AnySpec(num_classes, pixels.size, pixels, layer)

    def forward(self, images: Tensor, class_ids: Tensor | None = None) -> Outputs:
        """The module's logits. There is no final map whose head is known: it stands empty."""
        logits = self.backbone(images)
        return Outputs(logits, logits.new_zeros((len(logits), 0, 1, 1)), {})

    def describe(self) -> dict[str, Any]:
        """What a result records: the module's class, its layer, its input, and a SHA-256 of its weights."""
        digest = hashlib.sha256()
        for name, value in self.backbone.state_dict().items():
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
        return {
            "module": type(self.backbone).__name__,
            "layer": self.spec.layer,
            "num_classes": self.spec.num_classes,
            "pixels": self.spec.pixels.to_dict(),
            "weights_sha256": digest.hexdigest(),
        }


def _trial(module: nn.Module, size: int) -> tuple[list[str], int]:
    """The layers that give a square map of several cells, in the order in which they finish, and the class count."""
    found: list[str] = []

    def reader(name: str) -> Any:
        def read(_: nn.Module, inputs: object, output: object) -> None:
            if isinstance(output, Tensor) and output.ndim == 4 and output.shape[2] == output.shape[3] > 1:
                found.append(name)

        return read

    handles = [m.register_forward_hook(reader(n)) for n, m in module.named_modules() if n]
    parameter = next(module.parameters(), None)
    device = parameter.device if parameter is not None else torch.device("cpu")
    try:
        with evaluation_mode(module), torch.inference_mode():
            logits = module(torch.zeros((1, 3, size, size), device=device))
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:
        raise UserError(
            f"{type(module).__name__} does not take images [N, 3, {size}, {size}]: "
            f"{(str(error).splitlines() or [type(error).__name__])[0][:200]}"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    if not isinstance(logits, Tensor) or logits.ndim != 2:
        shape = list(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
        raise UserError(f"{type(module).__name__} gives {shape}, expected logits [N, classes]")
    once = [name for name in found if found.count(name) == 1]
    return once, int(logits.shape[1])
