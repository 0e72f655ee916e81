"""Where methods get their random numbers from, and how their settings are checked."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from wsol.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor


def numpy_generator(generator: torch.Generator) -> np.random.Generator:
    """A numpy generator seeded by exactly one number drawn from `generator`.

    torch's public Beta distribution takes no generator, and its float32 gamma draws reach 0/0 at small
    alpha; numpy's float64 Beta has neither fault. One number per batch also keeps a run's stream of random numbers in
    step whatever the method and its settings are.
    """
    import numpy as np
    import torch

    seed = torch.randint(2**63 - 1, (), generator=generator, device=generator.device)
    return np.random.default_rng(int(seed))


def partners(rng: np.random.Generator, batch_size: int) -> Tensor:
    """A random order of a batch, int64 [N]: image i is mixed with image `partners[i]`."""
    import torch

    return torch.from_numpy(rng.permutation(batch_size).astype("int64"))


def check_positive(method: str, name: str, value: float) -> None:
    """Refuse a setting that is not a finite number above 0."""
    if not _is_number(value) or not value > 0:
        raise UserError(f"{method}: `{name}` must be a finite number above 0, got {value!r}")


def check_fraction(method: str, name: str, value: float) -> None:
    """Refuse a setting outside [0, 1]."""
    if not _is_number(value) or not 0 <= value <= 1:
        raise UserError(f"{method}: `{name}` must lie in [0, 1], got {value!r}")


def check_count(method: str, name: str, value: int) -> None:
    """Refuse a setting that is not a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise UserError(f"{method}: `{name}` must be a whole number of at least 1, got {value!r}")


def check_choice(method: str, name: str, value: object, legal: tuple[str, ...]) -> None:
    """Refuse a setting that is not one of `legal`."""
    if value not in legal:
        raise UserError(f"{method}: `{name}` must be one of {', '.join(legal)}, got {value!r}")


def check_network(method: str, arch: str) -> None:
    """Refuse a network for which ACoL and SPG are not defined."""
    if arch not in ("vgg16_gap", "inception_v3") and not arch.startswith("resnet"):
        raise UserError(
            f"{method} is defined for our ResNets, vgg16_gap and inception_v3, not for {arch}; choose one of them"
        )


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
