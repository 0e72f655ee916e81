"""The results of a study: a comparison for each dataset and network, pooled outcomes, study.json and study.html."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from eval.analysis.evaluated import open_evaluated
from eval.analysis.paired_statistics import Difference, adjusted
from eval.comparison.build import Comparison
from eval.comparison.config import CompareConfig
from eval.comparison.controls import NAMES
from eval.comparison.run_pairs import Pairing
from eval.comparison.sides import party_of
from eval.comparison.terminal import probability
from eval.comparison.verdicts import judge, population, sentence
from eval.report.embed import base64_of
from eval.report.numbers import interval, minus, signed
from eval.study.design import Design
from eval.study.figures import write_figures
from eval.study.jobs import EVAL, RANDOM, Job
from eval.study.markdown import label, study_tables
from eval.study.measured import ENERGY, is_measured, measured_differences
from eval.study.outcomes import outcomes_by_size, protocol_differences
from eval.study.pooled import Cell, pool
from eval.study.precision import difference_of_a_pilot, standard_errors
from eval.study.times import times
from eval.write_comparison import compare
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
    outcomes: dict[tuple[str, str], list[Cell]] = {}
    sides: dict[str, Pairing] = {}
    pilots: dict[str, list[Cell]] = {}
    controls, by_size, left_out = [], [], []
    for dataset, network in dict.fromkeys((j.dataset, j.network) for j in jobs):
        mine = [j for j in jobs if (j.dataset, j.network) == (dataset, network)]
        for evaluation in mine[0].evaluations:
            comparison = _compared(design, mine, evaluation, out / COMPARISONS / f"{dataset}-{network}")
            sized = outcomes_by_size(comparison, design.primary) if evaluation == EVAL else None
            for pairing in comparison.pairings:
                sides.setdefault(pairing.other_method, pairing)
                found = {
                    **protocol_differences(pairing, comparison.summaries),
                    **measured_differences(pairing),
                    **(sized.differences(pairing, design.primary) if sized else {}),
                }
                for name, difference in found.items():
                    outcome = _outcome_of(name, evaluation, design.primary)
                    if outcome is not None:
                        here = Cell(dataset, network, difference)
                        outcomes.setdefault((outcome, pairing.other_method), []).append(here)
            if sized is None:
                continue
            if is_measured(design.primary):
                controls += _measured_controls(comparison, mine, design.primary)
            else:
                controls += _controls(comparison, dataset, network, design.primary)
            cell = {"dataset": dataset, "network": network}
            runs = {p.baseline_method: p.baseline for p in comparison.pairings}
            runs |= {p.other_method: p.other for p in comparison.pairings}
            for method, own in runs.items():
                by_size += [{**cell, **row} for row in sized.against_gaussian(method, own)]
            left_out += [{**cell, "images": size, "why": why} for size, why in sized.left_out.items()]
            for pairing in comparison.pairings:
                pilot = difference_of_a_pilot(pairing, comparison.summaries, design.primary)
                if pilot is not None:
                    pilots.setdefault(pairing.other_method, []).append(Cell(dataset, network, pilot))
    pooled = [Outcome(n, m, tuple(cells), pool(cells)) for (n, m), cells in outcomes.items()]
    pooled = _adjusted(pooled, design.primary)
    content = _content(design, jobs, pooled, sides, controls) | {
        "controls_by_size": by_size,
        "sizes_left_out": left_out,
        "times": times(jobs, out),
        "standard_errors": [
            row
            for method, found in pilots.items()
            for row in standard_errors(method, found, outcomes[design.primary, method])
        ],
    }
    write_durably(out / STUDY, json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n")
    write_durably(out / TABLES, study_tables(content))
    figures = write_figures(content, out / "figures")
    write_durably(page, study_page(content, figures))
    return page


def _adjusted(outcomes: Sequence[Outcome], primary: str) -> list[Outcome]:
    """The primary outcomes of several methods are a family, adjusted by Holm's rule."""
    first = [o for o in outcomes if o.name == primary]
    family = adjusted([o.pooled for o in first], "holm")
    return [
        *(replace(o, pooled=pooled) for o, pooled in zip(first, family)),
        *(o for o in outcomes if o.name != primary),
    ]


def _compared(design: Design, jobs: Sequence[Job], evaluation: str, out: Path) -> Comparison:
    """The comparison of one dataset's and network's runs by one map; that by CAM is the study's own."""
    runs = [f"{j.method}={j.folder / evaluation}" for j in jobs]
    first = evaluation == EVAL
    runs += [f"random={j.folder / RANDOM}" for j in jobs if j.control and first]
    config = CompareConfig(
        tuple(runs),
        primary=None if is_measured(design.primary) else design.primary,
        margin=None if is_measured(design.primary) else design.margin,  # points of the study's own outcome
        baseline=design.baseline,
        out=out if first else out / evaluation,
        pictures=24,
    )
    return compare(config)[1]


def _outcome_of(name: str, evaluation: str, primary: str) -> str | None:
    """An outcome's name in the study: of further maps, the primary protocol and the energies are kept."""
    if evaluation == EVAL:
        return name
    if name == primary or name.startswith(ENERGY):
        return f"{name} of {evaluation.removeprefix('eval-')}"
    return None


def _controls(comparison: Comparison, dataset: str, network: str, primary: str) -> list[dict[str, Any]]:
    """Each method against each control by the primary outcome, in one dataset and network."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for entry in comparison.content["comparisons"]:
        for control in entry["controls"]:
            if primary in control["protocols"]:
                found[control["method"], control["control"]] = {
                    "dataset": dataset,
                    "network": network,
                    "method": control["method"],
                    "control": control["control"],
                    "said": control["said"],
                    **control["protocols"][primary],
                }
    return list(found.values())


def _measured_controls(comparison: Comparison, jobs: Sequence[Job], primary: str) -> list[dict[str, Any]]:
    """Each method against the network with random weights by a primary outcome that reads no threshold; the centre
    Gaussian is scored by boxes alone."""
    runs = {p.baseline_method: p.baseline for p in comparison.pairings}
    runs |= {p.other_method: p.other for p in comparison.pairings}
    found = []
    for job in jobs:
        control = (open_evaluated(job.folder / RANDOM),) if job.control else ()
        for method, own in runs.items() if control else ():
            difference = measured_differences(Pairing(control, own, by_seed=False))[primary]
            found.append(
                {
                    "dataset": job.dataset,
                    "network": job.network,
                    "method": method,
                    "control": "random",
                    "said": NAMES["random"],
                    **difference.as_json(),
                }
            )
    return found


def _content(
    design: Design,
    jobs: Sequence[Job],
    outcomes: Sequence[Outcome],
    sides: dict[str, Pairing],
    controls: Sequence[dict[str, Any]],
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
        "controls": list(controls),
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


def study_page(content: dict[str, Any], figures: Sequence[Path]) -> str:
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        signed=signed, interval=interval, minus=minus, probability=probability, label=label(content)
    )
    template = resources.files("eval.study").joinpath("study.html.j2").read_text(encoding="utf-8")
    style = resources.files("eval.report").joinpath("page.css").read_text(encoding="utf-8")
    pictures = {file.stem: "data:image/png;base64," + base64_of(file.read_bytes()) for file in figures}
    cells = list(dict.fromkeys((c["dataset"], c["network"]) for o in content["outcomes"] for c in o["cells"]))
    return environment.from_string(template).render(
        **content, cells=cells, style=Markup(style), comparisons=COMPARISONS, pictures=pictures
    )
