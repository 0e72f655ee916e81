"""Law and variance components: by hand, against scipy, and by exact error rates."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from eval.statistics.components import Components, RunPart, Sampled, components_of
from eval.statistics.law import Law
from eval.statistics.planning import Pilot, Side, power


@pytest.mark.parametrize("df", [1.0, 4.0, np.inf])
def test_interval_and_p_say_the_same(df: float) -> None:
    law = Law(1.3, 0.7, df)
    low, high = law.interval()
    assert law.p_value(low) == pytest.approx(0.05)
    assert law.p_value(high) == pytest.approx(0.05)
    assert law.p_value(1.3) == 1.0
    assert (low + high) / 2 == pytest.approx(1.3)


@pytest.mark.parametrize(
    ("value", "variance", "equivalent"),
    [
        (0.0, 0.1, True),
        (0.9, 0.1, False),
        (-0.4, 0.1, True),
        (0.0, 1.0, False),
        (0.2, 0.0, True),
        (3.0, 0.0, False),
    ],
)
def test_equivalence_is_the_ninety_percent_interval_within_the_margin(
    value: float, variance: float, equivalent: bool
) -> None:
    law = Law(value, variance, 12)
    low, high = law.interval(0.9)
    assert (law.p_not_equivalent(1.0) < 0.05) == equivalent == (low > -1 and high < 1)


def test_equivalence_is_scipys_larger_one_sided_t_test() -> None:
    x = np.random.default_rng(0).normal(0.1, 1, 30)
    law = Law(float(x.mean()), float(x.var(ddof=1) / 30), 29)
    above = stats.ttest_1samp(x, -0.5, alternative="greater").pvalue
    below = stats.ttest_1samp(x, 0.5, alternative="less").pvalue
    assert law.p_not_equivalent(0.5) == pytest.approx(max(above, below))
    with pytest.raises(ValueError, match="positive"):
        law.p_not_equivalent(0)


def test_nothing_varied() -> None:
    assert Law(0.0, 0.0).p_value() == 1.0
    assert Law(1.0, 0.0).p_value() == 0.0


def constant(values: list[float], resamples: int = 50) -> Sampled:
    """Runs whose numbers no resampling of images moves."""
    return Sampled.of(values, [np.full(resamples, v) for v in values])


def test_where_only_runs_vary_it_is_the_paired_t_test_with_fewer_degrees_of_freedom_at_most() -> None:
    a, b = [50.0, 51, 52, 50.5], [53.0, 53, 57, 52]
    parts = components_of(constant(a), constant(b), paired=True, units=100)
    theirs = stats.ttest_rel(b, a)
    law = parts.law(3.0)
    assert law.df == pytest.approx(3)
    assert np.mean(np.subtract(b, a)) / law.standard_error == pytest.approx(theirs.statistic)


def test_unpaired_sides_have_welchs_standard_error_and_use_every_run() -> None:
    a, b = [50.0, 51, 52, 50.5, 49], [53.0, 58, 54]
    parts = components_of(constant(a), constant(b), paired=False, units=100)
    theirs = stats.ttest_ind(b, a, equal_var=False)
    assert (np.mean(b) - np.mean(a)) / np.sqrt(parts.variance) == pytest.approx(theirs.statistic)
    assert 2 <= parts.df <= theirs.df + 1


def test_run_by_image_noise_is_not_counted_twice() -> None:
    # runs differ by nothing but noise on the images: the variance is that of the bootstrap of their mean
    rng = np.random.default_rng(1)
    found = []
    for _ in range(200):
        hits = rng.normal(50, 20, (4, 200))  # four runs, run x image noise alone
        weights = rng.multinomial(200, np.full(200, 1 / 200), 200)
        boot = weights @ hits.T / 200
        zero = Sampled.of([0.0] * 4, [np.zeros(200)] * 4)
        parts = components_of(zero, Sampled.of(list(hits.mean(1)), list(boot.T)), paired=True, units=200)
        found.append((parts.parts[0].spread, parts.parts[0].noise, parts.image))
    spread, noise, image = np.mean(found, axis=0)
    truth = 400 / 200 / 4
    assert spread == pytest.approx(truth, rel=0.15)
    assert noise == pytest.approx(truth, rel=0.05)
    assert image == pytest.approx(truth, rel=0.05)


def test_one_run_a_side_is_a_sentence_on_these_runs() -> None:
    boot = [np.random.default_rng(k).normal(50, 1, 4000) for k in range(4)]
    one, three = Sampled.of([50.0], boot[:1]), Sampled.of([50.0] * 3, boot[1:])
    assert components_of(one, three, paired=False, units=1000).parts == ()
    fixed = Sampled.of([48.0], boot[:1], trained=False)
    assert len(components_of(fixed, three, paired=False, units=1000).parts) == 1


def test_paired_runs_must_be_as_many() -> None:
    with pytest.raises(ValueError, match="1 and 2 runs"):
        components_of(constant([1.0]), constant([1.0, 2.0]), paired=True, units=10)


@pytest.mark.parametrize("runs", [3, 4, 5, 8])
@pytest.mark.parametrize("run", [0.0, 0.5, 2.0, 8.0, 32.0])
@pytest.mark.parametrize("interaction", [0.0, 1.0, 3.0])
def test_a_true_zero_is_rejected_in_at_most_5_percent(runs: int, run: float, interaction: float) -> None:
    """Exact, by integrating over the estimated spread; plain Satterthwaite reaches 7.8 % here."""
    rate = power(Pilot(1.0 * 2000, (Side(run, interaction * 2000),)), 0.0, runs, 2000)
    assert rate <= 0.055


def test_degrees_of_freedom_grow_with_what_images_contribute() -> None:
    def df(spread: float) -> float:
        return Components(1.0, (RunPart(3, spread, 0.0),), 10_000).df

    assert df(100.0) == pytest.approx(2, abs=0.05)
    assert df(0.001) > 1000
    assert Components(0.0, (), 10).df == np.inf
