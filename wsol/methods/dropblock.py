"""DropBlock (Ghiasi et al., NeurIPS 2018, arXiv 1810.12890): set squares of cells to 0 in a layer's output."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from wsol.cams.layers import layer_named
from wsol.methods.method import Method, setting
from wsol.methods.rng import check_count, check_fraction, numpy_generator

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from wsol.models import Classifier


@dataclass(frozen=True)
class DropBlockDraw:
    """`seed` of the batch's squares; `drop`, the share of cells to drop now."""

    seed: int
    drop: float


@dataclass(frozen=True)
class DropBlock(Method):
    """Squares of 7 cells, a tenth of the cells dropped at the end of a linear rise from none, as published for
    ResNet-50. Behind each of `sites`; the paper has it behind each convolution and shortcut of its groups 3 and 4."""

    name: ClassVar[str] = "dropblock"
    drop: float = setting(0.1, "Share of cells that are dropped at the end of the run.", check_fraction)
    block: int = setting(7, "Side of a square in cells, at most the map's side.", check_count)
    sites: tuple[str, ...] = setting(("layer3", "layer4"), "Layers of the backbone.")

    def draw(
        self, batch_size: int, size_hw: tuple[int, int], generator: torch.Generator, progress: float = 0.0
    ) -> DropBlockDraw:
        return DropBlockDraw(int(numpy_generator(generator).integers(2**62)), self.drop * progress)

    def extend(self, model: Classifier) -> None:
        for name in self.sites:
            layer_named(model.backbone, name)  # a `UserError` for a layer that this network does not have

    def layers(self, model: Classifier, draw: DropBlockDraw) -> Mapping[str, Callable[[Tensor], Tensor]]:
        import torch

        def dropping(place: int) -> Callable[[Tensor], Tensor]:
            def drop(features: Tensor) -> Tensor:
                generator = torch.Generator(features.device).manual_seed(draw.seed + place)
                return dropped(features, draw.drop, self.block, generator)

            return drop

        return {name: dropping(i) for i, name in enumerate(self.sites)} if draw.drop else {}


def dropped(features: Tensor, drop: float, block: int, generator: torch.Generator) -> Tensor:
    """`features` [N, C, h, w] without about a share `drop` of their cells (algorithm 1), the rest scaled up by what
    was left. One mask an image, the same for all channels; square centres lie where whole squares fit."""
    import torch
    from torch.nn.functional import max_pool2d, pad

    n, _, height, width = features.shape
    side = min(block, height, width)
    valid_h, valid_w = height - side + 1, width - side + 1
    gamma = drop * height * width / (side**2 * valid_h * valid_w)
    starts = torch.rand((n, 1, valid_h, valid_w), generator=generator, device=features.device) < gamma
    hit = max_pool2d(pad(starts.float(), [side - 1] * 4), side, 1)  # [N, 1, h, w]: 1 in each square
    kept = 1.0 - hit
    return features * (kept * (kept.numel() / kept.sum().clamp(min=1))).to(features.dtype)
