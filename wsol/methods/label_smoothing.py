"""Label smoothing (Szegedy et al., CVPR 2016, arXiv 1512.00567, section 7): part of each label goes to all classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from wsol.methods.method import Method, setting
from wsol.methods.rng import check_fraction

if TYPE_CHECKING:
    from torch import Tensor

    from wsol.methods.batch import MixedBatch
    from wsol.models.head import Outputs


@dataclass(frozen=True)
class LabelSmoothing(Method):
    """The target of class k is (1 - eps) [k is the label] + eps / K; 0.1 is the paper's eps."""

    name: ClassVar[str] = "label_smoothing"
    eps: float = setting(0.1, "Share of the label that is spread over all classes.", check_fraction)

    def loss(self, outputs: Outputs, mixed: MixedBatch) -> Tensor:
        from torch.nn.functional import cross_entropy

        return cross_entropy(outputs.logits, mixed.labels_a, label_smoothing=self.eps)
