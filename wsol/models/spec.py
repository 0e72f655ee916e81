"""What a classifier is, as data: enough to build it again, and what a run records. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from wsol.errors import UserError, unknown_name
from wsol.models.networks import MIN_INPUT_SIZE, STRIDE_PLANS, default_stride_plan, find_network
from wsol.models.pixels import IMAGENET, Pixels

# A record of an older version lacks these: all runs were then given ImageNet's mean, whatever their network.
_MAY_LACK = {"stride_plan": "auto", "pixels": IMAGENET.to_dict()}


@dataclass(frozen=True)
class ClassifierSpec:
    """A network, its classes, its input, and the geometry of its final map.

    `output_stride` is image pixels per step of the final feature map at `input_size` (pixels, square), so maps have
    about input_size / output_stride cells a side; None, the network's own, becomes a number when it is built. Of a
    network that is taken apart it is input_size / cells, rounded: timm:inception_v3's 8 cells of 299 pixels are 37,
    though their centres lie 32 apart (`provenance.map.cells` of results.json has that step, and where the first lies).
    `stride_plan` says which strides are turned to 1 to get there: `late` (the last stages first, as the reference
    does) or `stem` (a ResNet's max pooling first); `auto` becomes one of them when the spec is made. `pixels` None
    becomes the input that the network's own weights were made for. So the record always holds the choice. Raises
    UserError for anything that cannot be built.
    """

    arch: str
    num_classes: int
    output_stride: int | None
    input_size: int
    stride_plan: str = "auto"
    pixels: Pixels | None = None

    def __post_init__(self) -> None:
        network = find_network(self.arch)
        for name in ("num_classes", "output_stride", "input_size"):
            value = getattr(self, name)
            if name == "output_stride" and value is None:
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise UserError(f"{self.arch}: `{name}` must be a whole number of at least 1, got {value!r}")
        if self.input_size < MIN_INPUT_SIZE:
            raise UserError(f"the input size must be at least {MIN_INPUT_SIZE} pixels, got {self.input_size}")
        if self.stride_plan == "auto":
            object.__setattr__(self, "stride_plan", default_stride_plan(self.arch, self.input_size))
        if self.stride_plan not in STRIDE_PLANS:
            raise unknown_name("stride plan", self.stride_plan, [*STRIDE_PLANS, "auto"])
        if self.output_stride is None and network.strides:
            object.__setattr__(self, "output_stride", max(network.strides))
        if self.pixels is None:
            object.__setattr__(self, "pixels", network.input_pixels())
        self._check_stride(network.strides)

    def _check_stride(self, strides: tuple[int, ...]) -> None:
        if self.output_stride is None:
            return
        if strides and self.output_stride not in strides:
            legal = ", ".join(str(s) for s in strides)
            raise UserError(f"{self.arch} has no output stride {self.output_stride}; choose one of {legal}")
        if self.input_size < 2 * self.output_stride:
            raise UserError(
                f"{self.arch}: an input of {self.input_size} pixels at output stride {self.output_stride} leaves "
                f"a map of one cell, which cannot locate anything; choose a smaller output stride or a larger input"
            )

    @property
    def stride(self) -> int:
        """The output stride of a built network."""
        assert self.output_stride is not None, "only a built network knows its own stride"
        return self.output_stride

    @property
    def input(self) -> Pixels:
        """Scale and resampling of the network's input."""
        assert self.pixels is not None  # filled in when the spec is made
        return self.pixels

    def to_dict(self) -> dict[str, Any]:
        """The spec as plain values, for a run record."""
        return {**asdict(self), "pixels": self.input.to_dict()}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> ClassifierSpec:
        """The spec that `to_dict` described; UserError for a missing or unknown field.

        >>> spec = ClassifierSpec("resnet18", 40, 8, 64)
        >>> ClassifierSpec.from_dict(spec.to_dict()) == spec
        True
        """
        names = [f.name for f in fields(cls)]
        unknown = [key for key in record if key not in names]
        missing = [name for name in names if name not in record and name not in _MAY_LACK]
        if unknown or missing:
            raise UserError(
                f"not a classifier's record: unknown fields {unknown}, missing fields {missing}; "
                f"expected {', '.join(names)}"
            )
        if not isinstance(record["arch"], str):
            raise UserError(f"not a classifier's record: `arch` must be a name, got {record['arch']!r}")
        values = {**_MAY_LACK, **record}
        return cls(**{**values, "pixels": Pixels.from_dict(values["pixels"])})
