"""What a study pools beside the protocols: the primary outcome on small objects and on the others."""

from __future__ import annotations

import numpy as np
import pytest

from eval.analysis.evaluated import open_evaluated
from eval.analysis.subgroups import object_shares
from eval.comparison.build import Comparison, Question, compare_runs
from eval.study import outcomes
from eval.study.outcomes import SIZES, outcomes_by_size
from tests.helpers.builders_eval import Planted, build_dataset, evaluated_run

PRIMARIES = ("maxboxacc", "maxboxacc_v2_transferred", "gt_known_fixed")


@pytest.fixture(scope="module")
def comparisons(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Comparison]:
    """By primary outcome: one whose threshold is the best on these images, one chosen on others, one fixed."""
    folder = tmp_path_factory.mktemp("study")
    manifest = build_dataset(folder / "data", test=90, fullsup=24, files=False)
    runs = []
    for seed in range(3):
        for method, extent in (("vanilla", 0.6), ("cutmix", 0.95)):
            planted = Planted(extent=extent, side=28, jitter=0.1)
            kept = {"method": method, "seed": seed, "protocols": PRIMARIES, "bootstrap": 0}
            run = evaluated_run(folder / f"{method}-{seed}", manifest, planted, **kept)  # type: ignore[arg-type]
            runs.append(open_evaluated(run))
    return {primary: compare_runs(runs, question=Question(primary=primary)) for primary in PRIMARIES}


def halves(comparison: Comparison, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """Make half of the objects count as small; which these are."""
    shares = object_shares(comparison.manifest[1])  # type: ignore[index]
    monkeypatch.setattr(outcomes, "SMALL", float(np.median(shares)))
    return shares < np.median(shares)


@pytest.mark.parametrize("primary", PRIMARIES)
def test_both_sizes_together_are_the_primary_outcome(
    primary: str, comparisons: dict[str, Comparison], monkeypatch: pytest.MonkeyPatch
) -> None:
    comparison = comparisons[primary]
    small = halves(comparison, monkeypatch)
    (pairing,) = comparison.pairings
    sized = outcomes_by_size(comparison, primary)
    found = sized.differences(pairing, primary)
    entry = comparison.content["comparisons"][0]
    weights = (small.mean(), 1 - small.mean())
    assert list(found) == [f"{primary}, {size}" for size in SIZES]
    for value in ("baseline", "other"):
        parts = [getattr(d, value) for d in found.values()]
        assert np.dot(weights, parts) == pytest.approx(entry["protocols"][primary][value])
    assert {d.scope for d in found.values()} == {"methods"}

    rows = sized.against_gaussian("cutmix", pairing.other)
    assert [(r["size"], r["images"]) for r in rows] == [*zip(SIZES, (small.sum(), (~small).sum()))]
    (control,) = (
        c for c in entry["controls"] if (c["control"], c["method"]) == ("center_gaussian", "cutmix")
    )
    for value in ("baseline", "other"):
        whole = control["protocols"][primary][value]
        assert np.dot(weights, [r[value] for r in rows]) == pytest.approx(whole)


@pytest.mark.parametrize("primary", PRIMARIES)
def test_the_interval_of_all_images_is_the_primary_outcomes_own(
    primary: str, comparisons: dict[str, Comparison], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The choice of a transferred threshold is in it too; at an oracle's, which is kept, there is no optimism to allow
    for."""
    monkeypatch.setattr(outcomes, "SMALL", 2.0)
    (pairing,) = comparisons[primary].pairings
    (found,) = outcomes_by_size(comparisons[primary], primary).differences(pairing, primary).values()
    whole = comparisons[primary].content["comparisons"][0]["protocols"][primary]
    assert found.value == pytest.approx(whole["difference"])
    if primary != "maxboxacc":
        assert found.ci95 == pytest.approx(whole["ci95"])


def test_too_few_images_of_a_size_are_left_out_with_the_reason(
    comparisons: dict[str, Comparison], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outcomes, "SMALL", 0.0)
    comparison = comparisons["maxboxacc"]
    (pairing,) = comparison.pairings
    sized = outcomes_by_size(comparison, "maxboxacc")
    assert list(sized.differences(pairing, "maxboxacc")) == [f"maxboxacc, {SIZES[1]}"]
    assert {r["size"] for r in sized.against_gaussian("cutmix", pairing.other)} == {SIZES[1]}
    assert sized.left_out == {SIZES[0]: "0 images, fewer than 30"}


def test_a_primary_outcome_without_boxes_has_no_sizes(comparisons: dict[str, Comparison]) -> None:
    comparison = comparisons["maxboxacc"]
    (pairing,) = comparison.pairings
    sized = outcomes_by_size(comparison, "pxap")
    assert sized.differences(pairing, "pxap") == {}
    assert sized.against_gaussian("cutmix", pairing.other) == []
    assert sized.left_out == dict.fromkeys(SIZES, "pxap decides on no boxes")
