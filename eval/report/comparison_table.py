"""The page's table of a comparison: one row a protocol."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eval.analysis.evaluated import Evaluated
from eval.comparison.controls import BESIDE
from eval.comparison.terminal import (
    beside,
    by_role,
    could_show,
    populations,
    probability,
    table_note,
    tested,
)
from eval.report import charts
from eval.report.numbers import interval, published_text, signed
from eval.report.parts_of_page import how

_TESTED = (
    {"name": "95 % interval", "css": "wide"},
    {"name": "p"},
    {"name": "verdict", "css": "text"},
    {"name": "could show"},
)


def comparison_table(
    entry: Mapping[str, Any], content: Mapping[str, Any], run: Evaluated, several: bool
) -> dict[str, Any]:
    protocols = entry["protocols"]
    law = tested(protocols)
    reach = [abs(v) for p in protocols.values() for v in (p["difference"], *(p["ci95"] or ()))]
    limit = max([1.0, *reach])
    rows = []
    for name, p in by_role(protocols):
        css = p["verdict"] if p["verdict"] in ("higher", "lower") else "none"
        rows.append(
            {
                "name": name + ("* (primary)" if p["role"] == "primary" else ""),
                "how": how(p["definition"], run.results) + _flattery(p),
                "css": css,
                "cells": [
                    {"text": f"{p['baseline']:.2f}"},
                    {"text": f"{p['other']:.2f}"},
                    {"text": signed(p["difference"]), "css": "key"},
                    *(_tested_cells(p, limit) if law else ()),
                    *({"text": beside(p, control), "css": "beside"} for control in BESIDE),
                    {"text": published_text(p["published"]) or "–", "css": "note"},
                ],
            }
        )
    columns = [
        {"name": "protocol"},
        {"name": entry["baseline"]},
        {"name": entry["other"]},
        {"name": "difference"},
        *(_TESTED if law else ()),
        *({"name": words, "css": "beside"} for words in BESIDE.values()),
        {"name": "published", "css": "text"},
    ]
    return {
        "title": entry["name"] if several else "",
        "columns": [{"css": "", **c} for c in columns],
        "rows": rows,
        "caption": f"Percent, and differences in percentage points. {' '.join(populations(protocols))} "
        f"{table_note(content)} 'Published' are differences printed for the data and network named: single runs "
        "without intervals (sources in compare.json).",
    }


def _tested_cells(p: Mapping[str, Any], limit: float) -> list[dict[str, Any]]:
    """The cells below `_TESTED`."""
    strip = charts.interval_strip(p["difference"], p["ci95"], limit, p["verdict"])
    return [
        {"text": strip, "css": "wide", "small": interval(p["ci95"])},
        {"text": probability(p["adjusted_p"])},
        {"text": _word(p["verdict"]), "css": "verdict"},
        {"text": could_show(p)},
    ]


def _flattery(p: Mapping[str, Any]) -> str:
    """By how much the best threshold on the scored images flatters either side."""
    a, b = p["optimism"]["baseline"], p["optimism"]["other"]
    return "" if a is None or b is None else f"; flattered by about {a:.1f} and {b:.1f}"


def _word(verdict: str) -> str:
    return {"higher": "▲ higher", "lower": "▼ lower", "equivalent": "= equivalent"}.get(verdict, verdict)
