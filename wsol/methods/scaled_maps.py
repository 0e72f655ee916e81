"""Maps on a common scale, as the losses and maps of ACoL and SPG need them. Importable without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def scaled(maps: Tensor) -> Tensor:
    """Maps [N, h, w] from their minimum at 0 to their maximum at 1; a constant map is 0."""
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)
    return (maps - low) / (high - low).where(high > low, 1)
