"""Attentive CutMix (Walawalkar et al., ICASSP 2020, arXiv 2003.13048): paste the cells that a network attends to.

Of a `grid` x `grid` division of the partner, the cells where the mean activation of the final map is highest are pasted
where they lie. The labels weigh the cells' share: lambda = 1 - cells / grid^2.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from wsol.errors import UserError
from wsol.methods.batch import MixedBatch, check_batch, unmixed
from wsol.methods.method import Method, setting
from wsol.methods.rng import check_count, check_fraction, numpy_generator, partners

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from wsol.training.look import Look


@dataclass(frozen=True)
class AttentiveCutMixDraw:
    """`permutation` int64 [N], the partners; `mixing`, whether the batch is mixed at all."""

    permutation: Tensor
    mixing: bool


@dataclass(frozen=True)
class AttentiveCutMix(Method):
    """Six of 7 x 7 cells, as published. The attention is that of the network in training; the paper takes a second,
    pretrained one."""

    name: ClassVar[str] = "attentive_cutmix"
    cells: int = setting(6, "Cells that are pasted.", check_count)
    grid: int = setting(7, "Cells along a side.", check_count)
    prob: float = setting(1.0, "Chance that a batch is mixed.", check_fraction)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cells > self.grid**2:
            raise UserError(f"attentive_cutmix: {self.cells} `cells` are more than {self.grid} x {self.grid}")

    def draw(
        self, batch_size: int, size_hw: tuple[int, int], generator: torch.Generator, progress: float = 0.0
    ) -> AttentiveCutMixDraw:
        rng = numpy_generator(generator)
        permutation = partners(rng, batch_size)
        return AttentiveCutMixDraw(permutation, bool(rng.random() < self.prob))

    def apply(
        self, images: Tensor, labels: Tensor, draw: AttentiveCutMixDraw, look: Look | None = None
    ) -> MixedBatch:
        import torch
        from torch.nn.functional import adaptive_avg_pool2d

        check_batch(images, labels, len(draw.permutation))
        if not draw.mixing:
            return unmixed(images, labels)
        assert look is not None, "Attentive CutMix reads the network's final map"
        permutation = draw.permutation.to(images.device)
        attention = look.outputs(images).features.float().mean(1, keepdim=True)  # [N, 1, h, w]
        coarse = adaptive_avg_pool2d(attention, self.grid).flatten(1)  # [N, grid * grid]
        pasted = torch.zeros_like(coarse, dtype=torch.bool).scatter_(1, coarse.topk(self.cells).indices, True)
        pasted = pasted.view(-1, self.grid, self.grid)[permutation]
        height, width = images.shape[-2:]
        rows = torch.arange(height, device=images.device) * self.grid // height
        columns = torch.arange(width, device=images.device) * self.grid // width
        masks = pasted[:, rows][:, :, columns][:, None]  # [N, 1, H, W]
        mixed = torch.where(masks, images[permutation], images)
        return MixedBatch(mixed, labels, labels[permutation], 1.0 - self.cells / self.grid**2)
