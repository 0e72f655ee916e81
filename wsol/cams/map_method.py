"""What a map method is: a formula that turns one layer's output into one score map an image.

A new method is one file with one `MapMethod`, and one line in `wsol.cams.registry`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from wsol.errors import UserError
from wsol.models.classifier import Classifier
from wsol.models.head import TailHead

FINAL = "final"
"""The layer that the head reads."""

Formula = Callable[[Tensor, Tensor, nn.Module, Tensor], Tensor]
"""(features [N, C, h, w], gradient [N, C, h, w], head, class ids [N]) to raw maps [N, h, w].

`features` is the layer's output in float32, and `gradient` that of each image's own logit with respect to it; a method
that needs no gradient gets the features in its place. `head` maps (final map, class ids) to `Outputs`; it belongs to
`FINAL` alone.
"""

Through = Callable[[Classifier, Tensor, Tensor, Tensor], Tensor]
"""(network, images [N, 3, S, S], features [N, C, h, w], class ids [N]) to raw maps [N, h, w], by passes of its own."""


@dataclass(frozen=True)
class MapMethod:
    """A way of making score maps: by a `formula`, or `through` the network once more where formula is None.

    `final_only`: it holds for `FINAL` alone. `linear_head`: it reads the head's weights, so the head must be one linear
    layer behind the pooling. `class_agnostic`: the class ids change nothing. `pass_a_channel`: it costs a forward pass
    for every channel. `check` raises UserError for a network that it cannot read. `source` names the paper.
    """

    name: str
    formula: Formula | None
    source: str
    needs_gradient: bool = True
    final_only: bool = False
    linear_head: bool = False
    class_agnostic: bool = False
    through: Through | None = None
    pass_a_channel: bool = False
    check: Callable[[Classifier], None] | None = None


@dataclass(frozen=True)
class LayerMap:
    """A map method at one layer: `FINAL`, or the dotted name of a module of the backbone, such as `layer3`.

    Raises UserError where the method cannot read that layer.
    """

    method: MapMethod
    layer: str = FINAL

    def __post_init__(self) -> None:
        if self.method.final_only and self.layer != FINAL:
            raise UserError(
                f"the map method '{self.method.name}' reads the final map alone, not '{self.layer}'; "
                "layercam and hirescam take any layer"
            )

    def check(self, model: Classifier) -> None:
        """UserError, with the reason and a way on, where the method cannot read this network."""
        if self.method.check is not None:
            self.method.check(model)
        head: nn.Module = model.head
        if self.method.linear_head and isinstance(head, TailHead):
            raise UserError(
                f"{head.why_no_cam}; '{self.method.name}' reads the weights of a layer right behind the pooling. "
                "--map-method hirescam, gradcam or layercam works for it"
            )

    @property
    def label(self) -> str:
        """Name for tables and folders: `cam`, `layercam-layer3`."""
        return self.method.name if self.layer == FINAL else f"{self.method.name}-{self.layer}"

    def describe(self) -> dict[str, str]:
        """What the recipe of stored maps and records says of it: maps of unequal ones are never mixed."""
        return {"method": self.method.name, "layer": self.layer}
