"""JSON as plain data: no NaN, no key twice, no nesting without end; every defect is one line."""

from __future__ import annotations

import json
import os
from typing import Any

from wsol.errors import UserError
from wsol.files.regular import MAX_TEXT_BYTES, read_text


def load_json(text: str, where: str) -> Any:
    """Parse JSON strictly: no NaN, no key twice; `UserError` names file and line."""

    def refuse(name: str) -> float:
        raise ValueError(f"{name} is not a JSON number")

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            seen: set[str] = set()
            twice = next(k for k, _ in pairs if k in seen or seen.add(k))  # type: ignore[func-returns-value]
            raise ValueError(f"key {twice!r:.40} is given twice in one object")
        return found

    try:
        return json.loads(text, parse_constant=refuse, object_pairs_hook=unique)
    except json.JSONDecodeError as error:
        raise UserError(f"{where}:{error.lineno}: not readable as JSON: {error.msg}") from error
    except (ValueError, RecursionError) as error:
        detail = "nested too deeply" if isinstance(error, RecursionError) else error
        raise UserError(f"{where}: not readable as JSON: {detail}") from error


def read_json(path: str | os.PathLike[str], limit: int = MAX_TEXT_BYTES) -> Any:
    """The content of a JSON file; a missing one stays an OSError, every other defect is a `UserError`."""
    return load_json(read_text(path, limit), os.fspath(path))
