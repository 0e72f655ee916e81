"""Oracle against transferred against fixed threshold: does the sign of a difference depend on how it is chosen?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from eval.analysis.evaluated import Evaluated
from eval.analysis.paired_statistics import Difference
from eval.comparison.verdicts import judge
from eval.metrics.outcomes import Summary
from eval.protocols import Protocol, differences

_RULES = {"oracle", "transferred", "fixed"}


def families(protocols: Sequence[Protocol]) -> list[list[Protocol]]:
    """Groups of protocols that differ in nothing but how the threshold is chosen; those with one rule are left out."""
    groups: list[list[Protocol]] = []
    for p in protocols:
        if p.metric != "box_accuracy" or p.threshold not in _RULES:
            continue
        for group in groups:
            unlike = {d.split(":")[0] for d in differences(group[0].definition(), p.definition())}
            if unlike <= {"threshold", "fixed_threshold", "plateau"}:
                group.append(p)
                break
        else:
            groups.append([p])
    return [g for g in groups if len({p.threshold for p in g}) > 1]


def threshold_effects(
    baseline: Sequence[Evaluated],
    other: Sequence[Evaluated],
    summaries: Mapping[str, Mapping[str, Summary]],
    table: Mapping[str, Difference],
    protocols: Sequence[Protocol],
) -> list[dict[str, Any]]:
    """For every family: each rule's difference, whether the sign agrees, how far the best thresholds of the two lie
    apart, and what each method loses when it is read at the other's best threshold.

    `summaries` maps a run's folder to its summaries by protocol.
    """
    found = []
    for family in families(protocols):
        signs = {int(np.sign(table[p.name].value)) for p in family}
        entry: dict[str, Any] = {
            "rules": {
                p.name: {
                    "rule": p.threshold,
                    "difference": table[p.name].value,
                    "ci95": list(table[p.name].ci95 or ()) or None,
                    "verdict": judge(table[p.name]),
                    "thresholds_baseline": [list(r.thresholds(p.name)) for r in baseline],
                    "thresholds_other": [list(r.thresholds(p.name)) for r in other],
                }
                for p in family
            },
            "sign_agrees": not {-1, 1} <= signs,
        }
        oracle = next((p for p in family if p.threshold == "oracle"), None)
        if oracle is not None:
            per_iou = []
            for k, iou in enumerate(oracle.iou_thresholds):
                a = float(np.mean([r.thresholds(oracle.name)[k] for r in baseline]))
                b = float(np.mean([r.thresholds(oracle.name)[k] for r in other]))
                per_iou.append(
                    {
                        "iou": iou,
                        "best_threshold_baseline": a,
                        "best_threshold_other": b,
                        "distance": b - a,
                        "baseline_loss_at_others_threshold": _loss(baseline, summaries, oracle.name, k, b),
                        "other_loss_at_baselines_threshold": _loss(other, summaries, oracle.name, k, a),
                    }
                )
            entry["best_thresholds"] = per_iou
        found.append(entry)
    return found


def _loss(
    runs: Sequence[Evaluated], summaries: Mapping[str, Mapping[str, Summary]], name: str, k: int, tau: float
) -> float:
    losses = []
    for run in runs:
        summary = summaries[str(run.folder)][name]
        assert summary.curves is not None
        assert summary.taus is not None
        column = max(int(np.searchsorted(summary.taus, tau, side="right")) - 1, 0)
        losses.append(float(summary.curves[k].max() - summary.curves[k][column]))
    return float(np.mean(losses))
