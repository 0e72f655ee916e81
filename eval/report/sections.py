"""A section of a page: a title, a sentence, a table or bars, a note."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

from eval.report import charts
from eval.statistics.law import ALPHA

_BLANK: dict[str, Any] = {
    "lead": "",
    "entries": None,
    "table": None,
    "stacks": None,
    "kinds": (),
    "note": "",
    "first": "",
    "limit": 0,
    "first_name": "",
}


def section(title: str, **more: Any) -> dict[str, Any]:
    """A section as the template reads it.

    Args:
        title: its heading.
        **more: any of `lead` (a sentence above), `table` ({"columns", "rows"}), `stacks` (bars: {"name", "svg"}) with
            the names of their `kinds`, `note` (below).
    """
    return {**_BLANK, "title": title, **more}


def difference_section(
    title: str, found: Sequence[tuple[str, Mapping[str, Any], str]], other: str, first: str, **more: Any
) -> dict[str, Any]:
    """A section with a table of differences.

    Args:
        title: its heading.
        found: rows of (label, entry with "baseline", "other", "difference", "ci95", perhaps "adjusted_p", note).
        other: the name of the method that is not the baseline.
        first: what the labels are ("class", "group").
        **more: as for `section`; `first_name` replaces the baseline's name.
    """
    limit = largest(e for _, e, _ in found)
    rows = [
        {
            "label": label,
            "baseline": e["baseline"],
            "other": e["other"],
            "difference": e["difference"],
            "ci95": e["ci95"],
            "strip": strip(e, limit),
            "note": note,
            "other_name": other,
        }
        for label, e, note in found
    ]
    return section(title, entries=rows or None, limit=limit, first=first, **more)


def largest(entries: Iterable[Mapping[str, Any]]) -> float:
    """How far from 0 differences and the ends of their intervals lie, in points; at least 1."""
    return max([1.0, *(abs(v) for e in entries for v in (e["difference"], *(e["ci95"] or ())))])


def strip(entry: Mapping[str, Any], limit: float) -> Markup:
    """A difference with its interval on a line from -limit to limit, coloured where its adjusted p decides."""
    decided = entry.get("adjusted_p")
    verdict = ""
    if decided is not None and decided < ALPHA:
        verdict = "higher" if entry["difference"] > 0 else "lower"
    return charts.interval_strip(entry["difference"], entry["ci95"], limit, verdict)
