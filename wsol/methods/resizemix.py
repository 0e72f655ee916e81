"""ResizeMix (Qin et al. 2020, arXiv 2012.11101): paste a whole image, made small, into another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from wsol.errors import UserError
from wsol.methods.batch import MixedBatch, Size, check_batch, unmixed
from wsol.methods.cutmix_box import NO_BOX, BoxDraw, box_around, kept_share, uniform_centre
from wsol.methods.method import Method, setting
from wsol.methods.rng import check_fraction, numpy_generator, partners

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from wsol.training.look import Look


@dataclass(frozen=True)
class ResizeMix(Method):
    """One box for the batch, as in the authors' code: its sides are tau ~ U(low, high) of the image's, its centre is
    uniform, and it is clipped; the partner is resized (nearest pixel) into what is left of it."""

    name: ClassVar[str] = "resizemix"
    low: float = setting(0.1, "Smallest side of the pasted image, as a share.", check_fraction)
    high: float = setting(0.8, "Largest side of the pasted image, as a share.", check_fraction)
    prob: float = setting(1.0, "Chance that a batch is mixed.", check_fraction)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.low > self.high:
            raise UserError(f"resizemix: `low` {self.low} is above `high` {self.high}")

    def draw(self, batch_size: int, size_hw: Size, generator: Generator, progress: float = 0.0) -> BoxDraw:
        rng = numpy_generator(generator)
        permutation = partners(rng, batch_size)
        tau = rng.uniform(self.low, self.high)
        side_hw = int(size_hw[0] * tau), int(size_hw[1] * tau)
        box = box_around(size_hw, side_hw, uniform_centre(rng, size_hw))
        box = box if rng.random() < self.prob else NO_BOX
        return BoxDraw(permutation, (box,), (kept_share(box, size_hw),))

    def apply(self, images: Tensor, labels: Tensor, draw: BoxDraw, look: Look | None = None) -> MixedBatch:
        from torch.nn.functional import interpolate

        check_batch(images, labels, len(draw.permutation))
        if draw.lam == (1.0,):
            return unmixed(images, labels)
        ((x0, y0, x1, y1),) = draw.boxes_xyxy
        permutation = draw.permutation.to(images.device, non_blocking=True)
        mixed = images.clone()
        mixed[:, :, y0:y1, x0:x1] = interpolate(images[permutation], (y1 - y0, x1 - x0))
        return MixedBatch(mixed, labels, labels[permutation], draw.lam[0])
