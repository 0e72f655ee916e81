"""TS-CAM (Gao et al., ICCV 2021, arXiv 2103.14862): a transformer's patch tokens classify, its class token says where.

The patch tokens of the last block, laid out as a map, go through a 3x3 convolution to one map a class; the logits are
their means. The score map is the class's map times the attention of the class token, which knows no class.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from wsol.errors import UserError
from wsol.methods.method import Method
from wsol.models.networks import PATCH_TOKENS

if TYPE_CHECKING:
    from torch import Tensor

    from wsol.models import Classifier
    from wsol.models.head import Outputs


@dataclass(frozen=True)
class TsCam(Method):
    """The attention is summed over all blocks and averaged over heads, as in the authors' code."""

    name: ClassVar[str] = "ts_cam"

    def extend(self, model: Classifier) -> None:
        from wsol.methods.ts_cam_head import put_ts_cam_head

        if model.spec.arch not in PATCH_TOKENS:
            raise UserError(
                f"ts_cam is defined for transformers whose patch tokens are the map ({', '.join(PATCH_TOKENS)}), not "
                f"for {model.spec.arch}"
            )
        put_ts_cam_head(model)

    def maps(self, model: Classifier, outputs: Outputs, class_ids: Tensor) -> Tensor:
        own = outputs.extra["maps"][range(len(class_ids)), class_ids].float()  # [N, h, w]
        return own * outputs.extra["attention"].float()
