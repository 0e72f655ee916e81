"""Adversarial complementary learning (Zhang et al., CVPR 2018, arXiv 1804.06962): a second head behind an eraser.

Two equal branches of convolutions read the final features. Branch A's map of the class, scaled to [0, 1], erases the
features that reach `threshold`; branch B must find the class in the rest. The score map is the maximum of both.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from wsol.methods.method import Method, setting
from wsol.methods.rng import check_fraction, check_network
from wsol.methods.scaled_maps import scaled

if TYPE_CHECKING:
    from torch import Tensor

    from wsol.methods.batch import MixedBatch
    from wsol.models import Classifier
    from wsol.models.head import Outputs


@dataclass(frozen=True)
class ACoL(Method):
    """Built as Choe et al. (CVPR 2020) have it: behind layer4 of a ResNet; VGG16 without conv6, with overlapping pools
    and another average over 3 x 3 cells; InceptionV3 up to Mixed_6e. The threshold is their code's."""

    name: ClassVar[str] = "acol"
    threshold: float = setting(0.7, "Share of branch A's map from which features are erased.", check_fraction)

    def extend(self, model: Classifier) -> None:
        from wsol.methods.acol_head import AcolHead, strip

        check_network(self.name, model.spec.arch)
        channels, smooth = strip(model), model.spec.arch == "vgg16_gap"
        model.head = AcolHead(channels, model.spec.num_classes, self.threshold, smooth)  # type: ignore[assignment]

    def loss(self, outputs: Outputs, mixed: MixedBatch) -> Tensor:
        from torch.nn.functional import cross_entropy

        second = cross_entropy(outputs.extra["logits_b"].float(), mixed.labels_a)
        return cross_entropy(outputs.logits, mixed.labels_a) + second

    def maps(self, model: Classifier, outputs: Outputs, class_ids: Tensor) -> Tensor:
        a, b = (outputs.extra[f"map_{branch}"].float() for branch in "ab")  # [N, K, h, w]
        rows = range(len(class_ids))
        return scaled(a[rows, class_ids]).maximum(scaled(b[rows, class_ids]))
