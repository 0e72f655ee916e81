"""A checksum inside a record of plain values, so that a flipped bit or an edit by hand does not go unnoticed.

The checksum covers the values, not the layout of the text. Where it is not `needed` (run.yaml), a record whose line
`sha256` somebody removed on purpose is taken as it is.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from wsol.errors import UserError

SEAL = "sha256"


def sealed(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record with its checksum as first entry: a text that is cut keeps it."""
    bare = {key: value for key, value in record.items() if key != SEAL}
    return {SEAL: _checksum(bare), **bare}


def unsealed(record: Mapping[str, Any], where: str, remedy: str, *, needed: bool = True) -> dict[str, Any]:
    """The record without its checksum; a `UserError` with the remedy where that does not fit, or is absent and
    `needed`."""
    if needed and SEAL not in record:
        raise UserError(
            f"{where}: carries no checksum (an older version's, or changed since it was written); {remedy}"
        )
    bare = {key: value for key, value in record.items() if key != SEAL}
    if SEAL in record and record[SEAL] != _checksum(bare):
        raise UserError(f"{where}: was changed after it was written (its checksum differs); {remedy}")
    return bare


def _checksum(record: Mapping[str, Any]) -> str:
    try:
        text = json.dumps(record, sort_keys=True, ensure_ascii=True, default=str)
    except (TypeError, ValueError, RecursionError):  # keys that no record of ours has
        return ""
    return hashlib.sha256(text.encode()).hexdigest()
