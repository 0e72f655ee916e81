"""What a study pools beside the protocols: the primary outcome on small objects and on the others."""

from __future__ import annotations

import numpy as np
import pytest

from eval.analysis.evaluated import open_evaluated
from eval.analysis.subgroups import object_shares
from eval.comparison.build import Comparison, compare_runs
from eval.study import outcomes
from eval.study.outcomes import SIZES, size_differences, sizes_against_gaussian, sizes_left_out
from tests.helpers.builders_eval import Planted, build_dataset, evaluated_run

PRIMARY = "maxboxacc"


@pytest.fixture(scope="module")
def comparison(tmp_path_factory: pytest.TempPathFactory) -> Comparison:
    folder = tmp_path_factory.mktemp("study")
    manifest = build_dataset(folder / "data", test=90, fullsup=8, files=False)
    runs = []
    for seed in range(3):
        for method, extent in (("vanilla", 0.6), ("cutmix", 0.95)):
            planted = Planted(extent=extent, side=28, jitter=0.1)
            run = evaluated_run(
                folder / f"{method}-{seed}",
                manifest,
                planted,
                method=method,
                seed=seed,
                protocols=(PRIMARY,),
                bootstrap=0,
            )
            runs.append(open_evaluated(run))
    return compare_runs(runs)


def halves(comparison: Comparison, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Make half of the objects count as small; which these are."""
    shares = object_shares(comparison.manifest[1])  # type: ignore[index]
    monkeypatch.setattr(outcomes, "SMALL", float(np.median(shares)))
    return shares < np.median(shares)


def test_both_sizes_together_are_the_primary_outcome(
    comparison: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = halves(comparison, monkeypatch)
    (pairing,) = comparison.pairings
    found = size_differences(pairing, comparison, PRIMARY)
    whole = comparison.content["comparisons"][0]["protocols"][PRIMARY]
    weights = (small.mean(), 1 - small.mean())
    assert list(found) == [f"{PRIMARY}, {size}" for size in SIZES]
    for value in ("baseline", "other"):
        parts = [getattr(d, value) for d in found.values()]
        assert np.dot(weights, parts) == pytest.approx(whole[value])
    assert {d.scope for d in found.values()} == {"methods"}


def test_both_sizes_together_are_the_gaussians_value(
    comparison: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = halves(comparison, monkeypatch)
    (pairing,) = comparison.pairings
    methods = {"vanilla": pairing.baseline, "cutmix": pairing.other}
    rows = sizes_against_gaussian(methods, comparison, PRIMARY)
    assert [(r["size"], r["method"]) for r in rows] == [(s, m) for s in SIZES for m in methods]
    (control,) = (
        c
        for c in comparison.content["comparisons"][0]["controls"]
        if (c["control"], c["method"]) == ("center_gaussian", "cutmix")
    )
    mine = [r for r in rows if r["method"] == "cutmix"]
    for value in ("baseline", "other"):
        whole = control["protocols"][PRIMARY][value]
        assert np.dot((small.mean(), 1 - small.mean()), [r[value] for r in mine]) == pytest.approx(whole)
    assert [r["images"] for r in mine] == [small.sum(), (~small).sum()]


def test_too_few_images_of_a_size_are_left_out(
    comparison: Comparison, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcomes, "SMALL", 0.0)
    (pairing,) = comparison.pairings
    assert list(size_differences(pairing, comparison, PRIMARY)) == [f"{PRIMARY}, {SIZES[1]}"]
    rows = sizes_against_gaussian({"cutmix": pairing.other}, comparison, PRIMARY)
    assert {r["size"] for r in rows} == {SIZES[1]}
    assert sizes_left_out(comparison, PRIMARY) == {SIZES[0]: "0 images, fewer than 30"}


def test_a_primary_outcome_without_boxes_has_no_sizes(comparison: Comparison) -> None:
    (pairing,) = comparison.pairings
    assert size_differences(pairing, comparison, "pxap") == {}
    assert sizes_left_out(comparison, "pxap") == dict.fromkeys(SIZES, "pxap decides on no boxes")
