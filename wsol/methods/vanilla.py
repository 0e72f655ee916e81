"""No regularizer: the baseline that the others are compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from wsol.methods.batch import check_batch, unmixed
from wsol.methods.contract import Recorded
from wsol.methods.rng import numpy_generator

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from wsol.methods.batch import MixedBatch


@dataclass(frozen=True)
class VanillaDraw:
    """Nothing was drawn but the batch's size."""

    batch_size: int


@dataclass(frozen=True)
class Vanilla(Recorded):
    """Images and labels as they are."""

    name: ClassVar[str] = "vanilla"

    def draw(self, batch_size: int, size_hw: tuple[int, int], generator: torch.Generator) -> VanillaDraw:
        numpy_generator(generator)  # keeps the stream of random numbers in step with the other methods'
        return VanillaDraw(batch_size)

    def apply(self, images: Tensor, labels: Tensor, draw: VanillaDraw) -> MixedBatch:
        check_batch(images, labels, draw.batch_size)
        return unmixed(images, labels)
