"""What one dataset and network contribute to a study: the comparison of their runs, and what is taken from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.analysis.evaluated import Evaluated, open_evaluated
from eval.comparison.build import Comparison
from eval.comparison.config import CompareConfig
from eval.comparison.controls import NAMES
from eval.comparison.run_pairs import Pairing
from eval.study.design import Design
from eval.study.jobs import EVAL, Job, control_of, map_of
from eval.study.markdown import OF_MAP
from eval.study.measured import ENERGY, TOP1, is_measured, measured_differences
from eval.study.outcomes import outcomes_by_size, protocol_differences
from eval.study.pooled import Cell
from eval.study.precision import difference_of_a_pilot
from eval.write_comparison import compare


@dataclass(frozen=True)
class CellResults:
    """The differences by (outcome, method), all of them and what the first runs alone gave; who was compared; and the
    rows of the tables of controls and of sizes."""

    pairings: tuple[Pairing, ...]
    outcomes: Mapping[tuple[str, str], Cell]
    pilots: Mapping[tuple[str, str], Cell]
    controls: Sequence[Mapping[str, Any]]
    controls_by_map: Sequence[Mapping[str, Any]]
    controls_by_size: Sequence[Mapping[str, Any]]
    sizes_left_out: Sequence[Mapping[str, Any]]


def results_of_cell(design: Design, jobs: Sequence[Job], out: Path) -> CellResults:
    """Compare the runs of one dataset and network by each of their maps; the comparisons are written below `out`."""
    dataset, network = jobs[0].dataset, jobs[0].network
    named = {"dataset": dataset, "network": network}
    folder = out / f"{dataset}-{network}"
    comparisons = {e: _compared(design, jobs, e, folder) for e in jobs[0].evaluations}
    comparison = comparisons[EVAL]
    sized = outcomes_by_size(comparison, design.primary)
    outcomes: dict[tuple[str, str], Cell] = {}
    for evaluation, by_map in comparisons.items():
        for pairing in by_map.pairings:
            found = {**protocol_differences(pairing, by_map.summaries), **measured_differences(pairing)}
            if evaluation == EVAL:
                found |= sized.differences(pairing, design.primary)
            for name, difference in found.items():
                outcome = _outcome_of(name, evaluation, design.primary)
                if outcome is not None:
                    outcomes[outcome, pairing.other_method] = Cell(dataset, network, difference)
    pilots: dict[tuple[str, str], Cell] = {}
    for pairing in comparison.pairings:
        pilot = difference_of_a_pilot(pairing, comparison.summaries, design.primary)
        if pilot is not None:
            pilots[design.primary, pairing.other_method] = Cell(dataset, network, pilot)
    runs = _by_method(comparison)
    return CellResults(
        comparison.pairings,
        outcomes,
        pilots,
        [{**named, **row} for row in _controls(comparison, jobs, EVAL, design.primary)],
        [
            {**named, "map": map_of(evaluation), **row}
            for evaluation, by_map in comparisons.items()
            if evaluation != EVAL and design.primary != TOP1  # which knows no map
            for row in _controls(by_map, jobs, evaluation, design.primary)
        ],
        [{**named, **row} for method, own in runs.items() for row in sized.against_gaussian(method, own)],
        [{**named, "images": size, "why": why} for size, why in sized.left_out.items()],
    )


def _compared(design: Design, jobs: Sequence[Job], evaluation: str, out: Path) -> Comparison:
    """The comparison of one dataset's and network's runs by one map; that by CAM is the study's own."""
    runs = [f"{j.method}={j.folder / evaluation}" for j in jobs]
    first = evaluation == EVAL
    runs += [f"random={j.folder / control_of(evaluation)}" for j in jobs if j.control]
    by_protocol = not is_measured(
        design.primary
    )  # eval.compare decides by a protocol, its default where none is named
    config = CompareConfig(
        tuple(runs),
        primary=design.primary if by_protocol else None,
        margin=design.margin if by_protocol else None,
        baseline=design.baseline,
        out=out if first else out / evaluation,
        pictures=24,
    )
    return compare(config)[1]


def _by_method(comparison: Comparison) -> dict[str, tuple[Evaluated, ...]]:
    found = {p.baseline_method: p.baseline for p in comparison.pairings}
    return found | {p.other_method: p.other for p in comparison.pairings}


def _outcome_of(name: str, evaluation: str, primary: str) -> str | None:
    """An outcome's name in the study: of further maps, the primary outcome and the energies are kept."""
    if evaluation == EVAL:
        return name
    if name != TOP1 and (name == primary or name.startswith(ENERGY)):
        return f"{name}{OF_MAP}{map_of(evaluation)}"
    return None


def _controls(
    comparison: Comparison, jobs: Sequence[Job], evaluation: str, primary: str
) -> list[dict[str, Any]]:
    """Each method against each control by the primary outcome. By one without a threshold that is the network with
    random weights: the centre Gaussian is scored by boxes alone."""
    if is_measured(primary):
        return _measured_controls(comparison, jobs, evaluation, primary)
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for entry in comparison.content["comparisons"]:
        for control in entry["controls"]:
            if primary in control["protocols"]:
                named = {key: control[key] for key in ("method", "control", "said")}
                found[control["method"], control["control"]] = {**named, **control["protocols"][primary]}
    return list(found.values())


def _measured_controls(
    comparison: Comparison, jobs: Sequence[Job], evaluation: str, primary: str
) -> list[dict[str, Any]]:
    control = tuple(open_evaluated(j.folder / control_of(evaluation)) for j in jobs if j.control)
    if not control:
        return []
    named = {"control": "random", "said": NAMES["random"]}
    return [
        {"method": method, **named, **measured_differences(pairing, primary)[primary].as_json()}
        for method, own in _by_method(comparison).items()
        for pairing in [Pairing(control, own, by_seed=False)]
    ]
