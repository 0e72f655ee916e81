"""SnapMix (Huang et al., AAAI 2021, arXiv 2012.04846): CutMix whose label weights follow the class activation maps.

A box of each image is filled with another box of its partner, resized. An image's own label weighs what of its
class's map lies outside its box; the partner's label weighs what of its map lay inside the box that was taken. The two
weights need not sum to 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from wsol.methods.batch import MixedBatch, Size, check_batch, unmixed
from wsol.methods.cutmix_box import NO_BOX, Box, draw_box, kept_share
from wsol.methods.method import Method, setting
from wsol.methods.rng import check_fraction, check_positive, numpy_generator, partners

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from wsol.training.look import Look


@dataclass(frozen=True)
class SnapMixDraw:
    """`permutation` int64 [N]; `to_xyxy` is the box that is filled, `from_xyxy` the one taken from the partner."""

    permutation: Tensor
    to_xyxy: Box
    from_xyxy: Box


@dataclass(frozen=True)
class SnapMix(Method):
    """Two boxes for the batch, each drawn as CutMix's; the defaults are those of the authors' code."""

    name: ClassVar[str] = "snapmix"
    alpha: float = setting(5.0, "lambda ~ Beta(alpha, alpha), one for each of the two boxes.", check_positive)
    prob: float = setting(1.0, "Chance that a batch is mixed.", check_fraction)

    def draw(
        self, batch_size: int, size_hw: Size, generator: Generator, progress: float = 0.0
    ) -> SnapMixDraw:
        rng = numpy_generator(generator)
        permutation = partners(rng, batch_size)
        to, taken = (draw_box(rng, size_hw, self.alpha) for _ in range(2))
        return SnapMixDraw(permutation, to if rng.random() < self.prob else NO_BOX, taken)

    def apply(
        self, images: Tensor, labels: Tensor, draw: SnapMixDraw, look: Look | None = None
    ) -> MixedBatch:
        from torch.nn.functional import interpolate

        check_batch(images, labels, len(draw.permutation))
        if NO_BOX in (draw.to_xyxy, draw.from_xyxy):
            return unmixed(images, labels)
        assert look is not None, "SnapMix reads the network's class activation maps"
        permutation = draw.permutation.to(images.device)
        (x0, y0, x1, y1), (u0, v0, u1, v1) = draw.to_xyxy, draw.from_xyxy
        patch = images[permutation, :, v0:v1, u0:u1]
        mixed = images.clone()
        size_hw, box_hw = (images.shape[-2], images.shape[-1]), (y1 - y0, x1 - x0)
        mixed[:, :, y0:y1, x0:x1] = interpolate(patch, box_hw, mode="bilinear", align_corners=True)
        cams = look.cams(images, labels)  # [N, h, w]
        own, lent = shares(cams, size_hw, draw.to_xyxy), shares(cams, size_hw, draw.from_xyxy)[permutation]
        return MixedBatch(mixed, labels, labels[permutation], 1.0 - own, lent)


def shares(maps: Tensor, size_hw: Size, box_xyxy: Box) -> Tensor:
    """How much of each map [N, h, w], enlarged to the image and counted from its minimum, lies in a box: float32 [N].

    A constant map counts as spread evenly: the box's share of the area.
    """
    from torch.nn.functional import interpolate

    large = interpolate(maps[:, None].float(), size_hw, mode="bilinear", align_corners=False)[:, 0]
    large = large - large.amin((1, 2), keepdim=True)  # [N, H, W]
    x0, y0, x1, y1 = box_xyxy
    inside, whole = large[:, y0:y1, x0:x1].sum((1, 2)), large.sum((1, 2))
    return (inside / whole.where(whole > 0, 1)).where(whole > 0, 1.0 - kept_share(box_xyxy, size_hw))
