"""Standard errors of the primary outcome: as two trainings of each method let a plan expect them, and as they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from eval.statistics.components import METHODS_FROM
from eval.statistics.planning import Pilot
from eval.study.measured import is_measured, measured_differences
from eval.study.outcomes import protocol_differences
from eval.study.pooled import Cell, pool

if TYPE_CHECKING:
    from collections.abc import Mapping

    from eval.analysis.paired_statistics import Difference
    from eval.comparison.run_pairs import Pairing
    from eval.metrics.outcomes import Summary

PILOT_RUNS = 2
"""The fewest that tell how runs of one method differ: what `--plan` and `eval.power` can begin with."""


def difference_of_a_pilot(
    pairing: Pairing, summaries: Mapping[str, Mapping[str, Summary]], primary: str
) -> Difference | None:
    """The primary outcome's difference by the first two runs of each side alone; None where the sides do not have
    equally many runs, or too few for a verdict."""
    if len(pairing.baseline) != len(pairing.other) or len(pairing.other) < METHODS_FROM:
        return None
    first = replace(pairing, baseline=pairing.baseline[:PILOT_RUNS], other=pairing.other[:PILOT_RUNS])
    if is_measured(primary):
        return measured_differences(first, primary)[primary]
    own = {folder: {primary: found[primary]} for folder, found in summaries.items() if primary in found}
    return protocol_differences(first, own)[primary]


def standard_errors(method: str, pilots: Sequence[Cell], cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """For each dataset and network that has both, and for all together, the standard error of the difference with all
    runs as planned from the pilot, and as estimated in the end. Empty where no cell has a pilot."""
    by_cell = {(c.dataset, c.network): c.difference for c in cells}
    names = [(c.dataset, c.network) for c in pilots]
    rows = [(*name, pilot.difference, by_cell[name]) for name, pilot in zip(names, pilots)]
    if rows and set(names) == set(by_cell):
        rows.append(("all", "all", pool(pilots), pool(cells)))
    found = []
    for dataset, network, pilot, difference in rows:
        if pilot.components is None or difference.law is None:
            continue
        runs = min(difference.runs)
        planned = Pilot.of(pilot.components).variance(runs, pilot.components.units)
        found.append(
            {
                "dataset": dataset,
                "network": network,
                "method": method,
                "pilot_runs": PILOT_RUNS,
                "runs": runs,
                "planned": planned**0.5,
                "standard_error": difference.law.standard_error,
            }
        )
    return found
