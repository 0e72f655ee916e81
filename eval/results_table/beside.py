"""What an entry of a results table may hold beside its numbers by protocol: what errors cost, and the grid game."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eval.analysis.error_costs import REPAIRED
from eval.protocols import PROTOCOLS
from eval.terminal.tables import part_notes
from wsol.errors import UserError
from wsol.files.strict_json import read_json
from wsol.files.typed import check_types

GRID_ROWS = ("network", "random weights")


def costs_beside(results: Mapping[str, Any]) -> dict[str, Any] | None:
    """The entry `error_costs`: protocol, and by repair the points gained with interval. None where not measured, or
    under a protocol of the user's own."""
    costs = results.get("error_costs")
    if (
        not costs
        or costs["protocol"] not in PROTOCOLS
        or any(r["ci95"] is None for r in costs["repairs"].values())
    ):
        return None
    gains = {k: {"value": r["gain"], "ci95": r["ci95"]} for k, r in costs["repairs"].items()}
    return {"protocol": costs["protocol"], "gains": gains}


def grid_beside(folder: Path) -> dict[str, Any] | None:
    """The entry `grid` from `grid-2/grid.json` in a run's folder, as `eval.grid_game --out RUN/grid-2` writes it: side,
    layout, chance, number of grids, and by row the energy in the own tile. None where no game was played there."""
    file = folder / "grid-2" / "grid.json"
    if not file.is_file():
        return None
    game = read_json(file)
    try:
        rows = {name: row["energy"] for name, row in game["rows"].items()}
        found = {
            **{key: game["definition"][key] for key in ("side", "layout")},
            **{key: game[key] for key in ("chance", "num_grids", "definition_hash")},
            "energy": {name: {"value": e["value"], "ci95": e["ci95"]} for name, e in rows.items()},
        }
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(f"'{file}' is no result of eval.grid_game; play again") from error
    check_grid(found, f"'{file}'")
    return found


def notes_beside(results: Mapping[str, Any]) -> list[str] | None:
    """The entry `notes`: that a part of the dataset was scored, or a network with random weights. None for neither."""
    random = ["random weights"] if results["provenance"].get("control") == "random" else []
    return [*part_notes(results), *random] or None


def check_notes(notes: Any, where: str) -> None:
    """UserError, naming the entry, for anything but what `notes_beside` gives."""
    check_types({"notes": notes}, {"notes": [str]}, where, "see docs/results.md")


def check_costs(costs: Any, where: str) -> None:
    """UserError, naming the entry, for anything but what `costs_beside` gives."""
    at = f"{where}: error_costs"
    check_types(costs, {"protocol": str, "gains": dict}, at, "see docs/results.md")
    if costs["protocol"] not in PROTOCOLS or not set(costs["gains"]) <= set(REPAIRED):
        raise UserError(f"{at}: expected a protocol and gains by {', '.join(REPAIRED)}")
    for name, number in costs["gains"].items():
        _check(number, f"{at}: {name}")


def check_grid(grid: Any, where: str) -> None:
    """UserError, naming the entry, for anything but what `grid_beside` gives."""
    at = f"{where}: grid"
    kinds = {"side": int, "layout": str, "chance": float, "num_grids": int, "definition_hash": str}
    check_types(grid, {**kinds, "energy": dict}, at, "see docs/results.md")
    if not set(grid["energy"]) <= set(GRID_ROWS) or "network" not in grid["energy"]:
        raise UserError(f"{at}: expected energy by {', '.join(GRID_ROWS)}")
    for name, number in grid["energy"].items():
        _check(number, f"{at}: {name}")


def _check(number: Any, at: str) -> None:
    """A percentage with an interval of two."""
    ci = number.get("ci95") if isinstance(number, dict) and set(number) == {"value", "ci95"} else None
    listed = [number["value"], *ci] if isinstance(ci, list) and len(ci) == 2 else [None]
    if not all(isinstance(v, (int, float)) and math.isfinite(v) and 0 <= v <= 100 for v in listed):
        raise UserError(f"{at}: expected a percentage with its interval, got {number!r:.80}")
