"""Hide-and-Seek (Singh and Lee, ICCV 2017, arXiv 1704.04811): hide random cells of a grid over each image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from wsol.errors import UserError
from wsol.methods.batch import check_batch, hidden, unmixed
from wsol.methods.method import Method, setting
from wsol.methods.rng import check_count, check_fraction, numpy_generator

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from wsol.methods.batch import MixedBatch
    from wsol.training.look import Look


@dataclass(frozen=True)
class HaSDraw:
    """`hidden` is bool [N, G, G]: which cells (row, column) of each image's grid are filled."""

    hidden: Tensor


@dataclass(frozen=True)
class HaS(Method):
    """Hide-and-Seek's settings: `grid` x `grid` cells, each hidden with chance `prob`, afresh for every image.

    The defaults hide half of 4 x 4 cells, which are 56 pixels wide at 224: one of the paper's patch sizes
    at its hiding probability. Cells follow the image's size (pixel y lies in row floor(y * grid / H)), so a
    grid that does not divide it gives cells that differ by a pixel. Hidden cells get 0, the mean colour of
    a normalised image, which is the fill that the paper derives.
    """

    name: ClassVar[str] = "has"
    grid: int = setting(4, "Cells along a side.", check_count)
    prob: float = setting(0.5, "Chance that a cell is hidden.", check_fraction)

    def draw(
        self, batch_size: int, size_hw: tuple[int, int], generator: torch.Generator, progress: float = 0.0
    ) -> HaSDraw:
        import torch

        if self.grid > min(size_hw):
            raise UserError(
                f"has: a grid of {self.grid} x {self.grid} cells does not fit images of "
                f"{size_hw[1]} x {size_hw[0]} pixels; choose a smaller `grid`"
            )
        rng = numpy_generator(generator)
        return HaSDraw(torch.from_numpy(rng.random((batch_size, self.grid, self.grid)) < self.prob))

    def apply(self, images: Tensor, labels: Tensor, draw: HaSDraw, look: Look | None = None) -> MixedBatch:
        import torch

        check_batch(images, labels, len(draw.hidden))
        height, width = images.shape[-2:]
        rows = torch.arange(height, device=images.device) * self.grid // height  # [H] -> row of the grid
        columns = torch.arange(width, device=images.device) * self.grid // width  # [W]
        masks = draw.hidden.to(images.device)[:, rows][:, :, columns]  # [N, G, G] -> [N, H, W]
        return unmixed(hidden(images, masks[:, None]), labels)
