"""Scored runs in one table, the controls below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from eval.metrics.results_json import read_results
from eval.protocols import differences
from eval.terminal.tables import images_counted, number, part_notes, stacked, table_of, unit
from eval.terminal.text import print_table, print_text, terminal
from wsol.errors import UserError

COLUMNS = {
    "gt_known_fixed": "GT-known\n(fixed 0.2)",
    "top1_loc": "Top-1 Loc\n(fixed 0.2)",
    "maxboxacc": "MaxBoxAcc\n(oracle)",
    "maxboxacc_v2": "MaxBoxAccV2\n(oracle)",
    "maxboxacc_v2_transferred": "MaxBoxAccV2\n(transferred)",
}

CONTROLS = (("center_gaussian", "centre Gaussian"), ("full_image", "full image"))

Named = Sequence[tuple[str, Mapping[str, Any]]]
"""Runs by name, each with its results.json."""


def print_overview(folders: Sequence[Path]) -> None:
    """Print the table of scored runs and what they are only a part of; `UserError` where they were scored on different
    data."""
    named = [(folder.name, read_results(folder)) for folder in folders]
    console = terminal()
    print_table(console, overview_tables(named))
    for line in overview_notes(named):
        print_text(console, f"note: {line}")


def overview_tables(named: Named) -> list[Table]:
    """The table for (name, results) pairs of one dataset and split: a run a row, a run a column, and a run below the
    other."""
    if not named:
        raise UserError("name at least one scored run")
    _check_same_data(named)
    shown = _columns(named)
    _check_same_definitions(named, shown)
    first = named[0][1]
    title = f"{first['dataset']}, {first['split']}, {images_counted(first)}: "
    title += unit(entry for _, results in named for entry in results["protocols"].values())
    subjects = [(name, _measures(results, shown, named)) for name, results in named]
    subjects += [(words, found) for key, words in CONTROLS if (found := _control(named, key, shown))]
    headings = list(subjects[0][1])

    rows = table_of(title, "run", headings)
    columns = table_of(title, "", [name for name, _ in subjects])
    below = table_of(title, "run", ["value"])
    for name, measures in subjects:
        rows.add_row(name, *(stacked(measures.get(h)) for h in headings))
        below.add_row(name, style="bold")
        for heading in headings:
            below.add_row("  " + heading.replace("\n", " "), number(measures.get(heading)))
    for heading in headings:
        columns.add_row(heading, *(stacked(m.get(heading)) for _, m in subjects))
    return [rows, columns, below]


def overview_notes(named: Named) -> list[str]:
    """Which runs are results of a part of the dataset only, a line for each such part."""
    found: dict[str, list[str]] = {}
    for name, results in named:
        for note in part_notes(results):
            found.setdefault(note, []).append(name)
    return [note if len(of) == len(named) else f"{', '.join(of)}: {note}" for note, of in found.items()]


def _columns(named: Named) -> dict[str, str]:
    """Headings by protocol: `COLUMNS`, and every protocol of runs that have none of them (their own ones)."""
    own = [
        p for _, results in named if not COLUMNS.keys() & results["protocols"] for p in results["protocols"]
    ]
    usual = any(COLUMNS.keys() & results["protocols"] for _, results in named)
    return {**(COLUMNS if usual or not own else {}), **{p: p for p in own}}


def _measures(
    results: Mapping[str, Any], shown: Mapping[str, str], named: Named
) -> dict[str, Mapping[str, Any] | None]:
    """What the table shows of a run, by column heading; a column of the energy where any run has it."""
    found: dict[str, Mapping[str, Any] | None] = {
        "classification\ntop-1": results["classification"].get("top1")
    }
    found |= {heading: results["protocols"].get(key) for key, heading in shown.items()}
    for part, words in (("object", "whole object"), ("head", "deciding part\n(head)")):
        if any(part in other.get("energy", {}) for _, other in named):
            found[f"map energy on\n{words}"] = results.get("energy", {}).get(part)
    return found


def _control(named: Named, control: str, shown: Mapping[str, str]) -> dict[str, Mapping[str, Any] | None]:
    """A control's values by column heading, each from the first run that has it; empty where none has any."""
    found: dict[str, Mapping[str, Any] | None] = {}
    for key, heading in shown.items():
        entries = [results.get("controls", {}).get(control, {}).get(key) for _, results in named]
        value = next((e for e in entries if e), None)
        if value:
            found[heading] = value
    return found


def _check_same_data(named: Named) -> None:
    first_name, first = named[0]
    for name, results in named[1:]:
        for key in ("dataset", "split", "num_images"):
            if results[key] != first[key]:
                raise UserError(
                    f"'{first_name}' and '{name}' were scored on different data ({key}: {first[key]} and "
                    f"{results[key]}); an overview needs one split"
                )
        if _data(results, first) != _data(first, results):
            raise UserError(
                f"'{first_name}' and '{name}' were scored on different data: their lists of images and boxes differ, "
                f"though both are called '{first['dataset']}'; an overview needs one split"
            )


def _data(results: Mapping[str, Any], other: Mapping[str, Any]) -> Any:
    """What says which images and boxes were scored. Results from before `split_hash` have the manifest's hash alone,
    which depends on the splits that were read too: it is no evidence where those differ."""
    if "split_hash" in results and "split_hash" in other:
        return results["split_hash"]
    one, two = ((r["provenance"].get("config") or {}).get("threshold_split") for r in (results, other))
    return results["provenance"].get("manifest_hash") if one == two else None


def _check_same_definitions(named: Named, shown: Mapping[str, str]) -> None:
    for key in shown:
        having = [(name, r["protocols"][key]["definition"]) for name, r in named if key in r["protocols"]]
        for name, definition in having[1:]:
            if unlike := differences(having[0][1], definition):
                raise UserError(
                    f"'{having[0][0]}' and '{name}' define {key} differently ({'; '.join(unlike)}); an overview needs "
                    "one definition of a protocol: score one of them again"
                )
