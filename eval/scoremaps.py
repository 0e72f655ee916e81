"""From raw class activation maps to the 8-bit score maps that boxes are taken from.

Order, as in the reference (PROTOCOLS: Choe et al., CVPR 2020, arXiv 2001.07437): upsample to the frame with
OpenCV's INTER_CUBIC in float64, then normalise per image, then quantise `uint8(m * 255)`, truncated, in float64.

`score_levels` is the exact path on the processor (OpenCV itself). `score_levels_torch` does the same on the maps'
own device; its cubic weights agree to 4e-16, so that about one pixel in ten million changes level.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntFlag
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt
    import torch

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
    UNREADABLE = 64
    """The file could not be read as a 2-D array of numbers: scored as all zeros."""


def upsample(raw: npt.NDArray[np.floating], size_hw: tuple[int, int]) -> npt.NDArray[np.float64]:
    """One map [h, w] resized to [H, W] with half-pixel centres and a = -0.75 (OpenCV's INTER_CUBIC), in float64.

    A map that has the size already is returned as a float64 copy.
    """
    import cv2

    source = np.ascontiguousarray(raw, dtype=np.float64)
    if source.shape == size_hw:
        return source.copy()
    return np.asarray(cv2.resize(source, (size_hw[1], size_hw[0]), interpolation=cv2.INTER_CUBIC))


def _minmax(m: npt.NDArray[np.float64], fraction: float) -> npt.NDArray[np.float64] | None:
    m = m - m.min()
    top = m.max()
    return m / top if top > 0 else None


def _max(m: npt.NDArray[np.float64], fraction: float) -> npt.NDArray[np.float64] | None:
    top = m.max()
    return np.maximum(m, 0) / top if top > 0 else None


def _at_sorted_index(m: npt.NDArray[np.float64], fraction: float) -> float:
    index = min(int(fraction * m.size), m.size - 1)
    return float(np.partition(m, index, axis=None)[index])


def _pas(m: npt.NDArray[np.float64], fraction: float) -> npt.NDArray[np.float64] | None:
    m = m - m.min()
    divisor = _at_sorted_index(m, fraction)
    return np.minimum(m / divisor, 1) if divisor > 0 else None


def _ivr(m: npt.NDArray[np.float64], fraction: float) -> npt.NDArray[np.float64] | None:
    m = np.maximum(m - _at_sorted_index(m, fraction), 0)
    top = m.max()
    return m / top if top > 0 else None


@dataclass(frozen=True)
class Normalization:
    """A per-image normalisation: `rule(map, fraction)` gives a map in [0, 1], or None where it would divide by 0."""

    name: str
    rule: Callable[[npt.NDArray[np.float64], float], npt.NDArray[np.float64] | None]
    fraction: float | None
    source: str
    affine_invariant: bool
    """Whether a*m + b (a > 0) gives the same result as m, so that it can follow an earlier min-max."""


_KIM = "Kim et al., ICCV 2021, arXiv 2107.13221"
NORMALIZATIONS: Mapping[str, Normalization] = {
    "minmax": Normalization("minmax", _minmax, None, "Choe et al., CVPR 2020, arXiv 2001.07437", True),
    "max": Normalization("max", _max, None, "Zhou et al., CVPR 2016, arXiv 1512.04150", False),
    "pas": Normalization("pas", _pas, PAS_FRACTION, "Bae et al., ECCV 2020, as released with " + _KIM, True),
    "ivr": Normalization("ivr", _ivr, IVR_FRACTION, _KIM, True),
}


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
    rule = NORMALIZATIONS[name]
    if not np.isfinite(m).all():
        return np.zeros_like(m), MapStatus.NAN
    if m.size == 0 or m.min() == m.max():
        return np.zeros_like(m), MapStatus.CONSTANT
    used = fraction if fraction is not None else (rule.fraction or 0.0)
    result = rule.rule(m, used)
    if result is None:
        return np.zeros_like(m), MapStatus.ZERO_DIVISOR
    return result, MapStatus.OK


def quantize(m: npt.NDArray[np.float64]) -> npt.NDArray[np.uint8]:
    """`uint8(m * 255)`, truncated, the product in float64. NaN or values outside [0, 1] are a ValueError."""
    if not (m.size == 0 or (m.min() >= 0 and m.max() <= 1)):
        raise ValueError("score map must lie in [0, 1] and hold no NaN")
    return (np.asarray(m, np.float64) * 255).astype(np.uint8)


def score_levels(
    raw: npt.NDArray[np.floating],
    size_hw: tuple[int, int],
    normalizations: Mapping[str, float | None],
) -> tuple[dict[str, npt.NDArray[np.uint8]], dict[str, npt.NDArray[np.uint8]], npt.NDArray[np.float64]]:
    """Raw maps [N, h, w] to 8-bit maps [N, H, W] per normalisation, on the processor, exactly as the reference.

    `normalizations` maps names to a fraction (None: the rule's own). Returns (levels by name, statuses [N] by
    name, upsampled maps [N, H, W] before normalisation).
    """
    n = len(raw)
    levels = {name: np.zeros((n, *size_hw), np.uint8) for name in normalizations}
    statuses = {name: np.zeros(n, np.uint8) for name in normalizations}
    large = np.empty((n, *size_hw), np.float64)
    for i in range(n):
        large[i] = upsample(raw[i], size_hw)
        for name, fraction in normalizations.items():
            m, status = normalize(large[i], name, fraction)
            statuses[name][i] = int(status)
            if not status:
                levels[name][i] = quantize(m)
    return levels, statuses, large


def score_levels_torch(
    raw: torch.Tensor, size_hw: tuple[int, int], normalizations: Mapping[str, float | None]
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor], torch.Tensor]:
    """`score_levels` on the maps' own device, for accelerators: only the 8-bit maps then have to travel."""
    import torch
    import torch.nn.functional as F

    large = raw.to(torch.float64)
    if tuple(large.shape[1:]) != size_hw:
        large = F.interpolate(large[:, None], size_hw, mode="bicubic", align_corners=False)[:, 0]  # [N, H, W]
    flat = large.flatten(1)  # [N, H*W]
    low, high = flat.min(1).values, flat.max(1).values
    finite = torch.isfinite(flat).all(1)
    usable = finite & (low != high)
    safe = torch.where(usable[:, None], flat, torch.zeros_like(flat))
    ordered = safe.sort(1).values if {"pas", "ivr"} & set(normalizations) else None
    levels: dict[str, torch.Tensor] = {}
    statuses: dict[str, torch.Tensor] = {}
    for name, given in normalizations.items():
        fraction = given if given is not None else (NORMALIZATIONS[name].fraction or 0.0)
        index = min(int(fraction * flat.shape[1]), flat.shape[1] - 1)
        if name == "minmax":
            m = safe - safe.amin(1, keepdim=True)
            divisor = m.amax(1, keepdim=True)
        elif name == "max":
            m = safe.clamp(min=0)
            divisor = safe.amax(1, keepdim=True)
        elif name == "pas":
            assert ordered is not None
            m = safe - ordered[:, :1]
            divisor = ordered[:, index : index + 1] - ordered[:, :1]
        else:
            assert ordered is not None
            m = (safe - ordered[:, index : index + 1]).clamp(min=0)
            divisor = m.amax(1, keepdim=True)
        fine = usable & (divisor[:, 0] > 0)
        m = (m / divisor.where(fine[:, None], torch.ones_like(divisor))).clamp(max=1)
        m = torch.where(fine[:, None], m, torch.zeros_like(m))
        levels[name] = (m * 255).to(torch.uint8).view(large.shape)
        statuses[name] = torch.where(
            ~finite,
            int(MapStatus.NAN),
            torch.where(
                low == high, int(MapStatus.CONSTANT), torch.where(fine, 0, int(MapStatus.ZERO_DIVISOR))
            ),
        ).to(torch.uint8)
    return levels, statuses, large
