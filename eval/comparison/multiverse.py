"""A multiverse: every analysis of the same maps that was recorded, side by side, as one family.

Steegen et al., Perspectives on Psychological Science 2016. The analyses are all combinations of what the records hold:
normalisation of the map, contours (largest or all), IoU threshold, and the rule for the threshold on the map (best on
these images, fixed at 0.2, chosen on train-fullsup), aligned drawing where it was scored. One max-T holds over all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from eval.analysis.evaluated import Evaluated
from eval.analysis.paired_statistics import Difference, adjusted
from eval.comparison.run_pairs import Pairing
from eval.comparison.sides import difference_of, party_of, sampled
from eval.comparison.verdicts import judge
from eval.metrics.bootstrap import Bootstrap
from eval.metrics.outcomes import Summary
from eval.protocols import Protocol, normalization_variants
from eval.statistics.components import Sampled

FIXED = 0.2
"""The conventional threshold of CAM (CVPR 2016)."""


def multiverse(
    pairing: Pairing,
    protocols: Sequence[Protocol],
    summaries: Mapping[str, Mapping[str, Summary]],
    bootstrap: Bootstrap,
) -> dict[str, Any] | None:
    """Every analysis with its choices, difference, interval and verdict, smallest difference first, and how many say
    higher, lower or neither. None without resamples or with fewer than two analyses."""
    runs = (*pairing.baseline, *pairing.other)
    if not bootstrap.resamples:
        return None
    variants = [
        p
        for by_name in normalization_variants(protocols).values()
        for p in by_name.values()
        if all(r.store.index.holds(p.channel) for r in runs)
    ]
    variants += [
        p
        for p in protocols
        if p.metric == "box_accuracy" and p.drawing == "aligned" and p.threshold == "oracle"
    ]
    found = {str(r.folder): r.summaries(variants, bootstrap) for r in runs}
    cells: list[tuple[dict[str, str], Difference]] = []
    for p in variants:
        if all(p.name in s for s in found.values()):
            cells += _read(pairing, p, found, bootstrap)
    for p in protocols:
        if p.threshold == "transferred" and p.class_gate == "none" and p.metric == "box_accuracy":
            sides = [
                sampled([summaries[str(r.folder)][p.name] for r in side], trained=party_of(side).trained)
                for side in (pairing.baseline, pairing.other)
            ]
            like = summaries[str(runs[0].folder)][p.name]
            choices = _choices(p, "/".join(f"{100 * t:g}" for t in p.iou_thresholds), "from train-fullsup")
            cells.append((choices, difference_of(sides[0], sides[1], like, pairing.by_seed, bootstrap)))
    if len(cells) < 2:
        return None
    decided = adjusted([d for _, d in cells])
    rows = [
        {**choices, **d.as_json(), "verdict": judge(d)}
        for (choices, _), d in zip(cells, decided, strict=True)
    ]
    rows.sort(key=lambda r: float(r["difference"]))
    verdicts = [r["verdict"] for r in rows]
    return {
        "analyses": rows,
        "higher": verdicts.count("higher"),
        "lower": verdicts.count("lower"),
        "neither": len(rows) - verdicts.count("higher") - verdicts.count("lower"),
        "positive": sum(float(r["difference"]) > 0 for r in rows),
    }


def _choices(p: Protocol, iou: str, rule: str) -> dict[str, str]:
    found = {"normalization": p.normalization, "contours": p.contours, "iou": iou, "threshold": rule}
    return {**found, "drawing": "aligned"} if p.drawing == "aligned" else found


def _read(
    pairing: Pairing, p: Protocol, found: Mapping[str, Mapping[str, Summary]], bootstrap: Bootstrap
) -> list[tuple[dict[str, str], Difference]]:
    """One protocol's curves at their best and at the fixed threshold, for each IoU threshold."""

    def numbers(runs: Sequence[Evaluated], k: int, best: bool) -> Sampled:
        values: list[float] = []
        boot: list[npt.NDArray[np.float64] | None] = []
        for run in runs:
            s = found[str(run.folder)][p.name]
            assert s.taus is not None
            assert s.curves is not None
            at = max(int(np.searchsorted(s.taus, FIXED, side="right")) - 1, 0)
            curve = s.curves[k]
            column = int(curve.argmax()) if best else at
            values.append(float(curve[column]))
            boot.append(s.resampled_curves[k][:, column].astype(np.float64))
        return Sampled.of(values, boot, trained=party_of(runs).trained)

    like = found[str(pairing.other[0].folder)][p.name]
    cells = []
    for k, iou in enumerate(p.iou_thresholds):
        for best, rule in ((True, "best on these images"), (False, f"fixed at {FIXED}")):
            sides = [numbers(runs, k, best) for runs in (pairing.baseline, pairing.other)]
            choices = _choices(p, f"{100 * iou:g}", rule)
            cells.append((choices, difference_of(sides[0], sides[1], like, pairing.by_seed, bootstrap)))
    return cells
