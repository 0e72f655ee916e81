"""The contract every regularizer keeps: draw chance first, then apply it."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from wsol.errors import UserError

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    from wsol.methods.batch import MixedBatch


class Regularizer(Protocol):
    """A frozen dataclass of hyper-parameters with chance apart from effect.

    `draw` makes every random choice from the generator it is given; `apply` makes none, never changes its
    input, and works on whatever device the images are. The draw type belongs to the regularizer and is
    meant for `apply` alone.
    """

    name: ClassVar[str]

    def draw(self, batch_size: int, size_hw: tuple[int, int], generator: torch.Generator) -> Any: ...

    def apply(self, images: Tensor, labels: Tensor, draw: Any) -> MixedBatch: ...

    def to_dict(self) -> dict[str, Any]: ...


class Recorded:
    """Settings to and from the plain dict that a run record holds: `{"name": ..., <field>: <value>, ...}`."""

    name: ClassVar[str]

    def to_dict(self) -> dict[str, Any]:
        return {"name": self.name} | {f.name: getattr(self, f.name) for f in fields(self)}  # type: ignore[arg-type]


def settings_from(record: dict[str, Any], regularizer: type) -> dict[str, Any]:
    """The constructor arguments in a run record's dict; UserError for a setting the regularizer does not
    have.
    """
    legal = [f.name for f in fields(regularizer)]
    settings = {key: value for key, value in record.items() if key != "name"}
    for key in settings:
        if key not in legal:
            known = ", ".join(legal) or "(none)"
            raise UserError(f"{record['name']}: unknown setting '{key}'. Legal: {known}")
    return settings
