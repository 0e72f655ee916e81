"""Hide-and-Seek (Singh and Lee, ICCV 2017, arXiv 1704.04811): hide random cells of a grid over each image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from wsol.errors import UserError
from wsol.methods.batch import Size, check_batch, hidden, unmixed
from wsol.methods.method import Method, setting
from wsol.methods.rng import check_count, check_fraction, numpy_generator

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from wsol.methods.batch import MixedBatch
    from wsol.training.look import Look


@dataclass(frozen=True)
class HaSDraw:
    """`hidden` is bool [N, G, G]: which cells (row, column) of each image's grid are filled; or [N, H, W], pixels."""

    hidden: Tensor


@dataclass(frozen=True)
class HaS(Method):
    """Hide-and-Seek's settings; each cell is hidden by itself, afresh for every image.

    The defaults hide half of 4 x 4 cells, which are 56 pixels wide at 224: one of the paper's patch sizes at its hiding
    probability. A grid that does not divide the image gives cells that differ by a pixel. Cells of `cell_px` begin at
    the top left and are cut off at the other end, as in Choe et al.'s code; the paper's own code draws a size for each
    image from 0 (nothing hidden), 16, 32, 44 and 56 pixels. Hidden cells get 0, the mean colour of a normalised image,
    which is the fill that the paper derives.
    """

    name: ClassVar[str] = "has"
    grid: int = setting(4, "Cells along a side.", check_count)
    prob: float = setting(0.5, "Chance that a cell is hidden.", check_fraction)
    cell_px: tuple[int, ...] = setting(
        (),
        "Sides of the cells in pixels, one drawn for each image (0: nothing hidden); instead of --has-grid.",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if any(isinstance(px, bool) or not isinstance(px, int) or px < 0 for px in self.cell_px):
            raise UserError(f"has: `cell_px` must be whole numbers of at least 0, got {self.cell_px!r}")

    def draw(self, batch_size: int, size_hw: Size, generator: Generator, progress: float = 0.0) -> HaSDraw:
        import torch

        rng = numpy_generator(generator)
        if self.cell_px:
            sides = [self.cell_px[i] for i in rng.integers(len(self.cell_px), size=batch_size)]
            pixels = np.zeros((batch_size, *size_hw), bool)
            for i, px in enumerate(sides):
                if px:
                    cells = rng.random([-(-side // px) for side in size_hw]) < self.prob
                    pixels[i] = cells.repeat(px, 0).repeat(px, 1)[: size_hw[0], : size_hw[1]]
            return HaSDraw(torch.from_numpy(pixels))
        if self.grid > min(size_hw):
            raise UserError(
                f"has: a grid of {self.grid} x {self.grid} cells does not fit images of "
                f"{size_hw[1]} x {size_hw[0]} pixels; choose a smaller `grid`"
            )
        return HaSDraw(torch.from_numpy(rng.random((batch_size, self.grid, self.grid)) < self.prob))

    def apply(self, images: Tensor, labels: Tensor, draw: HaSDraw, look: Look | None = None) -> MixedBatch:
        import torch

        check_batch(images, labels, len(draw.hidden))
        (height, width), (down, across) = images.shape[-2:], draw.hidden.shape[-2:]
        rows = torch.arange(height, device=images.device) * down // height  # [H] -> row of the grid
        columns = torch.arange(width, device=images.device) * across // width  # [W]
        masks = draw.hidden.to(images.device)[:, rows][:, :, columns]  # [N, G, G] -> [N, H, W]
        return unmixed(hidden(images, masks[:, None]), labels)
