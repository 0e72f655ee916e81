"""An entry of a results table: one method on one dataset, numbers by protocol, and where all of it comes from."""

from __future__ import annotations

import hashlib
import json
import math
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.protocols import PROTOCOLS, short_hash
from eval.records.measures import MEASURES
from eval.results_table.beside import (
    check_costs,
    check_grid,
    check_notes,
    costs_beside,
    grid_beside,
    notes_beside,
)
from wsol.errors import UserError
from wsol.files.atomic_write import write_durably
from wsol.files.strict_json import load_json, read_json
from wsol.files.typed import check_types
from wsol.wrapping import tell

if TYPE_CHECKING:
    from eval.analysis.evaluated import Evaluated

SCHEMA = 1
_HASHES = {n: short_hash(p) for n, p in PROTOCOLS.items()} | {n: m.short_hash for n, m in MEASURES.items()}
"""What numbers may be called, and what each means today."""
KINDS = ("measured", "published")
_TEXTS = ("kind", "method", "network", "dataset", "split", "source")
_MEASURED = ("num_images", "maps_sha256", "command")
"""What a measured entry has beside; in a published one it may be null, for papers seldom say."""
_CHECKS = {"error_costs": check_costs, "grid": check_grid, "notes": check_notes}
"""What any entry may have beside."""


@dataclass(frozen=True)
class Entry:
    """`numbers` by protocol: value and ci95 in percent (ci95 null where the source has none), protocol_hash.

    `error_costs`, `grid` and `notes` (`eval.results_table.beside`) are there where they were measured.
    """

    kind: str
    method: str
    network: str
    dataset: str
    split: str
    source: str
    num_images: int | None
    maps_sha256: str | None
    command: str | None
    numbers: dict[str, dict[str, Any]]
    error_costs: dict[str, Any] | None = None
    grid: dict[str, Any] | None = None
    notes: list[str] | None = None
    schema: int = SCHEMA


def read_entry(file: Path) -> Entry:
    """Read and check one entry.

    Raises:
        UserError: a field that is missing or of another kind, a measured number without interval, command or checksum,
            a value that is no percentage, or a protocol that is unknown or has another definition now.
    """
    return _checked(read_json(file), f"'{file}'")


def _checked(data: Any, where: str) -> Entry:
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        raise UserError(f"{where} is not a result of schema {SCHEMA}")
    check_types(data, {**dict.fromkeys(_TEXTS, str), "numbers": dict}, where, "see docs/results.md")
    missing = [k for k in _MEASURED if k not in data]
    if missing:
        raise UserError(
            f"{where}: '{missing[0]}' is missing; null says that a published source does not state it"
        )
    if data["kind"] not in KINDS:
        raise UserError(f"{where}: kind is {data['kind']!r:.20}, expected one of {', '.join(KINDS)}")
    unknown = set(data) - {"schema", *_TEXTS, *_MEASURED, "numbers", *_CHECKS}
    if unknown:
        raise UserError(f"{where}: '{sorted(unknown)[0]}' is no field of a result")
    measured = data["kind"] == "measured"
    for name in ("method", "network", "dataset", "split", "source"):
        if not data[name].strip():
            raise UserError(f"{where}: '{name}' is empty")
    if measured and any(not data[k] for k in _MEASURED):
        lacking = next(k for k in _MEASURED if not data[k])
        raise UserError(f"{where}: a measured result needs '{lacking}'")
    if not data["numbers"]:
        raise UserError(f"{where}: it holds no number")
    for name, number in data["numbers"].items():
        _check_number(name, number, measured, where)
    for name, check in _CHECKS.items():
        if name in data:
            check(data[name], where)
    return Entry(**data)


def _check_number(name: str, number: Any, measured: bool, where: str) -> None:
    at = f"{where}: {name}"
    if name not in _HASHES:
        raise UserError(f"{at} is no protocol or measure; python -m eval.protocols lists the protocols")
    if not isinstance(number, dict) or set(number) != {"value", "ci95", "protocol_hash"}:
        raise UserError(f"{at}: expected value, ci95 and protocol_hash")
    said, today = number["protocol_hash"], _HASHES[name]
    if said != today:
        raise UserError(
            f"{at}: its protocol_hash is {said!r:.20}, but {name} is {today} now: it was defined otherwise; score it "
            "again"
        )
    ci = number["ci95"]
    listed = [number["value"], *(ci if isinstance(ci, list) else [])]
    fine = all(isinstance(v, (int, float)) and math.isfinite(v) and 0 <= v <= 100 for v in listed)
    if not fine or (ci is not None and (not isinstance(ci, list) or len(ci) != 2)):
        raise UserError(f"{at}: expected a percentage and an interval of two, got {number!r:.80}")
    if measured and ci is None:
        raise UserError(f"{at}: a measured number needs its interval (ci95)")


def entry_of(run: Evaluated, network: str, source: str) -> Entry:
    """The entry of an evaluated run: every published protocol and every measure without a threshold, with intervals.

    Args:
        run: the run; one without a name of its own (NAME=RUN) is called by its method, and by its training seed.
        network: named where the results do not.
        source: where the numbers come from.

    Raises:
        UserError: nothing of the run can be an entry, for it has no interval or no published protocol.
    """
    results = run.results
    stated = {**results["protocols"], **results.get("measures", {})}
    if stated and not any(e["ci95"] for e in stated.values()):
        raise UserError(
            f"'{run.folder}' was scored without intervals (--bootstrap 0), and a measured entry needs them: run "
            "eval.localize again without that option, it reads the finished records"
        )
    maps = json.dumps(results["provenance"].get("maps"), sort_keys=True, default=str)
    hashes = {name: short_hash(p) for name, p in run.protocols.items()}
    hashes |= {name: e["measure_hash"] for name, e in results.get("measures", {}).items()}
    numbers = {
        name: {"value": e["value"], "ci95": e["ci95"], "protocol_hash": hashes[name]}
        for name, e in stated.items()
        if _HASHES.get(name) == hashes[name] and e["ci95"]
    }
    others = [name for name in stated if _HASHES.get(name) != hashes[name]]
    if others:
        tell(
            f"note: '{run.folder}': {', '.join(others)}: not published as defined there, left out of the entry"
        )
    if not numbers:
        raise UserError(
            f"'{run.folder}' holds no published protocol as it is defined now; run eval.localize again without "
            "--protocols"
        )
    return Entry(
        "measured",
        run.method,
        network or run.arch or "none",
        run.dataset,
        run.split,
        source,
        int(results["counts"]["scored"]),
        hashlib.sha256(maps.encode()).hexdigest(),
        _typed(results["provenance"].get("command") or ()),
        numbers,
        costs_beside(results),
        grid_beside(run.folder),
        notes_beside(results),
    )


def _typed(command: Sequence[str]) -> str:
    """A recorded command as it is typed.

    >>> _typed(["localize.py", "runs/cutmix-0"])
    'python -m eval.localize runs/cutmix-0'
    """
    program, *rest = (str(a) for a in command) if command else ("",)
    shown = f"python -m eval.{Path(program).stem}" if program.endswith(".py") else program
    return shlex.join([*shown.split(), *rest])


def write_entry(entry: Entry, file: Path) -> Path:
    """Write an entry that `read_entry` reads; anything else is refused before, and what lay there stays."""
    said = {k: v for k, v in asdict(entry).items() if v is not None or k not in _CHECKS}
    text = json.dumps(said, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    _checked(load_json(text, str(file)), f"'{file}'")
    return write_durably(file, text)
