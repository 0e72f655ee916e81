"""From finished records to results.json and the pictures beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.analysis.error_costs import best_iou_of_images, costs_of_errors, repaired
from eval.analysis.error_kinds import true_boxes
from eval.analysis.per_image import main_protocol, per_image
from eval.boxes.frames import Frame
from eval.metrics.displacement import displacements
from eval.metrics.outcomes import NotComputed, Summary
from eval.metrics.results_json import (
    Column,
    counts,
    curve_bands_json,
    curves_json,
    means_with_intervals,
    measures_json,
    protocol_entries,
    write_results,
)
from eval.metrics.summarize import chosen_thresholds, summarize
from eval.pictures.random_images import draw_gallery
from eval.protocols import channels_of
from eval.records.controls import CONTROLS, ControlRecords
from eval.terminal.tables import odd_maps
from wsol.errors import UserError
from wsol.files.atomic_write import remove_unfinished
from wsol.machine.provenance import command_line, git_state, software_versions
from wsol.wrapping import tell

if TYPE_CHECKING:
    from eval.evaluation.plan import Plan
    from eval.evaluation.subject import Subject
    from eval.metrics.bootstrap import Bootstrap
    from eval.metrics.outcomes import Outcome
    from eval.records.judged import JudgedRecords
    from eval.records.store import Records
    from wsol.manifest import Manifest, Split


FEW_CLASSES = "5 classes or fewer: every class is among the five"
WHOLE_IMAGE = 0.95
"""A box of at least this share of the image is counted as one around all of it."""


def conclude(plan: Plan, subject: Subject, found: Mapping[str, JudgedRecords]) -> tuple[Path, dict[str, Any]]:
    """Summarize finished records, by split role, and write results.json and pictures; its path and its content."""
    split, role = subject.manifest.split(plan.split), plan.threshold_split
    records = found[plan.split].records
    taus = chosen_thresholds(found[role].records, plan.protocols, plan.bootstrap) if role else {}
    outcomes = summarize(
        records,
        plan.protocols,
        thresholds=taus,
        why_no_threshold=plan.why_no_threshold,
        bootstrap=plan.bootstrap,
    )
    means = means_with_intervals(records, _columns(records), plan.bootstrap)
    classification: dict[str, Any] = {k: means.pop(k) for k in ("top1", "top5") if k in means}
    few = _few_classes(subject, classification)
    if few:
        outcomes = {name: _without_top5(outcome) for name, outcome in outcomes.items()}
    computed, absent = protocol_entries(outcomes)
    if role:
        for line in odd_maps(
            counts(found[role].records, plan.wanted(role).channels), "boxes" in subject.provenance
        ):
            tell(f"note: {role}, where thresholds are chosen: {line}")
    tally = counts(records, channels_of(plan.protocols))
    tally["surplus_map"] = len(_surplus(plan, found))
    if few:
        del classification["top5"]
    measures = measures_json(records, plan.bootstrap)
    judged = records.index.maps.get("kind") != "control"
    beside = displacements(records, split, outcomes, plan.bootstrap) if judged else {}
    content: dict[str, Any] = {
        "dataset": subject.manifest.dataset,
        "split": plan.split,
        "threshold_split": role,
        "num_images": len(split),
        "split_hash": records.index.split_hash,
        "title": subject.title,
        "protocols": computed,
        "not_computed": absent,
        "counts": tally,
        "classification": classification,
        **({"energy": means} if means else {}),
        **({"measures": measures} if measures else {}),
        **({"displacement": beside} if beside else {}),
        **_error_costs(records, split, outcomes, plan.bootstrap),
        "controls": _controls(plan, subject.manifest, records) if len(split.boxes_xyxy) else {},
        "curves": curves_json(outcomes),
        "curve_bands": curve_bands_json(outcomes, plan.bootstrap),
        "provenance": _provenance(plan, subject, records),
    }
    path = write_results(subject.out, content)
    if plan.pictures and subject.manifest.root is not None:
        try:
            _draw(plan, subject, outcomes)
        except UserError as error:  # maps need no images to be scored, and the numbers stand
            tell(f"note: no pictures: {error}")
    return path, content


def _few_classes(subject: Subject, classification: Mapping[str, Any]) -> bool:
    """Whether the true class is among the network's first five by definition. Classes that others name need not be
    ranks among all classes: theirs are taken as they are."""
    network = subject.provenance.get("classifier") or {}
    return "top5" in classification and network.get("num_classes", 6) <= 5


def _without_top5(outcome: Outcome) -> Outcome:
    if isinstance(outcome, Summary) and outcome.protocol.class_gate == "top5":
        return NotComputed(outcome.protocol, FEW_CLASSES)
    return outcome


def _error_costs(
    records: Records, split: Split, outcomes: Mapping[str, Outcome], bootstrap: Bootstrap
) -> dict[str, Any]:
    """The entry `error_costs`: what repairing each kind of error alone would give under the main protocol."""
    computed = {name: o for name, o in outcomes.items() if isinstance(o, Summary)}
    main = main_protocol([o.protocol for o in computed.values()])
    if main is None:
        return {}
    image = per_image(records, main, computed[main.name].thresholds)
    boxes, offsets = true_boxes(split, records.index.frame(main.channel))
    found = repaired(image, best_iou_of_images(records, main), main, boxes, offsets)
    sides = image.box_xyxy[:, 2:] - image.box_xyxy[:, :2] + 1.0
    whole = image.scored & (sides.prod(1) >= WHOLE_IMAGE * records.index.frame(main.channel).size ** 2)
    costs = costs_of_errors(found, bootstrap)
    return {"error_costs": {"protocol": main.name, "whole_image_boxes": int(whole.sum()), **costs}}


def _surplus(plan: Plan, found: Mapping[str, JudgedRecords]) -> set[str]:
    """Names that belong to no image: where one place serves several splits, to no image of any."""
    names = set(found[plan.split].surplus)
    for other in found.values():
        if other.shared:
            names &= set(other.surplus)
    return names


def _controls(plan: Plan, manifest: Manifest, beside: Records) -> dict[str, Any]:
    """Each control under every protocol of boxes that asks for no class, in the frames of the records `beside`."""
    input_size = beside.index.maps.get("input_size")
    boxes = [p for p in plan.protocols if p.metric == "box_accuracy" and p.class_gate == "none"]
    entries = {}
    for name in CONTROLS:
        records = {
            r: ControlRecords(name, manifest, manifest.split(r), r, channels_of(boxes), input_size=input_size)
            for r in plan.roles
        }
        taus = (
            chosen_thresholds(records[plan.threshold_split], boxes, plan.bootstrap)
            if plan.threshold_split
            else {}
        )
        outcomes = summarize(records[plan.split], boxes, thresholds=taus, bootstrap=plan.bootstrap)
        entries[name] = {k: _brief(v, name) for k, v in protocol_entries(outcomes)[0].items()}
    return entries


def _brief(entry: dict[str, Any], control: str) -> dict[str, Any]:
    kept: dict[str, Any] = {k: entry[k] for k in ("value", "ci95", "per_iou", "threshold") if k in entry}
    if control == "full_image":
        kept.pop("threshold", None)  # the same box at every threshold
    return kept


def _columns(records: Records) -> dict[str, Column]:
    """Per-image measures that results.json gives the means of: class ranks, and energy on the object and its parts."""
    columns = {"top1": Column("top1"), "top5": Column("top5"), "object": Column("energy_object")}
    return columns | {part: Column("energy_parts", i) for i, part in enumerate(records.index.part_names)}


def _provenance(plan: Plan, subject: Subject, records: Records) -> dict[str, Any]:
    return {
        **subject.provenance,
        "manifest_hash": subject.manifest.hash(),
        "notes": list(subject.manifest.notes),
        "maps": records.index.maps,
        "config": dict(plan.settings),
        "seeds": {"bootstrap": plan.bootstrap.seed},
        "versions": software_versions(),
        "git": git_state(),
        "command": command_line(),
    }


def _draw(plan: Plan, subject: Subject, outcomes: Mapping[str, Outcome]) -> None:
    drawable = [
        o for o in outcomes.values() if isinstance(o, Summary) and o.protocol.metric == "box_accuracy"
    ]
    summary = next((o for o in drawable if o.protocol.pictured), drawable[0] if drawable else None)
    if summary is None:
        return
    split = subject.manifest.split(plan.split)
    frame = Frame.of_channel(summary.protocol.channel)
    source = subject.judged.maps(split, plan.split, subject.out, frame)
    if source is None:
        return
    remove_unfinished(subject.out / "pictures")
    draw_gallery(
        subject.manifest,
        split,
        source,
        summary,
        file=subject.out / "pictures" / f"{plan.split}.png",
        count=plan.pictures,
        seed=plan.bootstrap.seed,
        title=subject.title,
    )
