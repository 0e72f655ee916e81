"""Self-produced guidance (Zhang et al., ECCV 2018, arXiv 1807.08902): masks from deep layers teach shallow ones.

Beside the classifier's map A4, branches B1 and B2 at two earlier depths and C at the last each give one map of
foreground. A4's map of the class, where it is high or low, is the target of B2, B2's of B1, and the mean of both of C;
cells in between teach nothing. The score map is A4's.
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
class SPG(Method):
    """Built as Choe et al. (CVPR 2020) have it: B1 and B2 behind the first and the last block of a ResNet's layer3,
    behind VGG16's pool4 and conv5_3, or InceptionV3's last pooling and Mixed_6e; the thresholds are their code's.
    `resnet_small` ends with layer3, so that B2 and C read the same there."""

    name: ClassVar[str] = "spg"
    can_compile: ClassVar[bool] = False
    b2_high: float = setting(0.7, "From this share of A4's map on, B2 learns foreground.", check_fraction)
    b2_low: float = setting(0.01, "Below this share of A4's map, B2 learns background.", check_fraction)
    b1_high: float = setting(0.5, "From this value of B2 on, B1 learns foreground.", check_fraction)
    b1_low: float = setting(0.05, "Below this value of B2, B1 learns background.", check_fraction)
    c_high: float = setting(0.7, "From this mean of B1 and B2 on, C learns foreground.", check_fraction)
    c_low: float = setting(0.1, "Below this mean of B1 and B2, C learns background.", check_fraction)

    def extend(self, model: Classifier) -> None:
        from wsol.methods.spg_head import put_spg_head

        check_network(self.name, model.spec.arch)
        put_spg_head(model)

    def loss(self, outputs: Outputs, mixed: MixedBatch) -> Tensor:
        import torch
        from torch.nn.functional import cross_entropy, interpolate

        from wsol.methods.spg_head import guided_loss

        def large(maps: Tensor) -> Tensor:
            return interpolate(maps.float(), mixed.images.shape[-2:], mode="bilinear")[:, 0]  # [N, H, W]

        own = outputs.extra["maps"][range(len(mixed.labels_a)), mixed.labels_a][:, None]
        b1, b2, c = (large(outputs.extra[name]) for name in ("b1", "b2", "c"))
        with torch.no_grad():
            attention, from_b2 = scaled(large(own)), b2.sigmoid()
            fused = (b1.sigmoid() + from_b2) / 2
        return (
            cross_entropy(outputs.logits, mixed.labels_a)
            + guided_loss(b2, attention, self.b2_high, self.b2_low)
            + guided_loss(b1, from_b2, self.b1_high, self.b1_low)
            + guided_loss(c, fused, self.c_high, self.c_low)
        )

    def maps(self, model: Classifier, outputs: Outputs, class_ids: Tensor) -> Tensor:
        return outputs.extra["maps"][range(len(class_ids)), class_ids].float()
