"""How a network wants its pixels: scale, size and resampling, as its weights were made. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, Literal, get_args

from wsol.errors import UserError, unknown_name

Interpolation = Literal["bilinear", "bicubic"]
INTERPOLATIONS: tuple[Interpolation, ...] = get_args(Interpolation)


@dataclass(frozen=True)
class Pixels:
    """The input that a network's weights were made for.

    `mean` and `std` are those of pixels in [0, 1], a value a channel (red, green, blue): the network sees
    (pixel / 255 - mean) / std. `size` is the side of the input in pixels. `interpolation` is how images are resized.
    `crop_fraction` is the part of the resized image that the weights' own evaluation looked at; it is recorded only,
    because the published protocols fix their frames. Raises UserError for values that no network can have.
    """

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    size: int
    interpolation: Interpolation
    crop_fraction: float

    def __post_init__(self) -> None:
        for name in ("mean", "std"):
            values = getattr(self, name)
            if len(values) != 3 or not all(_is_number(v) and abs(v) < 1e9 for v in values):
                raise UserError(f"--{name} must be three finite numbers (red, green, blue), got {values}")
            object.__setattr__(self, name, tuple(float(v) for v in values))
        if min(self.std) <= 0:
            raise UserError(f"--std must be three numbers above 0, got {self.std}")
        if max(*self.mean, *self.std) > 2:
            raise UserError(
                f"--mean {self.mean} and --std {self.std} are those of pixels from 0 to 255; give them for pixels "
                "from 0 to 1 (divide by 255)"
            )
        if self.interpolation not in INTERPOLATIONS:
            raise unknown_name("interpolation", str(self.interpolation), INTERPOLATIONS)

    def changed(
        self,
        mean: tuple[float, float, float] | None = None,
        std: tuple[float, float, float] | None = None,
        interpolation: Interpolation | None = None,
    ) -> Pixels:
        """The same with what was asked for in its place; None leaves a value as it is."""
        return replace(
            self,
            mean=mean or self.mean,
            std=std or self.std,
            interpolation=interpolation or self.interpolation,
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a record."""
        return {**asdict(self), "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> Pixels:
        """What `to_dict` described; UserError for a missing or unknown field or a value of another kind.

        >>> Pixels.from_dict(IMAGENET.to_dict()) == IMAGENET
        True
        """
        names = {f.name for f in fields(cls)}
        if not isinstance(record, Mapping) or set(record) != names:
            raise UserError(f"not a record of a network's input: expected {', '.join(sorted(names))}")
        if not all(isinstance(record[name], (list, tuple)) for name in ("mean", "std")):
            raise UserError(
                "not a record of a network's input: `mean` and `std` must be lists of three numbers"
            )
        return cls(**{**record, "mean": tuple(record["mean"]), "std": tuple(record["std"])})


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


IMAGENET = Pixels((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 224, "bilinear", 0.875)
"""Mean and standard deviation of ImageNet's training pixels, as torchvision's first weights expect them."""


def pixels_of(
    mean: Sequence[float],
    std: Sequence[float],
    input_size: Sequence[int],
    interpolation: str,
    crop_pct: float,
) -> Pixels:
    """The input as timm's configs state it; ImageNet's for networks that do not take three channels."""
    if len(mean) != 3:
        return IMAGENET
    way: Interpolation = "bilinear" if interpolation == "bilinear" else "bicubic"
    return Pixels((mean[0], mean[1], mean[2]), (std[0], std[1], std[2]), input_size[-1], way, crop_pct)
