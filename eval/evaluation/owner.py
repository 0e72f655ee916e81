"""Whose results a folder holds: written before anything else, so that another subject's are never replaced unasked; and
what of the same subject's earlier results is replaced."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from eval.metrics.results_json import RESULTS, read_results
from wsol.errors import UserError
from wsol.files.atomic_write import remove_unfinished, write_durably
from wsol.files.strict_json import read_json
from wsol.files.typed import check_types
from wsol.wrapping import tell

OWNER = "subject.json"
_DECIDE = (
    "map_method",
    "map_layer",
    "map_values",
    "map_size",
    "predictions",
    "class_map",
    "ivr_fraction",
    "precision",
    "split",
    "threshold_split",
    "bootstrap",
)
"""The settings, but for the protocols, by which one subject's results differ."""
_KINDS = ("run", "checkpoint", "score_maps", "boxes", "control")


def subject_facts(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """What processes of one job must hold alike before a folder is marked: the kind of subject, its name, its weights.

    Not where it lies, which may differ between hosts.
    """
    named = {kind: Path(str(provenance[kind])).name for kind in _KINDS if kind in provenance}
    return {**named, "weights_sha256": provenance.get("weights_sha256")}


def claim(out: Path, provenance: Mapping[str, Any], dataset: str) -> None:
    """Mark a folder as this subject's.

    Raises:
        UserError: where it is marked as another one's: neither the same place, nor the same weights, or another
            dataset.
    """
    kind = next((k for k in _KINDS if k in provenance), None)
    if kind is None:  # maps that no command names
        return
    named = str(provenance[kind])
    place = named if kind == "control" else str(Path(named).resolve())
    if kind == "run" and out.resolve().is_relative_to(place):
        place = "."  # moves along with the run
    owner = {
        "kind": kind,
        "place": place,
        "dataset": dataset,
        "weights_sha256": provenance.get("weights_sha256"),
    }
    file = out / OWNER
    remove_unfinished(out)
    remedy = f"choose another --out, or remove '{out}' if its results are no longer needed"
    if file.exists():
        shape = {"kind": str, "place": str, "dataset": str, "weights_sha256": (str, None)}
        there = check_types(read_json(file), shape, f"'{file}'", remedy)
        same = there["place"] == place or (
            there["weights_sha256"] is not None and there["weights_sha256"] == owner["weights_sha256"]
        )
        if (there["kind"], there["dataset"]) != (kind, dataset) or not same:
            raise UserError(
                f"'{out}' holds the results of another {there['kind'].replace('_', ' ')}, '{there['place']}' "
                f"on dataset '{there['dataset']}', not of '{named}' on '{dataset}'; {remedy}"
            )
        if there == owner:
            return
    write_durably(file, json.dumps(owner, indent=1) + "\n")


def tell_replaced(out: Path, protocols: Collection[str], settings: Mapping[str, Any]) -> None:
    """Say which protocols of the results in a folder are not asked for now, and which settings are others; nothing
    where there are no readable results."""
    try:
        before = read_results(out / RESULTS)
    except UserError:
        return
    config = before["provenance"].get("config") or {}
    changes = [
        f"with --{k.replace('_', '-')} {_option(settings[k])} instead of {_option(config[k])}"
        for k in _DECIDE
        if k in config and k in settings and _option(config[k]) != _option(settings[k])
    ]
    if lost := [name for name in before["protocols"] if name not in protocols]:
        changes.append(f"without {', '.join(lost)}")
    if changes:
        tell(
            f"note: '{out / RESULTS}' will be replaced, {', '.join(changes)}; another --out keeps the earlier file too"
        )


def _option(value: Any) -> str:
    return " ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
