"""The whole comparison as plain data: what compare.json holds, and every table, figure and page is drawn from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.analysis.evaluated import Evaluated, Unavailable, open_manifest
from eval.analysis.paired_statistics import POWER, Difference, Sampled, mcnemar_exact, paired_difference
from eval.analysis.per_image import PerImage, per_image
from eval.comparison.analyses import Analysis, analyse
from eval.comparison.published import published_for
from eval.comparison.run_pairs import Pairing, comparable_protocols, pair, require_same_images
from eval.comparison.run_pairs import group as group_runs
from eval.comparison.verdicts import ALPHA, headline, judge
from eval.metrics.bootstrap import DEFAULT_BOOTSTRAP, Bootstrap
from eval.metrics.outcomes import Summary
from eval.protocols import Protocol
from wsol.errors import UserError

if TYPE_CHECKING:
    from wsol.manifest import Manifest, Split

SCHEMA = 1


@dataclass(frozen=True)
class Comparison:
    """A finished comparison: `content` is compare.json; the rest lets the page draw pictures without re-reading."""

    content: dict[str, Any]
    pairings: tuple[Pairing, ...]
    summaries: dict[str, dict[str, Summary]]
    """By run folder, then protocol."""
    manifest: tuple[Manifest, Split] | Unavailable
    decisions: dict[tuple[str, str], PerImage] = field(default_factory=dict)
    """By run folder and protocol."""


def compare_runs(
    runs: Sequence[Evaluated],
    *,
    baseline: str | None = None,
    bootstrap: Bootstrap = DEFAULT_BOOTSTRAP,
    dataset: str | None = None,
    data_root: str | None = None,
    advance: Callable[[int], None] = lambda images: None,
) -> Comparison:
    """Compare every method with the baseline, protocol by protocol, and say what drives each difference.

    Raises `UserError` where the runs were scored on different images, or leave nothing to compare.
    """
    require_same_images(runs)
    pairings = pair(group_runs(runs), baseline)
    protocols, refused = comparable_protocols(runs)
    if not protocols:
        reasons = "; ".join(f"{k}: {v}" for k, v in refused.items()) or "nothing was scored"
        raise UserError(f"no protocol is comparable between these runs ({reasons})")
    used = list({str(r.folder): r for p in pairings for r in (*p.baseline, *p.other)}.values())
    manifest = open_manifest(runs[0], dataset, data_root)
    summaries: dict[str, dict[str, Summary]] = {}
    decisions: dict[tuple[str, str], PerImage] = {}
    boxes = [p for p in protocols if p.metric == "box_accuracy"]
    for run in used:
        summaries[str(run.folder)] = run.summaries(protocols, bootstrap)
        for p in boxes:
            decisions[str(run.folder), p.name] = per_image(run.store, p, run.thresholds(p.name))
        advance(run.store.index.num_images)
    differences = {
        (pairing.name, p.name): _difference(pairing, summaries, p.name, bootstrap.seed)
        for pairing in pairings
        for p in protocols
    }
    judged = judge({"\n".join(k): d for k, d in differences.items()})
    entries = []
    for pairing in pairings:
        mine = {p.name: differences[pairing.name, p.name] for p in protocols}
        analysis = analyse(
            pairing,
            protocols,
            mine,
            summaries,
            decisions,
            manifest,
            bootstrap=bootstrap,
        )
        verdicts = {n: judged[f"{pairing.name}\n{n}"] for n in mine}
        entries.append(
            {
                "name": pairing.name,
                "baseline": pairing.baseline_method,
                "other": pairing.other_method,
                "by_seed": pairing.by_seed,
                "seeds": [r.seed for r in pairing.other] if pairing.by_seed else None,
                "runs": {
                    "baseline": [_about(r) for r in pairing.baseline],
                    "other": [_about(r) for r in pairing.other],
                },
                "left_out": list(pairing.left_out),
                "headline": headline(pairing.other_method, pairing.baseline_method, verdicts),
                "caveats": _caveats(pairing),
                "protocols": {
                    p.name: _entry(pairing, p, mine[p.name], verdicts[p.name], decisions) for p in protocols
                },
                **_analysis_json(analysis),
            }
        )
    first = runs[0]
    content: dict[str, Any] = {
        "schema": SCHEMA,
        "dataset": first.dataset,
        "split": first.split,
        "split_hash": first.store.index.split_hash,
        "num_images": first.store.index.num_images,
        "comparisons": entries,
        "not_compared": refused,
        "settings": {
            "resamples": bootstrap.resamples,
            "seed": bootstrap.seed,
            "confidence": 0.95,
            "alpha": ALPHA,
            "power": POWER,
            "correction": f"Holm, over {len(differences)} differences",
        },
    }
    return Comparison(content, tuple(pairings), summaries, manifest, decisions)


def _difference(
    pairing: Pairing, summaries: dict[str, dict[str, Summary]], name: str, seed: int
) -> Difference:
    def sampled(runs: Sequence[Evaluated]) -> Sampled:
        found = [summaries[str(r.folder)][name] for r in runs]
        return Sampled.of([s.value for s in found], [s.resampled for s in found])

    return paired_difference(
        sampled(pairing.baseline), sampled(pairing.other), by_seed=pairing.by_seed, seed=seed
    )


def _about(run: Evaluated) -> dict[str, Any]:
    return {"name": run.name, "seed": run.seed, "folder": str(run.folder), "arch": run.arch}


def _entry(
    pairing: Pairing,
    protocol: Protocol,
    difference: Difference,
    verdict: Any,
    decisions: dict[tuple[str, str], PerImage],
) -> dict[str, Any]:
    name = protocol.name
    found: dict[str, Any] = {
        **difference.as_json(),
        "adjusted_p": verdict.adjusted_p,
        "verdict": verdict.verdict,
        "thresholds": {
            "baseline": [list(r.thresholds(name)) for r in pairing.baseline],
            "other": [list(r.thresholds(name)) for r in pairing.other],
        },
        "published": published_for(
            name,
            pairing.baseline_method,
            pairing.other_method,
            pairing.baseline[0].dataset,
            pairing.baseline[0].arch,
        ),
        "definition": protocol.definition(),
    }
    if protocol.metric == "box_accuracy" and (
        pairing.by_seed or len(pairing.baseline) == len(pairing.other) == 1
    ):
        found["mcnemar"] = [
            {
                "seed": a.seed if pairing.by_seed else None,
                "iou": iou,
                **mcnemar_exact(
                    decisions[str(a.folder), name].hit[:, k], decisions[str(b.folder), name].hit[:, k]
                ),
            }
            for a, b in zip(pairing.baseline, pairing.other)
            for k, iou in enumerate(protocol.iou_thresholds)
        ]
    return found


def _caveats(pairing: Pairing) -> list[str]:
    """What the numbers do not show, in words."""
    a, b = len(pairing.baseline), len(pairing.other)
    lines = []
    if min(a, b) == 1:
        lines.append(
            "One training run per method: the intervals cover the choice of test images, not the chance of training. "
            "Another seed may give another sign; train several seeds to judge the methods rather than these runs."
            if a == b == 1
            else "One method has a single training run, so its chance of training is not in the intervals."
        )
    elif min(a, b) < 5:
        lines.append(
            f"{min(a, b)} seeds per method: the spread between seeds is estimated from few runs and widens the "
            "intervals accordingly (Student t)."
        )
    archs = list(dict.fromkeys(r.arch for r in (*pairing.baseline, *pairing.other) if r.arch))
    if len(archs) > 1:
        lines.append(
            f"The runs differ in their network ({', '.join(archs)}): a difference may be the network's and not the "
            "method's."
        )
    looks = (_cells_look(r) for r in (*pairing.baseline, *pairing.other))
    places = {place for place in looks if place is not None}
    if len(places) > 1:
        shown = " / ".join(f"{x:+.1f}, {y:+.1f}" for x, y in sorted(places))
        lines.append(
            f"Maps are drawn beside where their cells look, by unequal shares of the image (right, down, in percent: "
            f"{shown}): part of a difference may be geometry. The variants NAME@aligned (eval.localize --aligned) are "
            "free of it."
        )
    if not pairing.by_seed and max(a, b) > 1:
        lines.append("The methods have no training seed in common: runs are not paired by seed.")
    lines.append(
        "An oracle threshold, the best on this split, is chosen on the very images that are scored: an upper bound. It "
        "is chosen anew in every bootstrap resample."
    )
    if pairing.baseline[0].dataset == "parts":
        lines.append(
            "'parts' is composed from a seed to show mechanisms; it is no evidence about photographs."
        )
    return lines


def _cells_look(run: Evaluated) -> tuple[float, float] | None:
    """By how much of the image, in percent, maps are drawn right of and below where they look; None if not known."""
    cells = (run.results["provenance"].get("map") or {}).get("cells")
    if not cells:
        return None
    x, y = (round(100 * o / cells[a]["pixels"], 1) for o, a in zip(cells["offset_xy"], "xy"))
    return x, y


def _analysis_json(analysis: Analysis) -> dict[str, Any]:
    return {
        "drivers": _plain(analysis.found),
        "not_analysed": analysis.missing,
        "main_protocol": analysis.main_protocol,
    }


def _plain(value: Any) -> Any:
    """NaN and infinity as None: they are no numbers in JSON."""
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value
