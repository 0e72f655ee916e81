"""Accuracy over all thresholds of two methods and of their difference, with simultaneous bands: a difference that holds
whatever threshold is chosen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from eval.analysis.evaluated import Evaluated
from eval.comparison.run_pairs import Pairing
from eval.comparison.sides import party_of
from eval.comparison.verdicts import Party
from eval.metrics.bootstrap import Bootstrap
from eval.metrics.outcomes import Summary
from eval.statistics.bands import Band, RunCurves, curve_band
from eval.statistics.components import METHODS_FROM
from eval.statistics.counts import least_variance

PROTOCOLS = ("maxboxacc", "maxboxacc_v2")


def curve_bands(
    pairing: Pairing, summaries: Mapping[str, Mapping[str, Summary]], bootstrap: Bootstrap
) -> list[dict[str, Any]]:
    """For each of `PROTOCOLS` and each of its IoU thresholds: `taus` [T], and the curves of `baseline`, `other` and
    `difference`, each with value, low and high [T]; `in_words` where the difference's band misses 0. Empty without
    resamples.

    Args:
        pairing: the two methods.
        summaries: by run folder, then protocol.
        bootstrap: the resamples that the summaries were made with.
    """
    sides = (pairing.baseline, pairing.other)
    found = []
    for name in PROTOCOLS:
        held = [[summaries[str(r.folder)].get(name) for r in runs] for runs in sides]
        kept = [[s for s in side if s is not None and s.resampled_curves] for side in held]
        if any(len(k) < len(runs) for k, runs in zip(kept, sides)):
            continue
        for k, iou in enumerate(kept[0][0].protocol.iou_thresholds):
            found.append({"protocol": name, "iou": iou, **_one(pairing, sides, kept, k, bootstrap)})
    return found


def _one(
    pairing: Pairing,
    sides: Sequence[Sequence[Evaluated]],
    summaries: Sequence[Sequence[Summary]],
    k: int,
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    # where the maps of two runs have other largest levels, their curves step at other thresholds
    taus = np.unique(np.concatenate([_grid(s) for side in summaries for s in side]))
    images = summaries[0][0].num_scored
    law: dict[str, Any] = {"units": bootstrap.units(images), "least": least_variance(images)}
    a, b = (
        RunCurves(
            np.stack([_curves(s)[k][_columns(s, taus)] for s in side]),
            np.stack([s.resampled_curves[k][:, _columns(s, taus)] for s in side]).astype(np.float64),
            party_of(runs).trained,
        )
        for side, runs in zip(summaries, sides)
    )
    difference = curve_band(b, a, paired=pairing.by_seed, **law).within(-100, 100)
    return {
        "taus": taus.tolist(),
        "baseline": _plain(curve_band(a, **law).within(0, 100)),
        "other": _plain(curve_band(b, **law).within(0, 100)),
        "difference": _plain(difference),
        "in_words": in_words(taus, difference, party_of(sides[0]), party_of(sides[1])),
    }


def _grid(summary: Summary) -> npt.NDArray[np.float64]:
    assert summary.taus is not None
    return summary.taus


def _curves(summary: Summary) -> npt.NDArray[np.float64]:
    assert summary.curves is not None
    return summary.curves


def _columns(summary: Summary, taus: npt.NDArray[np.float64]) -> npt.NDArray[np.intp]:
    return np.maximum(np.searchsorted(_grid(summary), taus, side="right") - 1, 0)


def _plain(band: Band) -> dict[str, list[float]]:
    return {name: np.round(getattr(band, name), 3).tolist() for name in ("value", "low", "high")}


def in_words(taus: npt.NDArray[np.float64], difference: Band, baseline: Party, other: Party) -> str:
    """Where the band of the difference misses 0, in one sentence; with two runs of a trained side, that there is no
    verdict."""
    runs = min((p.runs for p in (baseline, other) if p.trained), default=1)
    if 1 < runs < METHODS_FROM:
        return f"over {runs} training runs a side there is a band and no verdict."
    scope = "runs" if runs == 1 else "methods"
    said = []
    for word, apart in (("higher", difference.low > 0), ("lower", difference.high < 0)):
        places = _stretches(taus, apart)
        if places:
            said.append(f"{word} than {baseline.said(scope)} at every threshold {' and '.join(places)}")
    if not said:
        return "at no threshold does the band exclude 0."
    plural = scope == "runs" and other.trained and (other.runs > 1 or other.maps)
    verb = "score" if plural else "scores"
    return f"{other.said(scope)} {verb} {', and '.join(said)}; elsewhere the band holds 0."


def _stretches(taus: npt.NDArray[np.float64], apart: npt.NDArray[np.bool_]) -> list[str]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], apart, [False]]).astype(np.int8)))
    ends = [*taus[1:], 1.0]  # a curve holds its value up to the next threshold
    return [f"from {taus[i]:.2f} to {ends[j - 1]:.2f}" for i, j in zip(edges[::2], edges[1::2])]
