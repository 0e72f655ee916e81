"""Attention-based dropout layer (Choe and Shim, CVPR 2019, arXiv 1908.10028): hide, or weigh, what stands out.

At some layers, in training alone: with chance `drop_rate` the cells whose mean over channels reaches `threshold` of
the map's maximum are set to 0, otherwise every cell is multiplied by the sigmoid of that mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from wsol.cams.layers import layer_named
from wsol.errors import UserError
from wsol.methods.method import Method, setting
from wsol.methods.rng import check_fraction, numpy_generator

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from wsol.models import Classifier

# Choe et al.'s code (CVPR 2020): behind layer3's first and layer4's first and third block; behind VGG16's pool3,
# conv4_3 and conv5_3 with their ReLUs; behind InceptionV3's Mixed_5d, Mixed_6e and A3, which has no dropout then.
SITES = {
    "resnet50": ("layer3.0", "layer4.0", "layer4.2"),
    "vgg16_gap": ("features.16", "features.22", "features.29"),
    "inception_v3": ("Mixed_5d", "Mixed_6e", "SPG_A3_2b"),
}


@dataclass(frozen=True)
class ADL(Method):
    """One choice between hiding and weighing for each site and batch; the defaults are the paper's for VGG-GAP."""

    name: ClassVar[str] = "adl"
    drop_rate: float = setting(0.75, "Chance that a site hides instead of weighing.", check_fraction)
    threshold: float = setting(0.8, "Share of the maximum from which a cell is hidden.", check_fraction)
    sites: tuple[str, ...] = setting(
        (), "Layers of the backbone (default: the published ones, if there are)."
    )

    def draw(
        self, batch_size: int, size_hw: tuple[int, int], generator: torch.Generator, progress: float = 0.0
    ) -> Any:
        return numpy_generator(generator)

    def extend(self, model: Classifier) -> None:
        for name in self._sites(model):
            layer_named(model.backbone, name)  # a `UserError` for a layer that this network does not have
        if model.spec.arch == "inception_v3":
            model.backbone.dropout.p = 0.0  # type: ignore[union-attr]

    def layers(self, model: Classifier, draw: Any) -> Mapping[str, Callable[[Tensor], Tensor]]:
        hide, weigh = self.hidden, weighed
        return {name: hide if draw.random() < self.drop_rate else weigh for name in self._sites(model)}

    def hidden(self, features: Tensor) -> Tensor:
        """`features` [N, C, h, w] with 0 where the mean over channels is at least `threshold` of its maximum."""
        attention = features.mean(1, keepdim=True)  # [N, 1, h, w]
        return features * (attention < self.threshold * attention.amax((2, 3), keepdim=True))

    def _sites(self, model: Classifier) -> tuple[str, ...]:
        if not self.sites and model.spec.arch not in SITES:
            raise UserError(
                f"adl has no published places for {model.spec.arch}, only for {' and '.join(SITES)}; name layers with "
                "--adl-sites"
            )
        return self.sites or SITES[model.spec.arch]


def weighed(features: Tensor) -> Tensor:
    """`features` [N, C, h, w] times the sigmoid of their mean over channels."""
    return features * features.mean(1, keepdim=True).sigmoid()
