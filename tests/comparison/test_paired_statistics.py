"""Paired statistics: by hand, against scipy, and by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from eval.analysis.paired_statistics import Difference, Sampled, holm, mcnemar_exact, paired_difference
from eval.analysis.per_image import means_of_images
from eval.comparison.verdicts import Judged, headline, judge
from eval.metrics.bootstrap import Bootstrap


def flags(text: str) -> np.ndarray:
    return np.array([c == "x" for c in text], bool)


@pytest.mark.parametrize(
    ("a", "b", "only_a", "only_b", "p"),
    [
        ("", "", 0, 0, 1.0),  # no image
        ("xx..", "xx..", 0, 0, 1.0),  # never disagree
        ("x...", ".xxx", 1, 3, 0.625),  # 2 * (1 + 4) / 16
        ("....", "xxxx", 0, 4, 0.125),  # 2 / 16
    ],
)
def test_mcnemar_by_hand(a: str, b: str, only_a: int, only_b: int, p: float) -> None:
    found = mcnemar_exact(flags(a), flags(b))
    assert (found["only_baseline"], found["only_other"]) == (only_a, only_b)
    assert found["p_value"] == pytest.approx(p)


@given(only_a=st.integers(0, 40), only_b=st.integers(0, 40), both=st.integers(0, 5))
def test_mcnemar_equals_the_binomial_tail(only_a: int, only_b: int, both: int) -> None:
    a = np.repeat([True, False, True], [only_a, only_b, both])
    b = np.repeat([False, True, True], [only_a, only_b, both])
    n, k = only_a + only_b, min(only_a, only_b)
    expected = min(1.0, 2 * stats.binom.cdf(k, n, 0.5)) if n else 1.0
    assert mcnemar_exact(a, b)["p_value"] == pytest.approx(expected)


def test_holm_by_hand() -> None:
    # 3 * .01 = .03; 2 * .03 = .06; 1 * .04 would be smaller than the one before, so .06 stays
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03}) == pytest.approx({"a": 0.03, "b": 0.06, "c": 0.06})
    assert holm({}) == {}


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_rejects_what_the_step_down_procedure_rejects(p: list[float]) -> None:
    adjusted = holm({str(i): v for i, v in enumerate(p)})
    ordered = sorted(range(len(p)), key=lambda i: p[i])
    rejected = set()
    for rank, i in enumerate(ordered):  # the definition: stop at the first that fails
        if p[i] * (len(p) - rank) >= 0.05:
            break
        rejected.add(str(i))
    assert {k for k, v in adjusted.items() if v < 0.05} == rejected


def test_resampled_means_have_the_standard_error_of_the_mean() -> None:
    values = np.random.default_rng(0).random((600, 2)).astype(np.float32)
    valid = np.ones((600, 2), bool)
    valid[:300, 1] = False
    means, boot = means_of_images(values, valid, Bootstrap(2000, 1))
    assert means == pytest.approx([100 * values[:, 0].mean(), 100 * values[300:, 1].mean()], abs=1e-4)
    assert boot[0].std() == pytest.approx(100 * values[:, 0].std() / np.sqrt(600), rel=0.06)
    assert boot[1].std() == pytest.approx(100 * values[300:, 1].std() / np.sqrt(300), rel=0.06)


def test_a_group_without_images_is_undefined_not_zero() -> None:
    means, boot = means_of_images(np.ones((5, 1), np.float32), np.zeros((5, 1), bool), Bootstrap(10))
    assert np.isnan(means).all()
    assert np.isnan(boot).all()


def sampled(values: np.ndarray, resamples: int = 2000) -> Sampled:
    """Runs' means over images [R, N] with bootstrap values."""
    found = [
        means_of_images(v[:, None].astype(np.float32), np.ones((len(v), 1), bool), Bootstrap(resamples, 3))
        for v in values
    ]
    return Sampled.of([m[0] for m, _ in found], [b[0] for _, b in found])


def test_one_run_each_agrees_with_scipys_paired_bootstrap_and_t_test() -> None:
    rng = np.random.default_rng(5)
    a, b = rng.random(400) < 0.6, rng.random(400) < 0.66
    found = paired_difference(sampled(a[None]), sampled(b[None]), by_seed=False)
    theirs = stats.bootstrap(
        (100.0 * (b.astype(float) - a.astype(float)),),
        np.mean,
        n_resamples=2000,
        method="percentile",
        random_state=np.random.default_rng(1),
    )
    assert found.ci95 == pytest.approx(
        (theirs.confidence_interval.low, theirs.confidence_interval.high), abs=0.6
    )
    assert found.standard_error == pytest.approx(theirs.standard_error, rel=0.06)
    assert found.p_value == pytest.approx(stats.ttest_rel(b.astype(float), a.astype(float)).pvalue, abs=0.02)


