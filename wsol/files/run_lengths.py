"""Masks as COCO's run lengths: {"size": [height, width], "counts": list or compressed text}, column by column."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from wsol.files.arrays import require_size

if TYPE_CHECKING:
    import numpy.typing as npt


def checked_runs(mask: Mapping[str, Any]) -> list[int]:
    """The lengths of the runs of 0 and 1 in turn; ValueError where they do not add up to the stated size."""
    size, counts = mask.get("size"), mask.get("counts")
    if not isinstance(size, list) or len(size) != 2 or not all(type(s) is int and s > 0 for s in size):
        raise ValueError(f"a run-length mask needs its size [height, width], got {size!r:.40}")
    require_size((size[0], size[1]), 1)
    runs = counts if isinstance(counts, list) else _decoded(counts)
    if not all(type(c) is int and c >= 0 for c in runs) or sum(runs) != size[0] * size[1]:
        raise ValueError("the runs of a run-length mask do not add up to its image")
    return runs


def mask_of_runs(mask: Mapping[str, Any]) -> npt.NDArray[np.bool_]:
    """The mask [height, width]; ValueError where it is none, or larger than `wsol.files.arrays` reads."""
    runs = checked_runs(mask)
    height, width = mask["size"]
    inside = np.arange(len(runs)) % 2 == 1
    return np.repeat(inside, runs).reshape(width, height).T


def _decoded(text: Any) -> list[int]:
    """COCO's compressed run lengths: 6 bits a character, each run after the second relative to two before."""
    if not isinstance(text, str) or not text.isascii():
        raise ValueError("'counts' must be a list or a text")
    runs: list[int] = []
    at = 0
    while at < len(text):
        value = shift = 0
        more = True
        while more:
            if at == len(text) or not 0 <= ord(text[at]) - 48 < 64 or shift > 60:
                raise ValueError("'counts' is cut short or holds a wrong character")
            bits = ord(text[at]) - 48
            value |= (bits & 0x1F) << shift
            more = bool(bits & 0x20)
            at += 1
            shift += 5
            if not more and bits & 0x10:
                value |= -1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
    return runs
