"""Scored runs in one table, the controls below."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from eval.metrics.results_json import RESULTS, read_results
from eval.terminal_tables import number
from wsol.errors import UserError

COLUMNS = (
    ("gt_known_fixed", "GT-known\n(fixed 0.2)"),
    ("top1_loc", "Top-1 Loc\n(fixed 0.2)"),
    ("maxboxacc", "MaxBoxAcc\n(oracle)"),
    ("maxboxacc_v2", "MaxBoxAccV2\n(oracle)"),
    ("maxboxacc_v2_transferred", "MaxBoxAccV2\n(transferred)"),
)


def load(folder: Path) -> dict[str, Any]:
    """results.json of a run directory or of a results folder."""
    return read_results(folder / "eval" if (folder / "eval" / RESULTS).is_file() else folder)


def print_overview(folders: Sequence[Path]) -> None:
    """Print the table of scored runs; `UserError` where they were scored on different data."""
    console = Console() if sys.stdout.isatty() else Console(width=150)
    console.print(overview_table([(folder.name, load(folder)) for folder in folders]))


def overview_table(named: Sequence[tuple[str, Mapping[str, Any]]]) -> Table:
    """The table for (name, results) pairs of one dataset and split."""

    def cell(entry: Mapping[str, Any] | None) -> str:
        return number(entry).replace(" [", "\n[")

    if not named:
        raise UserError("name at least one scored run")
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
    parts = [k for k in first.get("energy", {}) if k in ("object", "head")]
    table = Table(
        title=f"{first['dataset']}, {first['split']}, {first['num_images']} images: percent [95 % interval]",
        title_justify="left",
    )
    table.add_column("run", no_wrap=True)
    table.add_column("classification\ntop-1", justify="right")
    for _, heading in COLUMNS:
        table.add_column(heading, justify="right")
    for part in parts:
        words = "deciding part\n(head)" if part == "head" else "whole object"
        table.add_column(f"map energy on\n{words}", justify="right")
    for name, results in named:
        energy = results.get("energy", {})
        table.add_row(
            name,
            cell(results["classification"].get("top1")),
            *(cell(results["protocols"].get(key)) for key, _ in COLUMNS),
            *(cell(energy.get(part)) for part in parts),
        )
    table.add_section()
    for key, words in (("center_gaussian", "centre Gaussian"), ("full_image", "full image")):
        entries = first["controls"].get(key)
        if entries:
            table.add_row(words, "–", *(cell(entries.get(k)) for k, _ in COLUMNS), *("–" for _ in parts))
    return table


def _data(results: Mapping[str, Any]) -> Any:
    return results["provenance"].get("manifest_hash")


def _threshold_split(results: Mapping[str, Any]) -> Any:
    """What the manifest's hash depends on beside the data: the splits that were read."""
    return results["provenance"].get("config", {}).get("threshold_split")