def test_the_minimal_detectable_difference_is_detected_four_times_out_of_five() -> None:
    rng = np.random.default_rng(8)
    noise = sampled(rng.normal(0, 1, (1, 500)))
    zero = sampled(np.zeros((1, 500)))
    minimal = paired_difference(zero, noise, by_seed=False).minimal_detectable
    assert minimal is not None
    shifted = [rng.normal(minimal / 100, 1, 500) for _ in range(400)]
    detected = np.mean([stats.ttest_1samp(s, 0).pvalue < 0.05 for s in shifted])
    assert 0.72 < detected < 0.88


def test_seeds_that_differ_widen_the_interval_to_students_t() -> None:
    # images add nothing here: the interval must be the t interval of the three seeds' differences
    a = Sampled(np.array([50.0, 51.0, 52.0]), np.repeat([[50.0], [51.0], [52.0]], 3000, axis=1))
    b = Sampled(np.array([53.0, 53.0, 57.0]), np.repeat([[53.0], [53.0], [57.0]], 3000, axis=1))
    found = paired_difference(a, b, by_seed=True)
    differences = np.array([3.0, 2.0, 5.0])
    expected = stats.t(2, differences.mean(), stats.sem(differences)).interval(0.95)
    assert found.value == pytest.approx(differences.mean())
    assert found.ci95 == pytest.approx(expected, abs=0.35)
    assert found.p_value == pytest.approx(stats.ttest_rel(b.values, a.values).pvalue)
    assert found.per_seed == (3.0, 2.0, 5.0)


def test_unpaired_seeds_take_welchs_degrees_of_freedom() -> None:
    a = Sampled(np.array([50.0, 51.0, 52.0, 50.5]), np.repeat([[50.0], [51.0], [52.0], [50.5]], 50, axis=1))
    b = Sampled(np.array([53.0, 58.0]), np.repeat([[53.0], [58.0]], 50, axis=1))
    found = paired_difference(a, b, by_seed=False)
    assert found.p_value == pytest.approx(stats.ttest_ind(b.values, a.values, equal_var=False).pvalue)


def test_identical_runs_differ_by_nothing_and_detect_nothing() -> None:
    same = sampled(np.random.default_rng(0).random((1, 50)))
    found = paired_difference(same, same, by_seed=False)
    assert (found.value, found.ci95, found.p_value) == (0.0, (0.0, 0.0), 1.0)
    assert found.minimal_detectable is None


def test_without_resamples_nothing_is_claimed() -> None:
    bare = Sampled.of([40.0], [None])
    found = paired_difference(bare, Sampled.of([60.0], [None]), by_seed=False)
    assert (found.value, found.ci95, found.p_value) == (20.0, None, None)
    assert judge({"x": found})["x"].verdict == "not tested"


def test_paired_runs_must_be_as_many() -> None:
    one, two = Sampled.of([1.0], [None]), Sampled.of([1.0, 2.0], [None, None])
    with pytest.raises(ValueError, match="1 and 2 runs"):
        paired_difference(one, two, by_seed=True)


def difference(value: float, p: float, ci: tuple[float, float]) -> Difference:
    return Difference(50, 50 + value, value, ci, 1.0, p, 2.8)


def test_a_verdict_needs_the_corrected_p_and_the_interval() -> None:
    judged = judge(
        {
            "clear": difference(5, 0.0001, (3, 7)),
            "worse": difference(-5, 0.001, (-7, -3)),
            "lucky": difference(2, 0.03, (0.1, 4)),  # 2 * .03 > .05
            "none": difference(0.1, 0.9, (-2, 2)),
        }
    )
    assert [j.verdict for j in judged.values()] == [
        "higher",
        "lower",
        "no detectable difference",
        "no detectable difference",
    ]


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        ([], "nothing was tested"),
        (["higher"], "higher than base under all 1 protocol"),
        (["higher", "lower"], "sign depends on the protocol"),
        (["no detectable difference"] * 3, "No detectable difference between new and base under any of 3"),
        (["lower", "no detectable difference"], "lower than base under 1 of 2"),
        (["not tested"], "nothing was tested"),
        (["higher", "not tested"], "higher than base under all 1 protocol. 1 was not tested."),
        (
            ["no detectable difference", "not tested", "not tested"],
            "under any of 1 protocol. 2 were not tested.",
        ),
        (
            ["lower", "no detectable difference", "not tested"],
            "the other 1 no difference is detectable. 1 was not",
        ),
    ],
)
def test_headlines(verdicts: list[str], said: str) -> None:
    judged = {str(i): Judged(v, 0.5) for i, v in enumerate(verdicts)}  # type: ignore[arg-type]
    assert said in headline("new", "base", judged)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 40))
def test_swapping_the_methods_mirrors_the_difference(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = (sampled(rng.random((1, count)) < 0.5, 100) for _ in range(2))
    there, back = (paired_difference(x, y, by_seed=False) for x, y in ((a, b), (b, a)))
    assert there.value == pytest.approx(-back.value)
    assert there.ci95 is not None
    assert back.ci95 is not None
    assert there.ci95 == pytest.approx((-back.ci95[1], -back.ci95[0]), abs=1e-6)
    assert there.p_value == pytest.approx(back.p_value)
