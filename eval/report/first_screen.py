"""What a reader sees without scrolling: the numbers that matter, the controls beside them, and what explains a
difference."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from eval.analysis.evaluated import Evaluated
from eval.comparison.controls import BESIDE, values_beside
from eval.comparison.decomposition import NOTHING
from eval.report.numbers import interval, signed

Words = tuple[str, str]
"""A protocol's short name, and how its threshold is chosen."""
MEASURES: tuple[tuple[str, Words], ...] = (
    ("gt_known_fixed", ("GT-known", "fixed threshold")),
    ("top1_loc", ("Top-1 Loc", "fixed threshold")),
    ("maxboxacc_v2", ("MaxBoxAccV2", "best threshold")),
    ("maxboxacc_v2_transferred", ("MaxBoxAccV2", "threshold of other images")),
)
"""The protocols shown, each with the words for it; where none of them was scored, the first four that were."""
OF_A_RUN: tuple[tuple[str, Words], ...] = (
    ("maxboxacc_transferred", ("MaxBoxAcc", "threshold of other images")),
    ("maxboxacc", ("MaxBoxAcc", "best threshold")),
    *MEASURES,
)
"""The same for one run, whose headline is by the first that was scored; the second stands only where it is that."""
EXAMPLES = 6
TERMS = {
    "classification": "classification",
    "extent": "the extent of the maps",
    "threshold": "the threshold (score scale)",
}


def first_screen(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Content of the first screen for one comparison."""
    protocols, rows = entry["protocols"], []
    for name, words in _shown(MEASURES, protocols):
        p = protocols[name]
        cells = [
            _cell(f"{p['baseline']:.1f}"),
            _cell(f"{p['other']:.1f}"),
            _cell(signed(p["difference"], 1), "key", interval(p["ci95"]) if p["ci95"] else ""),
        ]
        css = p["verdict"] if p["verdict"] in ("higher", "lower") else ""
        rows.append(_row(words, cells, [p["controls"][c] for c in BESIDE], css))
    return {
        "columns": [entry["baseline"], entry["other"], "difference"],
        "controls": list(BESIDE.values()),
        "rows": rows,
        "explanation": explanation(entry["drivers"].get("top_loc", {})),
        "examples": EXAMPLES,
    }


def first_screen_of_run(run: Evaluated, explanation: str) -> dict[str, Any]:
    """Content of the first screen for one run; `explanation` is what its headline rests on."""
    rows = []
    there = [
        p
        for p in run.results["protocols"]
        if p != "maxboxacc" or OF_A_RUN[0][0] not in run.results["protocols"]
    ]
    for name, words in _shown(OF_A_RUN, there):
        entry, beside = run.results["protocols"][name], values_beside(run, name)
        ci = entry["ci95"]
        small = f"[{ci[0]:.1f}, {ci[1]:.1f}]" if ci else ""
        value = _cell(f"{entry['value']:.1f}", "key", small)
        rows.append(_row(words, [value], [beside[c] for c in BESIDE], ""))
    return {
        "columns": [run.method],
        "controls": list(BESIDE.values()),
        "rows": rows,
        "explanation": explanation,
        "examples": EXAMPLES,
    }


def _shown(wanted: Sequence[tuple[str, Words]], there: Iterable[str]) -> list[tuple[str, Words]]:
    names = list(there)
    return [(name, words) for name, words in wanted if name in names] or [(n, (n, "")) for n in names[:4]]


def _row(
    words: Words, cells: list[dict[str, str]], controls: Sequence[float | None], css: str
) -> dict[str, Any]:
    beside = [_cell("–" if c is None else f"{c:.1f}", "beside") for c in controls]
    return {"label": words[0], "how": words[1], "css": css, "cells": [*cells, *beside]}


def _cell(text: str, css: str = "", small: str = "") -> dict[str, str]:
    return {"text": text, "css": css, "small": small}


def explanation(top_loc: Mapping[str, Any]) -> str:
    """What the difference of Top-1 Loc comes from, in one sentence; empty where it was not taken apart.

    >>> term = lambda v: {"value": v}
    >>> terms = {"classification": term(-0.5), "extent": term(3.5), "threshold": term(12.8)}
    >>> print(explanation({"top1_loc": {"terms": terms}}))  # doctest: +NORMALIZE_WHITESPACE
    Of +15.8 points of Top-1 Loc, +12.8 come from the threshold (score scale), +3.5 from the extent of the maps and −0.5
    from classification.
    >>> explanation({})
    ''
    """
    found = top_loc.get("top1_loc")
    if not found:
        return ""
    values = {key: float(term["value"]) for key, term in found["terms"].items()}
    parts = [
        f"{signed(value, 1)} {'come ' if i == 0 else ''}from {TERMS.get(key, key)}"
        for i, (key, value) in enumerate(sorted(values.items(), key=lambda item: -abs(item[1])))
    ]
    total = signed(sum(values.values()), 1)
    if found.get("in_words") == NOTHING:
        shares = ", ".join(f"{TERMS.get(k, k)} {signed(v, 1)}" for k, v in values.items())
        return f"Of {total} points of Top-1 Loc no part can be told from zero: {shares}."
    return f"Of {total} points of Top-1 Loc, {joined(parts)}."


def joined(parts: Sequence[str]) -> str:
    """Parts of a sentence, the last one after "and".

    >>> joined(["a"]), joined(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def sentences(text: str) -> list[str]:
    """The sentences of a text; a decimal point ends none.

    >>> sentences("Up by 2.2 points, to +5.2. By another one, down.")
    ['Up by 2.2 points, to +5.2.', 'By another one, down.']
    """
    return re.split(r"(?<=\.) (?=[A-Z])", text)
