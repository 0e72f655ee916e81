"""The page of a folder of result entries: a table a dataset, measured rows with intervals, published ones marked."""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path
from typing import Any

from eval.analysis.error_costs import REPAIRED
from eval.analysis.evaluated import Evaluated, open_evaluated
from eval.protocols import PROTOCOLS
from eval.records.measures import MEASURES, REGIONS
from eval.report.embed import base64_of
from eval.results_table.beside import GRID_ROWS
from eval.results_table.entries import Entry, entry_of, read_entry, write_entry
from eval.terminal.text import print_place, print_text, terminal
from wsol.errors import UserError
from wsol.files.atomic_write import write_durably
from wsol.files.strict_json import read_json
from wsol.wrapping import tell

RULES = {
    "oracle": "best on the scored images",
    "fixed": "fixed",
    "transferred": "chosen on train-fullsup",
    "none": "",
}


def check_and_write(folder: Path, add: Sequence[str], network: str, source: str, page: Path | None) -> None:
    """Add evaluated runs, check every entry and write the page; says where it is."""
    folder.mkdir(parents=True, exist_ok=True)
    for file, (run, entry) in _added(folder, add, network, source).items():
        _tell_replaced(file, entry)
        write_entry(entry, file)
        drawn = run.folder / "pictures" / f"{run.split}.png"
        picture = file.with_suffix(".png")
        if drawn.is_file():
            write_durably(picture, drawn.read_bytes())
        else:
            picture.unlink(missing_ok=True)  # of an earlier entry of this name
    files = sorted(folder.glob("*.json"))
    if not files:
        raise UserError(f"'{folder}' holds no result (*.json); --add RUN makes one")
    entries = [read_entry(f) for f in files]
    pictures = [
        f.with_suffix(".png").read_bytes() if f.with_suffix(".png").is_file() else None for f in files
    ]
    out = page or folder / "index.html"
    write_durably(out, results_page(entries, pictures))
    measured = sum(e.kind == "measured" for e in entries)
    console = terminal()
    print_text(
        console, f"{measured} measured and {len(entries) - measured} published results, all fields there"
    )
    print_place(console, "page", out)


def _added(
    folder: Path, add: Sequence[str], network: str, source: str
) -> dict[Path, tuple[Evaluated, Entry]]:
    """Every run of `add` with its entry, by file: all are made before the first is written. Two runs of one file name
    are a `UserError`."""
    made: dict[Path, tuple[Evaluated, Entry]] = {}
    for location in add:
        run = open_evaluated(location)
        if run.seed is not None and not location.startswith(f"{run.method}="):
            run = replace(run, method=f"{run.method}, seed {run.seed}")
        name = re.sub(r"[^\w.-]+", "-", f"{run.dataset}-{run.method}").strip("-")
        file = folder / f"{name}.json"
        if file in made:
            raise UserError(
                f"'{made[file][0].folder}' and '{run.folder}' would both be the entry '{file}', and one would "
                "overwrite the other; give them names: --add NAME1=RUN1 NAME2=RUN2"
            )
        made[file] = run, entry_of(run, network, source)
    return made


def _tell_replaced(file: Path, entry: Entry) -> None:
    """Say that a file holds an entry made by another command until now."""
    before = read_json(file) if file.is_file() else None
    command = before.get("command") if isinstance(before, dict) else None
    if command is not None and command != entry.command:
        tell(f"note: '{file}' held the entry of `{command}` and is of `{entry.command}` now")


def results_page(entries: Sequence[Entry], pictures: Sequence[bytes | None] = ()) -> str:
    """One HTML page that needs no script and no network; `pictures` are the entries' PNG files, None for none."""
    style = resources.files("eval.report").joinpath("page.css").read_text(encoding="utf-8")
    groups = dict.fromkeys((e.dataset, e.split) for e in entries)
    body = "\n".join(
        _section(d, s, [e for e in entries if (e.dataset, e.split) == (d, s)])
        + "".join(
            _figure(e, p)
            for e, p in zip(entries, pictures)
            if (e.dataset, e.split) == (d, s) and p is not None
        )
        for d, s in groups
    )
    policy = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    return (
        "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        "<meta name='viewport' content='width=device-width, initial-scale=1'>"
        f"<title>Localization results</title><style>{style}</style></head><body><main>"
        "<h1>Localization results</h1><p class='lead'>Percent, with 95 % intervals over the scored images. Rules for "
        "the threshold stand in columns of their own. Published numbers are as printed: single runs without "
        f"intervals, of the protocol that comes closest.</p>{body}</main></body></html>\n"
    )


