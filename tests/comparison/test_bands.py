"""Where the band of a difference misses 0, in words that hold for the runs at hand."""

from __future__ import annotations

import numpy as np
import pytest

from eval.analysis.paired_statistics import paired_difference
from eval.comparison.bands import in_words
from eval.comparison.verdicts import Party, sentence
from eval.report.svg import Plot, band_path
from eval.statistics.bands import Band
from eval.statistics.components import Sampled

TAUS = np.array([0.0, 0.25, 0.5, 0.75])


def band(low: list[float], high: list[float]) -> Band:
    return Band(np.zeros(4), np.array(low), np.array(high))


@pytest.mark.parametrize(
    ("low", "high", "runs", "said"),
    [
        (
            [-1.0, 1, 1, -1],
            [1.0, 2, 2, 1],
            1,
            "this run of b scores higher than this run of a at every threshold from ",
        ),
        (
            [-1.0, 1, 1, -1],
            [1.0, 2, 2, 1],
            3,
            "b scores higher than a at every threshold from 0.25 to 0.75; elsewhere ",
        ),
        (
            [-1.0, 1, -2, 1],
            [1.0, 2, -1, 2],
            3,
            "from 0.25 to 0.50 and from 0.75 to 1.00, and lower than a at every ",
        ),
        ([-1.0, 1, 1, -1], [1.0, 2, 2, 1], 2, "over 2 training runs a side there is a band and no verdict"),
        ([-1.0] * 4, [1.0] * 4, 5, "at no threshold does the band exclude 0"),
    ],
)
def test_words(low: list[float], high: list[float], runs: int, said: str) -> None:
    assert said in in_words(TAUS, band(low, high), Party("a", runs), Party("b", runs))


def test_a_control_has_no_training_runs() -> None:
    rng = np.random.default_rng(0)
    control = Sampled.of([40.0], [rng.normal(40, 1, 50)], trained=False)
    two = Sampled.of([50.0, 51], list(rng.normal(50, 1, (2, 50))))
    d = paired_difference(control, two, by_seed=False, units=100)
    said = sentence(
        d, "no verdict", Party("the centre Gaussian", 1, trained=False), Party("b", 2), "maxboxacc"
    )
    assert "over 2 training runs of b:" in said
    assert "a side" not in said


def test_the_area_of_a_band_by_hand() -> None:
    plot = Plot(width=100, height=100, left=0, right=0, top=0, bottom=0)
    path = band_path(plot, [0.0, 0.5], [10.0, 20.0], [30.0, 40.0])
    assert path == "M0.0,70.0H50.0V60.0H100L100,80.0H50.0V90.0H0.0Z"
