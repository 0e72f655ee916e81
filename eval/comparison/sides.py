"""The two sides of a comparison as statistics see them."""

from __future__ import annotations

from collections.abc import Sequence

from eval.analysis.evaluated import Evaluated
from eval.analysis.paired_statistics import Difference, paired_difference
from eval.comparison.verdicts import Party
from eval.metrics.bootstrap import Bootstrap
from eval.metrics.outcomes import Summary
from eval.statistics.components import Sampled
from eval.statistics.counts import least_variance

_SPOKEN = {"has": "HaS"}
"""Methods whose name reads as another word in a sentence."""


def party_of(runs: Sequence[Evaluated]) -> Party:
    """One side as sentences name it."""
    trained = not any(r.control in ("center_gaussian", "full_image") for r in runs)
    maps = all(r.results["provenance"].get("score_maps") is not None for r in runs)
    return Party(_SPOKEN.get(runs[0].method, runs[0].method), len(runs), trained, maps)


def sampled(summaries: Sequence[Summary], *, trained: bool = True) -> Sampled:
    """The numbers of one side's runs."""
    return Sampled.of(
        [s.value for s in summaries],
        [s.resampled for s in summaries],
        [s.optimism or 0.0 for s in summaries],
        trained=trained,
    )


def difference_of(
    baseline: Sampled, other: Sampled, like: Summary, by_seed: bool, bootstrap: Bootstrap
) -> Difference:
    """The difference under one protocol; `like` is any run's summary of it."""
    counted = like.protocol.metric == "box_accuracy"
    return paired_difference(
        baseline,
        other,
        by_seed=by_seed,
        units=bootstrap.units(like.num_scored),
        least=least_variance(like.num_scored) if counted else 0.0,
    )