def _section(dataset: str, split: str, entries: Sequence[Entry]) -> str:
    rules = {name: RULES[p.threshold] for name, p in PROTOCOLS.items()}
    tables = [f"<h2>{_text(dataset)}, {_text(split)}</h2>", _table(rules, entries)]
    for region in REGIONS:
        measures = {name: m.what for name, m in MEASURES.items() if m.region == region}
        measured = [e for e in entries if set(e.numbers) & set(measures)]
        if measured:
            tables += [
                f"<h3>Without a threshold, in the {region}</h3>",
                _table(measures, measured, brief=True),
            ]
    return f"<section>{''.join(tables)}{_costs(entries)}{_grids(entries)}</section>"


def _costs(entries: Sequence[Entry]) -> str:
    """What each kind of error costs, a row an entry that says it."""
    stated = [(e, e.error_costs) for e in entries if e.error_costs]
    if not stated:
        return ""
    rows = [
        (e, f"under {costs['protocol']}", [costs["gains"].get(k) for k in REPAIRED]) for e, costs in stated
    ]
    return "<h3>Points that a perfect repair of one error alone would give</h3>" + _numbers(REPAIRED, rows)


def _grids(entries: Sequence[Entry]) -> str:
    """The grid game, a row an entry whose network played it."""
    stated = [(e, e.grid) for e in entries if e.grid]
    if not stated:
        return ""
    rows = [
        (
            e,
            f"{g['num_grids']} grids of {g['side']} x {g['side']}, layout {g['layout']}, chance {g['chance']:.1f}",
            [g["energy"].get(row) for row in GRID_ROWS],
        )
        for e, g in stated
    ]
    said = {"network": "energy in the own tile", "random weights": "the same network without training"}
    return "<h3>Without any box: the grid game</h3>" + _numbers(said, rows)


def _figure(entry: Entry, picture: bytes) -> str:
    name = _text(f"{entry.method}, {entry.dataset}")
    return (
        f"<figure><img alt='Photographs with true and predicted boxes and score maps: {name}' "
        f"style='max-width:100%' src='data:image/png;base64,{base64_of(picture)}'>"
        f"<figcaption>{name}</figcaption></figure>"
    )


def _table(columns: Mapping[str, str], entries: Sequence[Entry], *, brief: bool = False) -> str:
    """A row an entry, and of the columns (name and what is said below it) those that any entry has; `brief` names the
    methods without their sources."""
    names = [c for c in columns if any(c in e.numbers for e in entries)]
    rows = [
        (
            e,
            _about(e) if brief else f"{_about(e)}; {e.kind}: {e.source}",
            [e.numbers.get(name) for name in names],
        )
        for e in sorted(entries, key=lambda e: (e.kind, e.method))
    ]
    return _numbers({name: columns[name] for name in names}, rows)


def _about(e: Entry) -> str:
    """An entry's network, on how many images it was scored, and what these are not."""
    return "; ".join([e.network, *([f"{e.num_images:,} images"] if e.num_images else []), *(e.notes or ())])


def _numbers(
    columns: Mapping[str, str], rows: Sequence[tuple[Entry, str, Sequence[Mapping[str, Any] | None]]]
) -> str:
    """A table: columns with what is said below their names; rows of an entry, what is said below its method, and
    numbers with their intervals."""
    head = "".join(
        f"<th scope='col'>{_text(n)}<span class='how'>{_text(said)}</span></th>"
        for n, said in columns.items()
    )
    body = []
    for e, about, numbers in rows:
        cells = []
        for number in numbers:
            shown = "–" if number is None else f"{number['value']:.1f}"
            if number and number["ci95"]:
                low, high = number["ci95"]
                shown += f"<span class='range'>[{low:.1f}, {high:.1f}]</span>"
            cells.append(f"<td>{shown}</td>")
        head_cell = f"<th scope='row'>{_text(e.method)}<span class='how'>{_text(about)}</span></th>"
        body.append(f"<tr>{head_cell}{''.join(cells)}</tr>")
    return (
        f"<div class='scroll'><table class='numbers'><thead><tr><th scope='col'>method</th>{head}</tr></thead>"
        f"<tbody>{''.join(body)}</tbody></table></div>"
    )


def _text(text: str) -> str:
    return html.escape(text, quote=True)
