"""The results of a study: a comparison for each dataset and network, pooled outcomes, study.json and study.html."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from eval.analysis.paired_statistics import Difference, adjusted
from eval.comparison.run_pairs import Pairing
from eval.comparison.sides import party_of
from eval.comparison.terminal import probability
from eval.comparison.verdicts import in_points, judge, population, sentence
from eval.report.embed import base64_of
from eval.report.numbers import interval, minus, signed
from eval.study.cell_results import results_of_cell
from eval.study.design import Design
from eval.study.figures import write_figures
from eval.study.jobs import Job
from eval.study.markdown import label, outcomes_by_map, study_tables
from eval.study.measured import is_measured
from eval.study.pooled import Cell, pool
from eval.study.precision import standard_errors
from eval.study.times import times
from wsol.files.atomic_write import write_durably
from wsol.machine.provenance import command_line, git_state, software_versions
from wsol.runs.record import load_run

SCHEMA = 1
STUDY = "study.json"
PAGE = "study.html"
TABLES = "study.md"
COMPARISONS = "comparisons"


@dataclass(frozen=True)
class Outcome:
    """One outcome of one method against the baseline: every cell's difference, and the pooled one."""

    name: str
    method: str
    cells: tuple[Cell, ...]
    pooled: Difference


def write_results(design: Design, jobs: Sequence[Job], out: Path) -> Path:
    """Compare, pool, and write `out`/study.json and the page; returns the page's path.

    Nothing is done where the page is newer than every run's results.
    """
    page = out / PAGE
    newest = max(results.stat().st_mtime_ns for j in jobs for results in j.results())
    if page.is_file() and page.stat().st_mtime_ns > newest:
        return page
    found = [
        results_of_cell(design, [j for j in jobs if (j.dataset, j.network) == cell], out / COMPARISONS)
        for cell in dict.fromkeys((j.dataset, j.network) for j in jobs)
    ]
    outcomes = _by_outcome(result.outcomes for result in found)
    pilots = _by_outcome(result.pilots for result in found)
    sides: dict[str, Pairing] = {}
    for result in found:
        sides = {p.other_method: p for p in result.pairings} | sides
    pooled = [Outcome(n, m, tuple(cells), pool(cells)) for (n, m), cells in outcomes.items()]
    pooled = _adjusted(pooled, design.primary)
    content = _content(design, jobs, pooled, sides) | {
        "controls": [row for result in found for row in result.controls],
        "controls_by_map": [row for result in found for row in result.controls_by_map],
        "controls_by_size": [row for result in found for row in result.controls_by_size],
        "sizes_left_out": [row for result in found for row in result.sizes_left_out],
        "times": times(jobs, out),
        "standard_errors": [
            row
            for (primary, method), cells in pilots.items()
            for row in standard_errors(method, cells, outcomes[primary, method])
        ],
    }
    write_durably(out / STUDY, json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n")
    write_durably(out / TABLES, study_tables(content))
    figures = write_figures(content, out / "figures")
    write_durably(page, study_page(content, figures))
    return page


def _by_outcome(found: Iterable[Mapping[tuple[str, str], Cell]]) -> dict[tuple[str, str], list[Cell]]:
    """The cells of each outcome and method, in the order of datasets and networks."""
    gathered: dict[tuple[str, str], list[Cell]] = {}
    for cells in found:
        for key, cell in cells.items():
            gathered.setdefault(key, []).append(cell)
    return gathered


def _adjusted(outcomes: Sequence[Outcome], primary: str) -> list[Outcome]:
    """The primary outcomes of several methods are a family, adjusted by Holm's rule."""
    first = [o for o in outcomes if o.name == primary]
    family = adjusted([o.pooled for o in first], "holm")
    return [
        *(replace(o, pooled=pooled) for o, pooled in zip(first, family)),
        *(o for o in outcomes if o.name != primary),
    ]


def _content(
    design: Design,
    jobs: Sequence[Job],
    outcomes: Sequence[Outcome],
    sides: Mapping[str, Pairing],
) -> dict[str, Any]:
    entries = []
    order = list(design.methods)
    for outcome in sorted(outcomes, key=lambda o: (o.name != design.primary, o.name, order.index(o.method))):
        primary = outcome.name == design.primary
        margin = design.margin if primary else None
        parties = [party_of(sides[outcome.method].baseline), party_of(sides[outcome.method].other)]
        verdict = judge(outcome.pooled, margin)
        entries.append(
            {
                "outcome": outcome.name,
                "role": "primary" if primary else "secondary",
                "method": outcome.method,
                "baseline_method": design.baseline,
                "verdict": verdict,
                "sentence": sentence(outcome.pooled, verdict, parties[0], parties[1], outcome.name, margin),
                "population": population(outcome.pooled, parties) + ", these datasets and networks",
                **outcome.pooled.as_json(),
                "cells": [
                    {
                        "dataset": c.dataset,
                        "network": c.network,
                        "verdict": judge(c.difference, margin),
                        **c.difference.as_json(),
                    }
                    for c in outcome.cells
                ],
            }
        )
    return {
        "schema": SCHEMA,
        "name": design.name,
        "question": design.question.strip(),
        "notes": design.notes.strip(),
        "primary": design.primary,
        "margin": design.margin,
        "runs": {
            f"{d}/{n}/{m}": sorted(j.seed for j in jobs if (j.dataset, j.network, j.method) == (d, n, m))
            for d, n, m in dict.fromkeys((j.dataset, j.network, j.method) for j in jobs)
        },
        "machines": _machines(jobs),
        "outcomes": entries,
        "provenance": {"command": _command(), "versions": software_versions(), "git": git_state()},
    }


def _command() -> list[str]:
    """The command without --out: a place on one machine, and no part of what was asked."""
    given = command_line()
    places = {i for i, word in enumerate(given) if word == "--out"}
    return [w for i, w in enumerate(given) if not ({i, i - 1} & places or w.startswith("--out="))]


def _machines(jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """The devices that the runs were trained on, with the version of torch, and the number of runs of each."""
    records = [load_run(job.folder).record for job in jobs]
    found = Counter((_device(r["device"]), r["versions"]["torch"]) for r in records)
    return [{"device": d, "torch": t, "runs": runs} for (d, t), runs in found.most_common()]


def _device(found: Mapping[str, Any]) -> str:
    return str(found["name"]) if found["type"] == "cuda" else f"{found['type'].upper()} ({found['name']})"


_BY_A_PROTOCOL = " A comparison's own headline is by a protocol, which is secondary in this study."


def study_page(content: dict[str, Any], figures: Sequence[Path]) -> str:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        signed=signed,
        interval=interval,
        minus=minus,
        probability=probability,
        label=label(content),
        in_points=in_points,
    )
    template = resources.files("eval.study").joinpath("study.html.j2").read_text(encoding="utf-8")
    style = resources.files("eval.report").joinpath("page.css").read_text(encoding="utf-8")
    pictures = {file.stem: "data:image/png;base64," + base64_of(file.read_bytes()) for file in figures}
    cells = list(dict.fromkeys((c["dataset"], c["network"]) for o in content["outcomes"] for c in o["cells"]))
    by_map = {m: outcomes_by_map(content, m) for m in dict.fromkeys(o["method"] for o in content["outcomes"])}
    maps = [
        {"map": name, "method": method, **cell}
        for method, own in by_map.items()
        for name, outcome in own.items()
        for cell in outcome["cells"]
        if len(own) > 1
    ]
    return environment.from_string(template).render(
        **content,
        cells=cells,
        maps=maps,
        decided_by_a_protocol=_BY_A_PROTOCOL if is_measured(content["primary"]) else "",
        style=Markup(style),
        comparisons=COMPARISONS,
        pictures=pictures,
    )
