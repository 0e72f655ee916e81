"""CutMix (Yun et al., ICCV 2019, arXiv 1905.04899): paste a box of one image into another, mix the labels.

The share lambda ~ Beta(alpha, alpha) asks for a box of area 1 - lambda; its centre is uniform over the
image and the box is clipped at the borders, so the pasted area is smaller than asked for (0.318 of the
image on average at alpha = 1, not 0.5). Lambda is therefore computed again from the clipped box (the
paper's code does so too). The paper's variants (Table 8) are settings; its scheduled one is `--method-schedule`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from wsol.errors import UserError
from wsol.methods.batch import MixedBatch, Size, check_batch, unmixed
from wsol.methods.cutmix_box import NO_BOX, BoxDraw, draw_box, kept_share, label_weight, pasted
from wsol.methods.method import Method, setting
from wsol.methods.rng import check_choice, check_fraction, check_positive, numpy_generator, partners

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from wsol.training.look import Look


@dataclass(frozen=True)
class CutMix(Method):
    """CutMix's settings; the defaults are the paper's for ImageNet (its CIFAR runs used prob 0.5)."""

    name: ClassVar[str] = "cutmix"
    alpha: float = setting(1.0, "lambda ~ Beta(alpha, alpha)", check_positive)
    prob: float = setting(1.0, "Chance that a batch (with per-sample, an image) is mixed.", check_fraction)
    per_sample: bool = setting(False, "A box for each image; the paper's code draws one for the batch.")
    center: Literal["uniform", "gaussian"] = setting("uniform", "gaussian: about the image's centre.")
    sigma: float | None = setting(
        None,
        "With center gaussian: standard deviation of the centre, as a share of the side.",
        check_positive,
    )
    side: float | None = setting(
        None, "A box of this share of the sides instead of one by lambda (paper: 0.5).", check_fraction
    )
    labels: Literal["area", "larger", "half"] = setting(
        "area",
        "Weights of the labels: by area, all to the larger part (one-hot), or half each (complete-label).",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        check_choice(self.name, "center", self.center, ("uniform", "gaussian"))
        check_choice(self.name, "labels", self.labels, ("area", "larger", "half"))
        if (self.center == "gaussian") != (self.sigma is not None):
            raise UserError(
                "cutmix: --cutmix-center gaussian needs --cutmix-sigma, which the paper does not state, and nothing "
                "else does"
            )

    def draw(self, batch_size: int, size_hw: Size, generator: Generator, progress: float = 0.0) -> BoxDraw:
        rng = numpy_generator(generator)
        permutation = partners(rng, batch_size)
        boxes = tuple(
            draw_box(rng, size_hw, self.alpha, self.side, self.sigma) if rng.random() < self.prob else NO_BOX
            for _ in range(batch_size if self.per_sample else 1)
        )
        return BoxDraw(permutation, boxes, tuple(kept_share(box, size_hw) for box in boxes))

    def apply(self, images: Tensor, labels: Tensor, draw: BoxDraw, look: Look | None = None) -> MixedBatch:
        import torch

        check_batch(images, labels, len(draw.permutation))
        if draw.lam == (1.0,):
            return unmixed(images, labels)
        permutation = draw.permutation.to(images.device, non_blocking=True)
        mixed = pasted(images, permutation, draw.boxes_xyxy)
        weights = [label_weight(kept, self.labels) for kept in draw.lam]
        if not self.per_sample:
            return MixedBatch(mixed, labels, labels[permutation], weights[0])
        own = torch.tensor(weights, dtype=torch.float32).to(images.device, non_blocking=True)  # [N]
        return MixedBatch(mixed, labels, labels[permutation], own)
