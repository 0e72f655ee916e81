"""The map that looks at no image: a Gaussian at the centre."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt


def center_gaussian(size: int) -> npt.NDArray[np.float64]:
    """The raw centre Gaussian [size, size]; its standard deviation is a quarter of the side."""
    axis = np.arange(size, dtype=np.float64) - size / 2
    spread = size / 4
    square = axis[:, None] ** 2 + axis[None, :] ** 2
    return np.asarray(np.exp(-square / (2 * spread**2)))
