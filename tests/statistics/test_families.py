"""Several differences at once, groups, prediction and planning."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from eval.statistics.bands import Band, RunCurves, curve_band
from eval.statistics.components import Components, RunPart, Sampled, components_of
from eval.statistics.heterogeneity import against_the_rest, shrink
from eval.statistics.multiplicity import Member, family_alpha, holm, max_t
from eval.statistics.planning import Pilot, Side, detectable, images_needed, power, runs_needed
from eval.statistics.prediction import new_pair


def test_holm_by_hand() -> None:
    # 3 * .01 = .03; 2 * .03 = .06; 1 * .04 would be smaller than the one before, so .06 stays
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_rejects_what_the_step_down_procedure_rejects(p: list[float]) -> None:
    adjusted = holm(p)
    rejected = set()
    for rank, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):  # stop at the first that fails
        if p[i] * (len(p) - rank) >= 0.05:
            break
        rejected.add(i)
    assert {i for i, v in enumerate(adjusted) if v < 0.05} == rejected


def family(p: list[float], resampled: np.ndarray) -> list[Member]:
    return [
        Member(v, Components(float(r.var(ddof=1)), (), 1000), r) for v, r in zip(p, resampled, strict=True)
    ]


def test_copies_of_one_difference_cost_nothing_and_unrelated_ones_cost_sidak() -> None:
    rng = np.random.default_rng(0)
    one = rng.normal(size=2000)
    copies = max_t(family([0.01] * 8, np.stack([one] * 8)))
    assert copies == pytest.approx([0.01] * 8, abs=0.003)
    apart = max_t(family([0.01, 0.4, 0.5, 0.6], rng.normal(size=(4, 20_000))))
    assert apart[0] == pytest.approx(1 - 0.99**4, abs=0.004)
    assert apart == sorted(apart)
    assert max_t([]) == []


@given(st.lists(st.floats(1e-6, 1), min_size=1, max_size=6), st.integers(0, 1000))
def test_max_t_lies_between_the_own_p_and_holms(p: list[float], seed: int) -> None:
    moved = np.random.default_rng(seed).normal(size=(len(p), 30))
    found = max_t(family(p, moved))
    assert all(a - 1e-12 <= f <= h + 1e-12 for a, f, h in zip(p, found, holm(p), strict=True))


def test_what_runs_add_is_taken_as_unrelated() -> None:
    one = np.random.default_rng(0).normal(size=2000)
    parts = Components(float(one.var(ddof=1)), (RunPart(3, 50.0, 0.0),), 1000)
    found = max_t([Member(0.01, parts, one)] * 4)
    assert found[0] == pytest.approx(1 - 0.99**4, abs=0.004)
    assert family_alpha([Member(0.01, parts, one)] * 4) == pytest.approx(1 - 0.95**0.25, abs=0.002)
    assert family_alpha([Member(0.01, parts, one)]) == 0.05


def test_the_band_of_one_point_is_its_interval_and_of_many_is_wider() -> None:
    rng = np.random.default_rng(0)
    boot = rng.normal(50, 2, (20_000, 1))
    band = Band.simultaneous(np.array([50.0]), boot, boot.var(0), np.inf)
    assert band.high[0] - 50 == pytest.approx(1.96 * 2, rel=0.03)
    many = rng.normal(50, 2, (20_000, 10))
    wider = Band.simultaneous(np.full(10, 50.0), many, many.var(0), np.inf)
    assert wider.high[0] - 50 == pytest.approx(stats.norm.isf((1 - 0.95**0.1) / 2) * 2, rel=0.05)


def test_what_a_sample_does_not_show_counts_at_the_bands_own_level() -> None:
    """Where nothing varies, half the band is the critical value, once as a limit and once in the pseudo-count."""
    chance = np.random.default_rng(0)
    boot = np.concatenate([50 + chance.normal(0, 2, (2000, 30)), np.zeros((2000, 1))], 1)
    least = 0.25
    band = Band.simultaneous(boot.mean(0), boot, boot.var(0, ddof=1) + least, np.inf, least=least)
    plain = Band.simultaneous(boot.mean(0), boot, boot.var(0, ddof=1) + least, np.inf)
    critical = (plain.high - plain.low)[-1] / 2 / 0.5
    assert 2.8 < critical < 3.4  # 30 points at once
    assert (band.high - band.low)[-1] / 2 == pytest.approx(critical * 0.5 * critical / 1.95996, rel=1e-4)


def test_the_band_of_a_curve_of_two_runs_has_each_points_own_law() -> None:
    rng = np.random.default_rng(1)
    runs = [RunCurves(rng.normal(50, 1, (3, 4)), rng.normal(50, 2, (3, 400, 4))) for _ in range(2)]
    found = curve_band(runs[1], runs[0], paired=True, units=500, least=0.01)
    assert found.value == pytest.approx(runs[1].values.mean(0) - runs[0].values.mean(0))
    for t in range(4):
        parts = components_of(runs[0].at(t), runs[1].at(t), paired=True, units=500, least=0.01)
        half = parts.law(0).interval()[1]
        assert found.high[t] - found.value[t] > half
        assert found.value[t] - found.low[t] == pytest.approx(found.high[t] - found.value[t])
    alone = curve_band(runs[0], units=500, least=0.01)
    assert alone.value == pytest.approx(runs[0].values.mean(0))
    single = [RunCurves(r.values[:1], r.resampled[:1]) for r in runs]
    quick = curve_band(single[1], single[0], units=500, least=0.01)  # all points at once
    laws = [
        components_of(single[0].at(t), single[1].at(t), paired=False, units=500, least=0.01).law(0)
        for t in range(4)
    ]
    slow = Band.simultaneous(
        quick.value,
        single[1].resampled[0] - single[0].resampled[0],
        np.array([w.variance for w in laws]),
        np.array([w.df for w in laws]),
        least=0.01,
    )
    assert quick.high == pytest.approx(slow.high)
    flat = curve_band(RunCurves(np.zeros((1, 2)), np.zeros((1, 50, 2))), units=100, least=0.25).within(0, 100)
    assert flat.low.tolist() == [0, 0]
    assert flat.high == pytest.approx(
        stats.t.isf(0.025, 99) * 0.5
    )  # nothing was seen to vary: never of width 0


def test_groups_against_the_rest_are_zero_where_all_are_alike() -> None:
    counts = np.array([10.0, 30.0, 5.0])
    assert against_the_rest(0.25 * counts, counts) == pytest.approx([0, 0, 0])


def test_shrinking() -> None:
    # noise explains the spread: all become the mean
    shrunk, spread = shrink([1.0, -1.0, 0.5, -0.5], [4.0] * 4)
    assert shrunk == pytest.approx([0.0] * 4)
    assert spread == 0
    # noise is nothing: all stay
    shrunk, spread = shrink([1.0, -1.0, 3.0], [1e-9] * 3)
    assert shrunk == pytest.approx([1.0, -1.0, 3.0], abs=1e-6)
    assert spread == pytest.approx(np.var([1, -1, 3], ddof=1), rel=1e-4)
    assert shrink([2.0], [1.0]) == ([2.0], 0.0)


def test_shrunken_classes_are_closer_to_the_truth() -> None:
    rng = np.random.default_rng(0)
    truth = rng.normal(2, 1, 100)
    noise = np.full(100, 9.0)
    seen = truth + rng.normal(0, 3, 100)
    shrunk, _ = shrink(list(seen), list(noise))
    assert np.square(np.subtract(shrunk, truth)).mean() < np.square(seen - truth).mean() / 4


def test_the_prediction_interval_is_students() -> None:
    a, b = Sampled.of([50.0, 51, 52], [None] * 3), Sampled.of([53.0, 53, 57], [None] * 3)
    found = new_pair(a, b, paired=True)
    assert found is not None
    d = np.array([3.0, 2, 5])
    assert found.high - d.mean() == pytest.approx(stats.t.isf(0.025, 2) * d.std(ddof=1) * np.sqrt(4 / 3))
    assert 0.5 < found.probability < 1
    assert new_pair(Sampled.of([1.0], [None]), b, paired=False) is None
    assert new_pair(a, a, paired=True) is None


PILOT = Pilot(image=1200.0, sides=(Side(run=2.0, interaction=1500.0),))


def test_power_with_runs_at_hand_is_the_normal_tests() -> None:
    pilot = Pilot(image=2000.0, sides=())
    expected = stats.norm.sf(1.96 - 2.8) + stats.norm.sf(1.96 + 2.8)
    assert power(pilot, 2.8, 1, 2000) == pytest.approx(expected, abs=1e-3)
    assert detectable(pilot, 1, 2000) == pytest.approx(2.8, abs=0.01)


def test_planning_finds_the_fewest() -> None:
    runs = runs_needed(PILOT, 3.0, 2000)
    assert runs is not None
    assert power(PILOT, 3.0, runs, 2000) >= 0.8 > power(PILOT, 3.0, runs - 1, 2000)
    images = images_needed(PILOT, 3.0, runs, wanted=0.79)
    assert images is not None
    assert power(PILOT, 3.0, runs, images) >= 0.79 > power(PILOT, 3.0, runs, images - 1)
    assert runs_needed(PILOT, 0.1, 50) is None
    assert images_needed(PILOT, 0.5, 3) is None


def test_a_pilot_is_read_off_components_and_gives_their_variance_back() -> None:
    parts = Components(1.2, (RunPart(4, 0.9, 0.3),), 1000)
    pilot = Pilot.of(parts)
    assert pilot.variance(4, 1000) == pytest.approx(parts.variance)
    assert pilot.sides[0].run == pytest.approx(4 * 0.6)
    assert pilot.image == pytest.approx(900)
