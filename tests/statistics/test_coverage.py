"""The simulations of benchmarks/coverage in small: enough to tell a broken interval from a sound one."""

from __future__ import annotations

import pytest

from benchmarks.coverage.cells import CELLS, simulate

BY_NAME = {c.name: c for c in CELLS}


@pytest.mark.parametrize(
    ("name", "quantity", "low", "high"),
    [
        ("seeds: 3 a side, run SD 0, true difference 0, paired", "rejected", 0, 8),
        ("seeds: 3 a side, run SD 2, true difference 0, paired", "rejected", 0, 9),
        ("seeds: 8 against 3, run SD 1, true difference 0, unpaired", "rejected", 0, 9),
        ("rare: 5 disagreements of 500", "misses", 0, 8),
        ("edge: 1 %, 100 images", "score interval", 85, 99),
        ("clusters: 10 classes of 25", "by class", 0, 12),
    ],
)
def test_error_rates(name: str, quantity: str, low: float, high: float) -> None:
    cell = BY_NAME[name]
    assert low <= simulate(cell, 200 // cell.weight)[quantity] <= high


def test_one_cell_alone_gives_what_it_gives_among_others() -> None:
    cell = BY_NAME["rare: 2 disagreements of 500"]
    assert simulate(cell, 4) == simulate(cell, 4)
