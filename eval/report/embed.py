"""Data inside an HTML page: JSON that no markup can break out of, arrays as base64."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

_UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}


def script_json(data: Any) -> str:
    """JSON for a `<script type="application/json">`: markup inside texts stays text. NaN is a ValueError.

    >>> script_json("</script><b>")
    '"\\\\u003c/script\\\\u003e\\\\u003cb\\\\u003e"'
    """
    text = json.dumps(data, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    for character, escaped in _UNSAFE.items():
        text = text.replace(character, escaped)
    return text


def base64_of(array: npt.NDArray[Any] | bytes) -> str:
    """Base64 of bytes, or of an array's little-endian bytes."""
    if isinstance(array, np.ndarray):
        array = np.ascontiguousarray(array.astype(array.dtype.newbyteorder("<"))).tobytes()
    return base64.b64encode(array).decode("ascii")
