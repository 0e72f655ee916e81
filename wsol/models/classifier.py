"""A classifier whose score maps come for free: backbone, global average pooling, one linear head."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from wsol.errors import UserError
from wsol.models.head import Outputs, PooledClassMaps, PooledLinear, TailHead
from wsol.models.networks import find_network
from wsol.models.spec import ClassifierSpec

if TYPE_CHECKING:
    from wsol.methods import Method
    from wsol.models.pretrained import LoadReport


class StrideError(UserError):
    """The network cannot be given this output stride."""


@dataclass(frozen=True)
class Parts:
    """A network in parts, with random weights.

    `backbone` makes the final map [N, C, h, w] of images [N, 3, S, S]; `head` the `Outputs` of that map. `stride` is
    image pixels per cell of the map; `stride_changes` lists in words what was done to reach it.
    """

    backbone: nn.Module
    head: PooledLinear | PooledClassMaps | TailHead
    stride: int
    stride_changes: tuple[str, ...] = ()


class Classifier(nn.Module):
    """Images float [N, 3, S, S] (normalised) -> `Outputs`: logits [N, K] and the final map [N, C, h, w].

    With the plain head (`PooledLinear`) the class activation map of class k is the head's k-th row applied at every
    cell, and its mean over the cells plus the bias is the logit. `load_report` says where the weights came from
    (None: random). `stride_changes` lists in words what was done to reach the output stride. `method` is the training
    method that changed this network or defines its score maps, if one does.
    """

    load_report: LoadReport | None = None
    method: Method | None = None

    def __init__(self, spec: ClassifierSpec, parts: Parts) -> None:
        super().__init__()
        self.spec = replace(spec, output_stride=parts.stride)
        self.stride_changes = parts.stride_changes
        self.backbone = parts.backbone
        self.head = parts.head
        nn.init.normal_(self.head.weight, std=0.01)
        nn.init.zeros_(self.head.bias)

    def forward(self, images: Tensor, class_ids: Tensor | None = None) -> Outputs:
        """`class_ids` int [N] are the classes that the pass is about, for heads that ask for them."""
        return self.head(self.backbone(images), class_ids)

    def parameters_by_role(self, pretrained: bool) -> dict[str, list[nn.Parameter]]:
        """Every parameter once, under `head`, `new` (layers that no published weights have, where the rest is
        `pretrained`) or `body`."""
        prefixes = find_network(self.spec.arch).fresh
        roles: dict[str, list[nn.Parameter]] = {"body": [], "new": [], "head": []}
        for name, parameter in self.named_parameters():
            new = pretrained and name.startswith(prefixes)
            roles["head" if name.startswith("head.") else "new" if new else "body"].append(parameter)
        return roles

    def describe(self) -> dict[str, Any]:
        """What a run or a result records about its network, as plain values."""
        return {
            **self.spec.to_dict(),
            "stride_changes": list(self.stride_changes),
            "parameters": sum(p.numel() for p in self.parameters()),
            "pretrained": self.load_report.to_dict() if self.load_report else None,
            **({"method": self.method.to_dict()} if self.method else {}),
        }
