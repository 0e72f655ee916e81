"""What a reader of a comparison sees without scrolling: the numbers that matter, the controls beside them, and what
explains the difference."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from eval.comparison.controls import BESIDE
from eval.comparison.decomposition import NOTHING
from eval.report.numbers import interval, signed

MEASURES = (
    ("gt_known_fixed", ("GT-known", "fixed threshold")),
    ("top1_loc", ("Top-1 Loc", "fixed threshold")),
    ("maxboxacc_v2", ("MaxBoxAccV2", "best threshold")),
    ("maxboxacc_v2_transferred", ("MaxBoxAccV2", "transferred")),
)
"""The protocols shown, each with the words for it; where none of them was compared, the first four that were."""
EXAMPLES = 6
TERMS = {
    "classification": "classification",
    "extent": "the extent of the maps",
    "threshold": "the threshold (score scale)",
}


def first_screen(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Content of the first screen for one comparison."""
    protocols = entry["protocols"]
    shown = [(name, words) for name, words in MEASURES if name in protocols] or [
        (name, (name, "")) for name in list(protocols)[:4]
    ]
    rows = []
    for name, words in shown:
        p = protocols[name]
        css = p["verdict"] if p["verdict"] in ("higher", "lower") else ""
        beside = [p["controls"][control] for control in BESIDE]
        rows.append(
            {
                "label": words[0],
                "how": words[1],
                "baseline": f"{p['baseline']:.1f}",
                "other": f"{p['other']:.1f}",
                "difference": signed(p["difference"], 1),
                "interval": interval(p["ci95"]) if p["ci95"] else "",
                "css": css,
                "controls": ["–" if c is None else f"{c:.1f}" for c in beside],
            }
        )
    return {
        "baseline": entry["baseline"],
        "other": entry["other"],
        "controls": list(BESIDE.values()),
        "rows": rows,
        "explanation": explanation(entry["drivers"].get("top_loc", {})),
        "examples": EXAMPLES,
    }


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
