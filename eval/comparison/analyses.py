"""What drives a difference between two methods: every analysis in one call, each absent one with its reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.analysis.error_costs import best_iou_of_images, differences_of_costs, repaired
from eval.analysis.error_kinds import (
    THRESHOLDS,
    classify,
    taxonomy_shares,
    true_boxes,
    without_class_unless_all,
)
from eval.analysis.evaluated import Unavailable
from eval.analysis.paired_statistics import Difference
from eval.analysis.part_coverage import part_differences, part_values
from eval.analysis.per_image import PerImage, main_protocol
from eval.analysis.subgroups import (
    INSTANCE_NAMES,
    SIZE_NAMES,
    group_differences,
    instance_groups,
    size_groups,
)
from eval.comparison.decomposition import decompose
from eval.comparison.normalizations import normalization_effects
from eval.comparison.run_pairs import Pairing
from eval.comparison.thresholds import threshold_effects
from eval.metrics.bootstrap import Bootstrap
from eval.metrics.outcomes import Summary
from eval.protocols import Protocol

if TYPE_CHECKING:
    import numpy.typing as npt

    from wsol.manifest import Manifest, Split


@dataclass(frozen=True)
class Analysis:
    """`found` by name of analysis; `missing` says why an analysis is absent."""

    main_protocol: str | None
    found: dict[str, Any] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)


def analyse(
    pairing: Pairing,
    protocols: Sequence[Protocol],
    table: Mapping[str, Difference],
    summaries: Mapping[str, Mapping[str, Summary]],
    decisions: Mapping[tuple[str, str], PerImage],
    manifest: tuple[Manifest, Split] | Unavailable,
    *,
    bootstrap: Bootstrap,
) -> Analysis:
    """Every analysis that these runs allow."""
    main = main_protocol(protocols)
    analysis = Analysis(main.name if main else None)
    found, missing = analysis.found, analysis.missing
    _top_loc(analysis, pairing, protocols, bootstrap)
    effects = threshold_effects(pairing.baseline, pairing.other, summaries, table, protocols)
    if effects:
        found["threshold"] = effects
    else:
        missing["threshold"] = "no protocol was scored under more than one rule for its threshold"
    rules, absent = normalization_effects(pairing, protocols, bootstrap)
    missing.update({f"normalization {name}": reason for name, reason in absent.items()})
    if any(len(effect["rules"]) > 1 for effect in rules.values()):
        found["normalization"] = rules
    else:
        missing["normalization"] = next(iter(absent.values()), "no protocol of boxes at the best threshold")
    if isinstance(manifest, Unavailable):
        for name in ("size", "instances", "class", "errors", "parts"):
            missing[name] = manifest.reason
        return analysis
    data, split = manifest
    if main is None:
        for name in ("size", "instances", "class", "errors", "parts"):
            missing[name] = "no protocol of boxes was scored"
        return analysis
    a = [decisions[str(r.folder), main.name] for r in pairing.baseline]
    b = [decisions[str(r.folder), main.name] for r in pairing.other]
    groups = {
        "size": (size_groups(split), SIZE_NAMES),
        "instances": (instance_groups(a[0].num_boxes), INSTANCE_NAMES),
        "class": (a[0].label.astype(np.int64), data.classes),
    }
    for name, (membership, names) in groups.items():
        found[name] = group_differences(a, b, membership, names, by_seed=pairing.by_seed, bootstrap=bootstrap)
    frame = pairing.baseline[0].store.index.frame(main.channel)
    boxes, offsets = true_boxes(split, frame)
    asked = without_class_unless_all([*a, *b])
    found["errors"] = {
        "thresholds": THRESHOLDS,
        "shares": taxonomy_shares(
            [classify(r, boxes, offsets) for r in asked[: len(a)]],
            [classify(r, boxes, offsets) for r in asked[len(a) :]],
            by_class=all((r.top1 >= 0).all() for r in asked),
            by_seed=pairing.by_seed,
            bootstrap=bootstrap,
        ),
        "costs": _costs(pairing, main, asked[: len(a)], asked[len(a) :], boxes, offsets, bootstrap),
    }
    _parts(analysis, pairing, main, a, b, data, split, bootstrap)
    return analysis


def _costs(
    pairing: Pairing,
    protocol: Protocol,
    a: Sequence[PerImage],
    b: Sequence[PerImage],
    boxes: npt.NDArray[np.int64],
    offsets: npt.NDArray[np.int64],
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    sides = [
        [
            repaired(image, best_iou_of_images(run.store, protocol), protocol, boxes, offsets)
            for run, image in zip(runs, images)
        ]
        for runs, images in ((pairing.baseline, a), (pairing.other, b))
    ]
    return differences_of_costs(*sides, by_seed=pairing.by_seed, bootstrap=bootstrap)


def _top_loc(
    analysis: Analysis, pairing: Pairing, protocols: Sequence[Protocol], bootstrap: Bootstrap
) -> None:
    gated = [p for p in protocols if p.class_gate != "none" and len(p.iou_thresholds) == 1]
    if not gated:
        predicted = all(r.results["classification"] for r in (*pairing.baseline, *pairing.other))
        analysis.missing["top_loc"] = (
            "no protocol with the predicted class, such as top1_loc, was scored in every run that is compared"
            if predicted
            else "there are no class predictions, so no Top-1 Loc to split"
        )
        return
    analysis.found["top_loc"] = {
        p.name: decompose(
            pairing.baseline, pairing.other, p, by_seed=pairing.by_seed, bootstrap=bootstrap
        ).as_json()
        for p in gated
    }


def _parts(
    analysis: Analysis,
    pairing: Pairing,
    protocol: Protocol,
    a: Sequence[PerImage],
    b: Sequence[PerImage],
    manifest: Manifest,
    split: Split,
    bootstrap: Bootstrap,
) -> None:
    if not manifest.part_names or not split.parts:
        analysis.missing["parts"] = f"dataset '{manifest.dataset}' has no part annotations"
        return
    if protocol.frame != "resize":
        analysis.missing["parts"] = f"{protocol.name} does not show the whole image"
        return
    values: list[list[Any]] = []
    for runs in (pairing.baseline, pairing.other):
        got = [part_values(r) for r in runs]
        reason = next((g.reason for g in got if isinstance(g, Unavailable)), None)
        if reason:
            analysis.missing["map value on parts"] = reason
            break
        values.append(got)
    analysis.found["parts"] = part_differences(
        a,
        b,
        (values[0], values[1]) if len(values) == 2 else None,
        split,
        manifest.part_names,
        frame_size=protocol.frame_size,
        by_seed=pairing.by_seed,
        bootstrap=bootstrap,
    )
