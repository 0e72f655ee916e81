"""Values of our own files checked against the types they are written with, once, where they are read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wsol.errors import UserError

_NAMES = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", dict: "a mapping"}
_LARGEST = 1 << 53
"""Whole numbers beyond this are no counts of anything here."""


def check_types(record: Any, shape: Mapping[str, Any], where: str, remedy: str) -> dict[str, Any]:
    """The record, once every entry that `shape` names is there and of its type.

    Keys of `shape` are entry names, those of inner mappings joined by dots. A type is `str`, `int`, `float` (whole
    numbers too), `bool`, `dict`, `[type]` for a list of it, or a tuple of alternatives; None stands for null. A number
    must be finite and a whole one below 2^53. Entries that `shape` does not name are left alone.

    Raises:
        UserError: naming `where`, the entry, what was expected and the `remedy`.
    """
    if not isinstance(record, dict):
        raise UserError(f"{where}: expected a mapping, got {_short(record)}; {remedy}")
    for name, kind in shape.items():
        value: Any = record
        for key in name.split("."):
            if not isinstance(value, dict) or key not in value:
                raise UserError(f"{where}: entry '{name}' is missing; {remedy}")
            value = value[key]
        if not _fits(value, kind):
            raise UserError(f"{where}: '{name}' must be {_name(kind)}, got {_short(value)}; {remedy}")
    return record


def _fits(value: Any, kind: Any) -> bool:
    if isinstance(kind, tuple):
        return any(_fits(value, k) for k in kind)
    if isinstance(kind, list):
        return isinstance(value, list) and all(_fits(v, kind[0]) for v in value)
    if kind is None:
        return value is None
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < float("inf")
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) < _LARGEST
    return isinstance(value, kind)


def _name(kind: Any) -> str:
    if isinstance(kind, tuple):
        return " or ".join(_name(k) for k in kind)
    if isinstance(kind, list):
        return f"a list, each {_name(kind[0])}"
    return "null" if kind is None else _NAMES[kind]


def _short(value: Any) -> str:
    try:
        return f"{value!r:.60}"
    except (RecursionError, ValueError):  # nested without end, or a number of too many digits to print
        return f"a {type(value).__name__}"
