"""From raw class activation maps to the 8-bit score maps that boxes are taken from.

Order, as in the reference (PROTOCOLS: Choe et al., CVPR 2020, arXiv 2001.07437): upsample to the frame with
OpenCV's INTER_CUBIC in float64, then normalise per image, then quantise `uint8(m * 255)`, truncated, in float64.

Every normalisation is `clip((m - shift) / divisor, 0, 1)`; a rule says what the two are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntFlag
from typing import TYPE_CHECKING

import cv2
import numpy as np

from eval.maps.quantize_kernel import quantize_clipped, sorted_value

if TYPE_CHECKING:
    import numpy.typing as npt

PAS_FRACTION = 0.9
IVR_FRACTION = 0.45


class MapStatus(IntFlag):
    """What was wrong with a score map; counted per image and reported, never hidden."""

    OK = 0
    NAN = 1
    """Held NaN or infinity: scored as all zeros."""
    CONSTANT = 2
    """One value everywhere: scored as all zeros."""
    ZERO_DIVISOR = 4
    """The normalisation would divide by zero, where the released code is undefined: scored as all zeros."""
    MISSING = 8
    """No map was given for this image: scored as all zeros."""
    RESIZED = 16
    """Had another size than the frame and was resized to it."""
    OUT_OF_RANGE = 32
    """A ready-made map had values outside [0, 1]; scored as all zeros."""
    CLIPPED = 128
    """Left [0, 1] by no more than rounding, and was clipped to it."""
    UNREADABLE = 64
    """The file could not be read as a 2-D array of numbers, or the image not be decoded: scored as all zeros."""


def upsample(raw: npt.NDArray[np.floating], size_hw: tuple[int, int]) -> npt.NDArray[np.float64]:
    """One map [h, w] resized to [H, W] with half-pixel centres and a = -0.75 (OpenCV's INTER_CUBIC), in float64.

    A map that has the size already is returned as a float64 copy.
    """
    source = np.ascontiguousarray(raw, dtype=np.float64)
    if source.shape == size_hw:
        return source.copy()
    return np.asarray(cv2.resize(source, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_CUBIC))


Rule = Callable[[float, float, float], tuple[float, float]]
"""(minimum, maximum, value at the sorted index of the fraction) to (shift, divisor)."""


@dataclass(frozen=True)
class Normalization:
    """A per-image normalisation to [0, 1]; undefined where its divisor would be 0."""

    name: str
    rule: Rule
    fraction: float | None
    """Where in the sorted values the rule looks, as a share of their number; None where it does not."""
    source: str
    affine_invariant: bool
    """Whether a*m + b (a > 0) gives the same result as m, so that it can follow an earlier min-max."""


_KIM = "Kim et al., ICCV 2021, arXiv 2107.13221"
NORMALIZATIONS: Mapping[str, Normalization] = {
    "minmax": Normalization(
        "minmax",
        lambda low, high, at: (low, high - low),
        None,
        "Choe et al., CVPR 2020, arXiv 2001.07437",
        True,
    ),
    "max": Normalization(
        "max", lambda low, high, at: (0.0, high), None, "Zhou et al., CVPR 2016, arXiv 1512.04150", False
    ),
    "pas": Normalization(
        "pas",
        lambda low, high, at: (low, at - low),
        PAS_FRACTION,
        "Bae et al., ECCV 2020, as released with " + _KIM,
        True,
    ),
    "ivr": Normalization("ivr", lambda low, high, at: (at, high - at), IVR_FRACTION, _KIM, True),
}


def _shift_and_divisor(
    m: npt.NDArray[np.float64], name: str, fraction: float | None
) -> tuple[float, float, MapStatus]:
    """(shift, divisor, status) of one map; the divisor is 0 unless the status is OK."""
    low, high = (float(m.min()), float(m.max())) if m.size else (0.0, 0.0)
    if not (np.isfinite(low) and np.isfinite(high)):
        return 0.0, 0.0, MapStatus.NAN
    if low == high:
        return 0.0, 0.0, MapStatus.CONSTANT
    rule = NORMALIZATIONS[name]
    at = low
    if rule.fraction is not None:
        index = min(int((rule.fraction if fraction is None else fraction) * m.size), m.size - 1)
        at = float(sorted_value(m.ravel(), low, high, index))
    shift, divisor = rule.rule(low, high, at)
    return (shift, divisor, MapStatus.OK) if divisor > 0 else (0.0, 0.0, MapStatus.ZERO_DIVISOR)


def normalize(
    m: npt.NDArray[np.float64], name: str, fraction: float | None = None
) -> tuple[npt.NDArray[np.float64], MapStatus]:
    """Normalise one upsampled map [H, W] to [0, 1].

    A map that is constant or holds NaN or infinity becomes all zeros before any normalisation, as does one whose
    divisor would be 0; the status says which. `fraction` overrides the rule's own (PaS 0.9, IVR 0.45).

    >>> normalize(np.array([[0.0, 1.0], [2.0, 4.0]]), "minmax")[0].tolist()
    [[0.0, 0.25], [0.5, 1.0]]
    >>> normalize(np.array([[-4.0, -2.0], [-1.0, -1.0]]), "max")[1]
    <MapStatus.ZERO_DIVISOR: 4>
    """
    shift, divisor, status = _shift_and_divisor(m, name, fraction)
    if status:
        return np.zeros_like(m), status
    return np.clip((m - shift) / divisor, 0, 1), status


def quantize(m: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """`uint8(m * 255)`, truncated, the product in float64. NaN or values outside [0, 1] are a ValueError."""
    if not (m.size == 0 or (m.min() >= 0 and m.max() <= 1)):
        raise ValueError("score map must lie in [0, 1] and hold no NaN")
    return (np.asarray(m, np.float64) * 255).astype(np.uint8)


def score_levels(
    large: npt.NDArray[np.float64], name: str, fraction: float | None = None
) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    """8-bit maps [N, H, W] of upsampled ones [N, H, W], and their statuses [N]: `quantize(normalize(m))` of each.

    A map whose status is not OK is all zeros.
    """
    levels = np.zeros(large.shape, np.uint8)
    shift, divisor, status = np.zeros(len(large)), np.zeros(len(large)), np.zeros(len(large), np.uint8)
    for i, m in enumerate(large):
        shift[i], divisor[i], status[i] = _shift_and_divisor(m, name, fraction)
    quantize_clipped(np.ascontiguousarray(large), shift, divisor, levels)
    return levels, status
