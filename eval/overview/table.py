"""Scored runs in one table, the controls below."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from eval.metrics.results_json import read_results
from eval.terminal.tables import number, stacked, table_of, unit
from eval.terminal.text import print_table, terminal
from wsol.errors import UserError

COLUMNS = (
    ("gt_known_fixed", "GT-known\n(fixed 0.2)"),
    ("top1_loc", "Top-1 Loc\n(fixed 0.2)"),
    ("maxboxacc", "MaxBoxAcc\n(oracle)"),
    ("maxboxacc_v2", "MaxBoxAccV2\n(oracle)"),
    ("maxboxacc_v2_transferred", "MaxBoxAccV2\n(transferred)"),
)

CONTROLS = (("center_gaussian", "centre Gaussian"), ("full_image", "full image"))


def print_overview(folders: Sequence[Path]) -> None:
    """Print the table of scored runs; `UserError` where they were scored on different data."""
    print_table(terminal(), overview_tables([(folder.name, read_results(folder)) for folder in folders]))


def overview_tables(named: Sequence[tuple[str, Mapping[str, Any]]]) -> list[Table]:
    """The table for (name, results) pairs of one dataset and split: a run a row, a run a column, and a run below the
    other."""
    if not named:
        raise UserError("name at least one scored run")
    _check_same_data(named)
    first = named[0][1]
    title = f"{first['dataset']}, {first['split']}, {first['num_images']} images: "
    title += unit(entry for _, results in named for entry in results["protocols"].values())
    subjects = [(name, _measures(results, first)) for name, results in named]
    subjects += [(words, _control(first, key)) for key, words in CONTROLS if first["controls"].get(key)]
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


def _measures(results: Mapping[str, Any], first: Mapping[str, Any]) -> dict[str, Mapping[str, Any] | None]:
    """What the table shows of a run, by column heading; the energy's columns are those of the first run."""
    found: dict[str, Mapping[str, Any] | None] = {
        "classification\ntop-1": results["classification"].get("top1")
    }
    found |= {heading: results["protocols"].get(key) for key, heading in COLUMNS}
    for part, words in (("object", "whole object"), ("head", "deciding part\n(head)")):
        if part in first.get("energy", {}):
            found[f"map energy on\n{words}"] = results.get("energy", {}).get(part)
    return found


def _control(results: Mapping[str, Any], control: str) -> dict[str, Mapping[str, Any] | None]:
    entries = results["controls"][control]
    return {heading: entries.get(key) for key, heading in COLUMNS}


def _check_same_data(named: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    first = named[0][1]
    for name, results in named[1:]:
        for key in ("dataset", "split", "num_images"):
            if results[key] != first[key]:
                raise UserError(
                    f"'{named[0][0]}' and '{name}' were scored on different data ({key}: {first[key]} and "
                    f"{results[key]}); an overview needs one split"
                )
        if _threshold_split(results) == _threshold_split(first) and _data(results) != _data(first):
            raise UserError(
                f"'{named[0][0]}' and '{name}' were scored on different data: their lists of images and boxes differ, "
                f"though both are called '{first['dataset']}'; an overview needs one split"
            )


def _data(results: Mapping[str, Any]) -> Any:
    return results["provenance"].get("manifest_hash")


def _threshold_split(results: Mapping[str, Any]) -> Any:
    """What the manifest's hash depends on beside the data: the splits that were read."""
    return results["provenance"].get("config", {}).get("threshold_split")
