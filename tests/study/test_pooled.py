"""Pooling over datasets and networks, checked against sums that can be done by hand."""

from __future__ import annotations

import numpy as np
import pytest

from eval.analysis.paired_statistics import Difference, paired_difference
from eval.statistics.components import Sampled
from eval.statistics.planning import Pilot
from eval.study.pooled import Cell, pool
from eval.study.precision import standard_errors


def difference(shift: float, seed: int, runs: int = 3, resamples: int = 400) -> Difference:
    generator = np.random.default_rng(seed)
    images = generator.normal(0, 1, (1, resamples))
    sides = []
    for value in (50.0, 50.0 + shift):
        values = value + generator.normal(0, 0.5, runs)
        sides.append(
            Sampled.of(
                values.tolist(), list(values[:, None] + images + generator.normal(0, 1, (runs, resamples)))
            )
        )
    return paired_difference(*sides, by_seed=True, units=500)


def test_one_cell_is_the_study() -> None:
    d = difference(2.0, 0)
    whole = pool([Cell("a", "n", d)])
    assert d.law is not None
    assert whole.law is not None
    assert whole.value == pytest.approx(d.value)
    assert whole.law.variance == pytest.approx(d.law.variance)
    assert whole.law.df == pytest.approx(d.law.df)
    assert whole.scope == "methods"


def test_two_datasets_halve_the_variance() -> None:
    d = difference(2.0, 0)
    whole = pool([Cell("a", "n", d), Cell("b", "n", d)])
    assert d.law is not None
    assert whole.law is not None
    assert whole.value == pytest.approx(d.value)
    assert whole.law.variance == pytest.approx(d.law.variance / 2)  # V / 4 from each


def test_networks_of_one_dataset_share_its_images() -> None:
    d = difference(2.0, 0)
    whole = pool([Cell("a", "n", d), Cell("a", "m", d)])
    assert d.components is not None
    assert whole.components is not None
    assert whole.components.image == pytest.approx(d.components.image)  # the same images twice
    assert sum(p.spread for p in whole.components.parts) == pytest.approx(d.components.parts[0].spread / 2)


def test_datasets_weigh_the_same_whatever_their_number_of_networks() -> None:
    cells = [
        Cell("a", "n", difference(0, 1)),
        Cell("a", "m", difference(0, 2)),
        Cell("b", "n", difference(6, 3)),
    ]
    values = [c.difference.value for c in cells]
    assert pool(cells).value == pytest.approx((values[0] + values[1]) / 4 + values[2] / 2)


def test_the_weakest_cell_decides_whom_a_sentence_may_speak_of() -> None:
    three, two = difference(0, 1), difference(0, 2, runs=2)
    assert pool([Cell("a", "n", three), Cell("b", "n", two)]).scope == "two seeds"


def test_without_resamples_there_is_no_law() -> None:
    bare = paired_difference(Sampled.of([1.0], [None]), Sampled.of([2.0], [None]), by_seed=True, units=5)
    assert pool([Cell("a", "n", bare)]).law is None


def test_no_cell() -> None:
    with pytest.raises(ValueError, match="no cell"):
        pool([])


def test_intervals_hold_a_true_difference_of_zero() -> None:
    inside = 0
    for seed in range(300):
        found = pool([Cell(d, "n", difference(0.0, 1000 * seed + i)) for i, d in enumerate("abc")])
        assert found.ci95 is not None
        inside += found.ci95[0] <= 0 <= found.ci95[1]
    # the image noise of this builder is in the resamples alone, so coverage is above 95 %: too narrow a law would show
    assert inside >= 285


def test_a_pilot_of_all_runs_plans_the_standard_error_that_there_is() -> None:
    cells = [Cell(d, "n", difference(1, seed, runs=6)) for seed, d in enumerate("ab")]
    rows = standard_errors("cutmix", cells, cells)
    assert [(r["dataset"], r["network"], r["runs"]) for r in rows] == [
        ("a", "n", 6),
        ("b", "n", 6),
        ("all", "all", 6),
    ]
    for row in rows:
        assert row["planned"] == pytest.approx(row["standard_error"])


def test_more_runs_than_the_pilots_shrink_their_share_alone() -> None:
    """Two runs and twelve of the same spread: the part of the images stays, that of the runs is a sixth."""
    pilot, cell = (Cell("a", "n", difference(1, 5, runs=runs)) for runs in (2, 12))
    (row, _) = standard_errors("cutmix", [pilot], [cell])
    parts = pilot.difference.components
    assert parts is not None
    plan = Pilot.of(parts)
    one_run = sum(s.run + s.interaction / parts.units for s in plan.sides)
    assert row["planned"] ** 2 == pytest.approx(plan.image / parts.units + one_run / 12)


def test_without_a_pilot_in_every_cell_nothing_is_planned_for_all() -> None:
    cells = [Cell(d, "n", difference(1, seed)) for seed, d in enumerate("ab")]
    assert [r["dataset"] for r in standard_errors("cutmix", cells[:1], cells)] == ["a"]
    assert standard_errors("cutmix", [], cells) == []
