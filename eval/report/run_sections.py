"""The sections of a run's page that say where it fails."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.analysis.error_costs import REPAIRED
from eval.analysis.error_kinds import CLASSIFICATION, KINDS, THRESHOLDS, UNSCORED
from eval.analysis.evaluated import Evaluated
from eval.analysis.per_image import PerImage, means_of_images
from eval.analysis.subgroups import INSTANCE_NAMES, SIZE_NAMES, instance_groups, size_groups
from eval.metrics.bootstrap import Bootstrap
from eval.report import charts
from eval.report.errors_by_class import errors_by_class
from eval.report.measures_sections import measured_section
from eval.report.sections import section
from eval.report.short_names import short_names
from eval.statistics.counts import score_interval

if TYPE_CHECKING:
    import numpy.typing as npt

    from wsol.manifest import Manifest, Split

CLASSES_SHOWN = 15

Values = tuple[str, int, float, tuple[float, float] | None]
"""A row: name, images, value in percent, interval."""


def run_sections(
    run: Evaluated,
    image: PerImage,
    kinds: npt.NDArray[np.int8],
    split: Split,
    manifest: Manifest,
    protocol: str,
    seed: int,
) -> list[dict[str, Any]]:
    """Kinds of error, groups of images, classes, measures without a threshold and the map's energy.

    Args:
        run: the scored run.
        image: its decisions image by image under `protocol`.
        kinds: int8 [N], each image's kind of error.
        split: the scored images.
        manifest: names the classes.
        protocol: whose decisions these are.
        seed: of the intervals' resamples. A run scored without resamples gets no intervals here either.
    """
    predicted = bool((image.top1 >= 0).all())
    bootstrap = Bootstrap(seed=seed) if has_intervals(run) else Bootstrap(0)
    sections = [_errors(run, kinds, protocol, predicted)]
    for title, groups, names in (
        ("Object size (share of the image)", size_groups(split), SIZE_NAMES),
        ("Instances in the image", instance_groups(image.num_boxes), INSTANCE_NAMES),
    ):
        found = _means(image, groups, names, bootstrap)
        if len(found) > 1:
            sections.append(section(title, table=_value_table(found, "group")))
    names_shown = short_names(manifest.classes)
    sections.append(class_section(_means(image, image.label, names_shown, bootstrap)))
    if len(names_shown) > 1:
        sections.append(errors_by_class(image.label, {run.method: kinds}, names_shown))
    costs = run.results.get("error_costs")
    if costs:
        sections.insert(1, _costs(costs))
    measures = run.results.get("measures")
    if measures:
        sections.append(measured_section(measures))
    energy = run.results.get("energy")
    if energy:
        sections.append(_energy(energy))
    return sections


def has_intervals(run: Evaluated) -> bool:
    """Whether a run was scored with resamples (--bootstrap), so that its numbers have intervals."""
    return any(entry["ci95"] for entry in run.results["protocols"].values())


def _errors(run: Evaluated, kinds: npt.NDArray[np.int8], protocol: str, predicted: bool) -> dict[str, Any]:
    counted = kinds[kinds != UNSCORED]
    shares = {k: 100 * float((counted == i).mean()) for i, k in enumerate(KINDS)} if len(counted) else {}
    t = THRESHOLDS
    return section(
        "Kinds of error",
        lead=f"By {protocol}, at its own threshold. Kinds as in TS-CAM (ICCV 2021).",
        stacks=[{"name": run.method, "svg": charts.stacked_bar(shares, f"Error kinds of {run.method}")}],
        kinds=[
            f"{k} {v:.1f} %" if predicted or k != CLASSIFICATION else f"{k}: nothing predicts a class"
            for k, v in shares.items()
        ],
        note="An image is of the first kind that fits: classification: the top class is wrong; multi-instance: of "
        f"several true boxes more than one is covered by over {100 * t['multi_instance_covered']:.0f} %; part: over "
        f"{100 * t['part_inside']:.0f} % of the predicted box lies in the true one; more: at least "
        f"{100 * t['more_covered']:.0f} % of the true box is covered; other: none of these.",
    )


def _costs(costs: Mapping[str, Any]) -> dict[str, Any]:
    rows = []
    for name, e in costs["repairs"].items():
        ci = e["ci95"]
        strip = charts.interval_strip(e["gain"], ci, 100, low=0)
        rows.append(
            [name, f"+{e['gain']:.1f}", strip, f"[{ci[0]:.1f}, {ci[1]:.1f}]" if ci else "–", REPAIRED[name]]
        )
    right = "class and box are right" if "class" in costs["repairs"] else "box is right"
    return section(
        "What each error costs",
        lead=f"Percentage points that repairing one error alone would add to the {costs['right']:.1f} % of images "
        f"whose {right}, by {costs['protocol']}.",
        table={
            "columns": ["repair", "points", "0 to 100", "95 % interval", "what is repaired"],
            "rows": rows,
        },
        note="Repairs overlap, so they do not add up; the kinds of error above are shares and do.",
    )


def class_section(classes: list[Values]) -> dict[str, Any]:
    """Accuracy by class, lowest first; classes of one image are counted, not listed."""
    found = sorted((c for c in classes if c[1] > 1), key=lambda f: f[2])
    single = len(classes) - len(found)
    if len(found) > 2 * CLASSES_SHOWN:
        shown = [*found[:CLASSES_SHOWN], *found[-CLASSES_SHOWN:]]
        note = f"The {CLASSES_SHOWN} lowest and highest of {len(found)} classes, of few images each."
    else:
        shown, note = found, f"All {len(found)} classes, lowest first."
    if single:
        note += f" {single} classes of one image are left out: their values are 0 or 100."
    return section("Classes", table=_value_table(shown, "class"), note=note)


def _energy(energy: Mapping[str, Any]) -> dict[str, Any]:
    rows = [
        (name, e["num_images"], e["value"], tuple(e["ci95"]) if e["ci95"] else None)
        for name, e in energy.items()
    ]
    table = _value_table(rows, "where")
    table["columns"][2] = "share of energy, %"
    return section(
        "Where the map's energy lies",
        lead="Share of the positive part of the map on the object and on each of its parts.",
        table=table,
    )


def _means(
    image: PerImage, groups: npt.NDArray[np.integer], names: Sequence[str], bootstrap: Bootstrap
) -> list[Values]:
    member = np.stack([groups == g for g in range(len(names))], axis=1) & image.scored[:, None]
    values = np.repeat(image.hit.mean(1, dtype=np.float32)[:, None], len(names), 1)
    means, boot = means_of_images(values, member, bootstrap)
    found: list[Values] = []
    for k, name in enumerate(names):
        count = int(member[:, k].sum())
        if count:
            interval = score_interval(means[k], float(np.nanvar(boot[k])), count) if boot.shape[1] else None
            found.append((name, count, float(means[k]), interval))
    return found


def _value_table(found: Sequence[Values], first: str) -> dict[str, Any]:
    rows = []
    for name, count, value, ci in found:
        strip = charts.interval_strip(value, ci, 100, low=0)
        rows.append([name, f"{count:,}", f"{value:.1f}", strip, f"[{ci[0]:.1f}, {ci[1]:.1f}]" if ci else "–"])
    return {"columns": [first, "images", "localized, %", "0 to 100 %", "95 % interval"], "rows": rows}
