"""Bootstrap weights and intervals."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from eval.metrics.bootstrap import Bootstrap, resample_weights


def test_every_resample_draws_as_many_images_as_there_are() -> None:
    weights = np.concatenate(list(resample_weights([512, 512, 77], 50, seed=1)), axis=1)
    assert weights.shape == (50, 1101)
    assert (weights.sum(1) == 1101).all()
    again = np.concatenate(list(resample_weights([512, 512, 77], 50, seed=1)), axis=1)
    np.testing.assert_array_equal(weights, again)
    other = np.concatenate(list(resample_weights([512, 512, 77], 50, seed=2)), axis=1)
    assert (weights != other).any()


def test_weights_are_multinomial() -> None:
    """Each image is drawn Binomial(N, 1/N) times, and two images of different blocks are negatively correlated."""
    n = 40
    weights = np.concatenate(list(resample_weights([16, 16, 8], 4000, seed=3)), axis=1)
    seen = np.bincount(weights[:, [0, 20, 39]].astype(int).ravel(), minlength=7)[:7]
    expected = stats.binom.pmf(np.arange(7), n, 1 / n) * 12000
    # chi-square on the cells with enough mass; 6 cells, so 20 is far out
    assert ((seen[:5] - expected[:5]) ** 2 / expected[:5]).sum() < 20
    np.testing.assert_allclose(weights.var(0).mean(), 1 - 1 / n, atol=0.05)
    pairs = np.cov(weights.T)
    np.testing.assert_allclose(pairs[:16, 16:].mean(), -1 / n, atol=0.005)


def test_interval_agrees_with_scipys_bootstrap() -> None:
    hits = (np.random.default_rng(0).random(600) < 0.3).astype(float)
    boot = np.concatenate(list(resample_weights([512, 88], 4000, seed=0)), axis=1) @ hits / 600 * 100
    low, high = np.quantile(boot, [0.025, 0.975])
    theirs = stats.bootstrap(
        (hits * 100,), np.mean, n_resamples=4000, method="percentile", random_state=1
    ).confidence_interval
    assert abs(low - theirs.low) < 0.4
    assert abs(high - theirs.high) < 0.4


def test_nothing_to_draw_is_refused() -> None:
    with pytest.raises(ValueError, match="zero images"):
        next(resample_weights([], 10, 0))


def test_classes_are_drawn_whole_and_the_first_row_is_the_whole_set() -> None:
    labels = np.repeat([4, 7, 9], [300, 400, 100])
    bootstrap = Bootstrap(20, clusters=labels)
    weights = np.concatenate(list(bootstrap.weights([512, 288])), axis=1)
    assert (weights[0] == 1).all()
    assert all(len(set(weights[b, labels == c])) == 1 for b in range(21) for c in (4, 7, 9))
    assert bootstrap.units(800) == 3
    assert Bootstrap().units(800) == 800


def test_the_choosing_images_are_drawn_apart_from_the_scored_ones() -> None:
    one, other = (
        np.concatenate(list(b.weights([64])), axis=1) for b in (Bootstrap(50), Bootstrap(50).choosing())
    )
    assert (other[1:].sum(1) == 70).all()  # 1.1 draws an image
    assert abs(np.corrcoef(one[1:].ravel(), other[1:].ravel())[0, 1]) < 0.06
