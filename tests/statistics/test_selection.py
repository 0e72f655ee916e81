"""Numbers at chosen thresholds, shares near the edges, clusters."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from eval.statistics.clusters import cluster_weights
from eval.statistics.counts import least_variance, score_interval
from eval.statistics.selection import best_column, oracle, transferred


def test_oracle_by_hand() -> None:
    curve = np.array([10.0, 40.0, 30.0])
    resampled = np.array([[10.0, 50.0, 20.0], [10.0, 30.0, 60.0]])
    left_out = np.array([[0.0, 30.0, 90.0], [0.0, 90.0, 20.0]])
    found = oracle([curve], [resampled], [left_out])
    assert found.value == 40
    assert found.resampled.tolist() == [50, 30]
    # read out of bag: 30 at the first's best, 20 at the second's; (40 - 25) / 2
    assert found.optimism == 7.5
    assert found.variance == np.var([50, 30])
    assert oracle([curve], [resampled]).optimism is None
    nothing_left_out = np.full_like(resampled, np.nan)
    found = oracle([curve], [resampled], [nothing_left_out])
    assert (found.optimism, found.centre) == (None, found.value)


def test_a_curve_of_one_threshold_has_no_optimism_to_speak_of() -> None:
    rng = np.random.default_rng(0)
    hits = rng.random(300) < 0.5
    weights = rng.multinomial(300, np.full(300, 1 / 300), 400)
    boot = 100 * (weights @ hits)[:, None] / 300
    left = (weights == 0).astype(float)
    outside = 100 * (left @ hits)[:, None] / left.sum(1, keepdims=True)
    assert abs(oracle([np.array([100 * hits.mean()])], [boot], [outside]).optimism) < 0.15


def test_the_optimism_of_a_noisy_peak_is_about_what_is_said() -> None:
    rng = np.random.default_rng(3)
    chance = 0.6 - 0.01 * np.abs(np.arange(40) - 20)
    said, real = [], []
    for _ in range(40):
        hits = (rng.random((200, 40)) < chance).astype(float)
        weights = rng.multinomial(200, np.full(200, 1 / 200), 100)
        left = (weights == 0).astype(float)
        found = oracle(
            [100 * hits.mean(0)],
            [100 * (weights @ hits) / 200],
            [100 * (left @ hits) / left.sum(1, keepdims=True)],
        )
        said.append(found.optimism)
        real.append(found.value - 60)
    assert 0.5 * np.mean(real) < np.mean(said) < 1.5 * np.mean(real)


def test_of_equally_good_thresholds_the_smallest_or_the_middle_one() -> None:
    curves = np.array([[1.0, 9, 9, 9, 2, 9], [9, 9, 9, 9, 9, 9], [0, 1, 2, 3, 4, 5], [9, 9, 0, 9, 9, 0]])
    assert best_column(curves).tolist() == [1, 0, 5, 0]
    assert best_column(curves, "middle").tolist() == [
        2,
        2,
        5,
        0,
    ]  # of four the lower middle; of two rows the first
    rng = np.random.default_rng(0)
    for curve in rng.integers(0, 3, (200, 12)).astype(float):
        rows = [list(g) for _, g in itertools.groupby(range(12), key=lambda k: curve[k] == curve.max())]
        longest = max((r for r in rows if curve[r[0]] == curve.max()), key=len)
        assert best_column(curve, "middle") == longest[(len(longest) - 1) // 2]


def test_transferred_by_hand() -> None:
    curve, boot = np.array([10.0, 40.0, 30.0]), np.array([[11.0, 41.0, 31.0], [12.0, 42.0, 32.0]])
    found = transferred([curve], [boot], [2], [np.array([0, 2])])
    assert found.value == 30
    # each resample's curve lies above the whole one by as much everywhere: no interaction with the choice
    assert found.resampled.tolist() == [11, 32]
    assert found.variance == np.var([11, 32])
    # the choice moves the curve from 10 to 30, variance 100; the deviations e are (0, 12) and (0, -12): interaction 36
    found = transferred([curve], [np.array([[10.0, 0.0, 42.0], [10.0, 0.0, 18.0]])], [2], [np.array([0, 2])])
    assert found.resampled.tolist() == pytest.approx([10 + 2, 18 - 2])  # drawn in by 1 - sqrt(1 - 36 / 100)


def test_the_choice_and_the_images_interact_once() -> None:
    # many thresholds that are equally good in truth: the choice adds nothing, the images' noise is all there is
    rng = np.random.default_rng(2)
    found = []
    for _ in range(30):
        hits = rng.random((200, 30)) < 0.5
        weights = rng.multinomial(200, np.full(200, 1 / 200), 300)
        chosen = rng.integers(0, 30, 300)
        curve, boot = 100 * hits.mean(0), 100 * (weights @ hits) / 200
        found.append(transferred([curve], [boot], [0], [chosen]).variance)
    assert np.mean(found) == pytest.approx(100**2 * 0.25 / 200, rel=0.1)


@pytest.mark.parametrize(("hits", "count"), [(0, 10), (1, 100), (50, 100), (100, 100), (300, 2000)])
def test_the_score_interval_of_a_count_is_scipys_wilson(hits: int, count: int) -> None:
    share = hits / count
    found = score_interval(100 * share, 1e4 * share * (1 - share) / count, count)
    theirs = stats.binomtest(hits, count).proportion_ci(method="wilson")
    assert found == pytest.approx((100 * theirs.low, 100 * theirs.high), abs=1e-9)


def test_the_score_interval_is_never_empty_and_needs_an_image() -> None:
    for value in (0.0, 100.0):
        low, high = score_interval(value, 0.0, 50)
        assert 0 <= low < high <= 100
    with pytest.raises(ValueError, match="at least one"):
        score_interval(0, 0, 0)


def test_all_against_none_is_beyond_doubt() -> None:
    assert 100 / np.sqrt(least_variance(20)) > 20


def test_clusters_are_drawn_whole() -> None:
    labels = [np.array([3, 3, 8]), np.array([8, 5])]
    first, second = cluster_weights(labels, 500, seed=1)
    assert first.shape == (500, 3)
    assert (first[:, 0] == first[:, 1]).all()
    assert (first[:, 2] == second[:, 0]).all()
    assert (first[:, 0] + first[:, 2] + second[:, 1] == 3).all()
    again = next(cluster_weights(labels, 500, seed=1))
    assert (again == first).all()
    with pytest.raises(ValueError, match="fewer than two"):
        next(cluster_weights([np.zeros(4, int)], 10, 0))
