"""What a classifier is, as data: enough to build it again, and what a run records. Imports no torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any

from wsol.errors import UserError, unknown_name
from wsol.models.names import ARCHS, MIN_INPUT_SIZE, STRIDE_PLANS, check_arch, default_stride_plan, is_timm


@dataclass(frozen=True)
class ClassifierSpec:
    """A network, its classes, and the geometry of its final map.

    `output_stride` is image pixels per step of the final feature map at `input_size` (pixels, square), so
    maps have about input_size / output_stride cells a side. `stride_plan` says which strides are turned to
    1 to get there: `late` (the last stages first, as the reference does) or `stem` (a ResNet's max pooling
    first); `auto` becomes one of them when the spec is made, so that the record always holds the choice.
    Raises UserError for anything that cannot be built.
    """

    arch: str
    num_classes: int
    output_stride: int
    input_size: int
    stride_plan: str = "auto"

    def __post_init__(self) -> None:
        check_arch(self.arch)
        for name in ("num_classes", "output_stride", "input_size"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UserError(f"{self.arch}: `{name}` must be a whole number of at least 1, got {value!r}")
        if self.input_size < MIN_INPUT_SIZE:
            raise UserError(f"`input_size` must be at least {MIN_INPUT_SIZE} pixels, got {self.input_size}")
        if self.stride_plan == "auto":
            object.__setattr__(self, "stride_plan", default_stride_plan(self.arch, self.input_size))
        if self.stride_plan not in STRIDE_PLANS:
            raise unknown_name("stride plan", self.stride_plan, [*STRIDE_PLANS, "auto"])
        self._check_stride()

    def _check_stride(self) -> None:
        if not is_timm(self.arch) and self.output_stride not in ARCHS[self.arch].strides:
            legal = ", ".join(str(s) for s in ARCHS[self.arch].strides)
            raise UserError(f"{self.arch} has no output stride {self.output_stride}; choose one of {legal}")
        if self.input_size < 2 * self.output_stride:
            raise UserError(
                f"{self.arch}: an input of {self.input_size} pixels at output stride {self.output_stride} leaves "
                f"a map of one cell, which cannot locate anything; choose a smaller output stride or a larger input"
            )

    def to_dict(self) -> dict[str, Any]:
        """The spec as plain values, for a run record."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> ClassifierSpec:
        """The spec that `to_dict` described; UserError for a missing or unknown field.

        >>> spec = ClassifierSpec("resnet18", 40, 8, 64)
        >>> ClassifierSpec.from_dict(spec.to_dict()) == spec
        True
        """
        names = [f.name for f in fields(cls)]
        unknown = [key for key in record if key not in names]
        missing = [name for name in names if name not in record and name != "stride_plan"]
        if unknown or missing:
            raise UserError(
                f"not a classifier's record: unknown fields {unknown}, missing fields {missing}; "
                f"expected {', '.join(names)}"
            )
        return cls(**record)
