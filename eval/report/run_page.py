"""The page of one evaluated run."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.analysis.error_kinds import classify, true_boxes
from eval.analysis.evaluated import Evaluated, Unavailable, open_evaluated, open_manifest
from eval.analysis.per_image import PerImage, main_protocol, per_image
from eval.records.controls import CONTROLS
from eval.records.store import RecordStore
from eval.report import charts
from eval.report.first_screen import first_screen_of_run
from eval.report.gallery import build_gallery
from eval.report.measures_sections import pixel_ap_histogram
from eval.report.parts_of_page import (
    curve_block,
    curve_protocols,
    gallery_content,
    how,
    iou_histogram,
    json_details,
    precision_recall_points,
    run_facts,
    script_data,
)
from eval.report.render import render_page
from eval.report.run_sections import has_intervals, run_sections
from eval.report.sampling import pick_images
from eval.report.short_names import short_names
from eval.report.training_curves import training_figure
from eval.terminal.tables import displacement_text, images_counted, notes, part_notes, threshold_text
from wsol.files.atomic_write import write_durably
from wsol.runs.find import newest_run

if TYPE_CHECKING:
    from wsol.manifest import Manifest, Split


def write_run_page(
    run: Evaluated,
    file: Path,
    *,
    pictures: int = 200,
    seed: int = 0,
    dataset: str | None = None,
    data_root: str | os.PathLike[str] | None = None,
) -> Path:
    """Write the page of a run; returns its path. Without the dataset at hand it has no pictures, and says so."""
    opened = open_manifest(run, dataset, data_root)
    protocols = list(run.protocols.values())
    main = main_protocol(protocols)
    image = per_image(run.store, main, run.thresholds(main.name)) if main else None
    curves = curve_protocols([run])
    drawn, curve_data = curve_block([run], curves)
    notes: dict[str, str] = {}
    gallery, sections, classes = None, [], _class_names(opened, run)
    total = run.store.index.num_images
    if isinstance(opened, Unavailable):
        notes["images, classes and error kinds"] = opened.reason
    elif main is not None and image is not None:
        manifest, split = opened
        boxes, offsets = true_boxes(split, run.store.index.frame(main.channel))
        kinds = classify(image, boxes, offsets)
        sections = run_sections(run, image, kinds, split, manifest, main.name, seed)
        if not isinstance(run.store, RecordStore):
            notes["images"] = "a control sees no image, so it has no maps to show"
        elif curves and pictures > 0:
            picked = pick_images(image.iou[:, None], image.scored, pictures, seed)
            gallery = build_gallery([run], curves, picked, {str(run.folder): kinds}, manifest, split)
    headline, basis = _headline(run)
    content = {
        "title": f"{run.name}: localization on {run.dataset}",
        "kicker": f"Localization report, {run.name}",
        "headlines": [headline],
        "first": first_screen_of_run(run, basis) if run.results["protocols"] else None,
        "said": [_about(run)],
        "about": "",
        "answers": [],
        "methods": [run.method],
        "legends": [f"{run.name}" + (f", seed {run.seed}" if run.seed is not None else "")],
        "caveats": _caveats(run),
        "comparison": False,
        "tables": [_table(run)] if run.results["protocols"] else [],
        "absent": run.results["not_computed"],
        "charts": drawn,
        "threshold_lead": (
            "Each image counts as localized where the box of its map above the threshold overlaps a true box enough. "
            "The curve's highest point is what the best threshold on this split gives."
        ),
        "gallery": gallery_content(gallery, classes, [run], total) if gallery else None,
        "drivers_title": "Where it fails",
        "sections": sections,
        "not_analysed": notes,
        "distributions": _distributions(run, image, main),
        "facts": _facts(run),
        "details": [
            json_details("Training configuration", run.results["provenance"].get("training") or {}),
            json_details(
                "Definition of every protocol",
                {k: v["definition"] for k, v in run.results["protocols"].items()},
            ),
            json_details("Counts", run.results["counts"]),
        ],
    }
    data = script_data(gallery, curve_data, [run], classes, total)
    file.parent.mkdir(parents=True, exist_ok=True)
    return write_durably(file, render_page(content, data))


def _class_names(opened: tuple[Manifest, Split] | Unavailable, run: Evaluated) -> Sequence[str]:
    return () if isinstance(opened, Unavailable) else short_names(opened[0].classes)


def _headline(run: Evaluated) -> tuple[str, str]:
    """The answer in one sentence, and what it rests on."""
    entries = run.results["protocols"]
    control = run.results.get("controls", {}).get("center_gaussian", {})
    for name in ("maxboxacc_transferred", "maxboxacc", "gt_known_fixed"):
        if name in entries:
            entry = entries[name]
            ci = entry["ci95"]
            said = f"{run.method} localizes {entry['value']:.1f} % of {_which_images(run)}."
            rest = f"By {name} ({how(entry['definition'], run.results)})"
            rest += f", 95 % interval {ci[0]:.1f} to {ci[1]:.1f}" if ci else ""
            if name in control:
                rest += f". A Gaussian at the centre, which looks at no image, reaches {control[name]['value']:.1f} %"
            return said, rest + "."
    if not entries:
        reasons = "; ".join(f"{name} ({why})" for name, why in run.results["not_computed"].items())
        return f"{run.method} on {_which_images(run)}: no protocol could be computed: {reasons}.", ""
    first = next(iter(entries))
    return f"{run.method} on {_which_images(run)}: {first} {entries[first]['value']:.1f}.", ""


def _which_images(run: Evaluated) -> str:
    """The images that a headline is about: how many, and that they are a part of the dataset, where they are."""
    scored, there = run.results["counts"]["scored"], run.results["num_images"]
    if part_notes(run.results):
        return f"{scored:,} {run.split} images, a part of {run.dataset.removeprefix('part of ')}"
    boxed = f"{scored:,} " if scored < there else ""
    return f"the {boxed}{run.split} images of {run.dataset}{' that have boxes' if boxed else ''}"


def _about(run: Evaluated) -> str:
    classification = run.results.get("classification", {})
    ranks = ", ".join(f"{k.replace('top', 'top-')} {v['value']:.1f} %" for k, v in classification.items())
    said = (
        "; ".join([f"{images_counted(run.results)} in {run.dataset}, {run.split}", *part_notes(run.results)])
        + "."
    )
    said += f" Classification: {ranks}." if ranks else ""
    for name, entry in run.results.get("displacement", {}).items():
        said += f" Box centres minus object centres, {name}: {displacement_text(entry)}."
    return said


def _caveats(run: Evaluated) -> list[str]:
    lines = [n.removeprefix("note: ") for n in notes(dict(run.results)) if n.startswith("note: ")]
    if any(e["definition"]["threshold"] == "oracle" for e in run.results["protocols"].values()):
        lines.append(
            "The best threshold on this split is chosen on the very images that are scored: an upper bound. The "
            "headline uses a threshold chosen on other images where there is one."
        )
    provenance = run.results["provenance"]
    about = f"Intervals are for new {run.split} images"
    if not run.results["protocols"]:
        pass  # the headline says why
    elif not has_intervals(run):
        lines.append("There are no intervals: it was scored without resamples (--bootstrap 0).")
    elif provenance.get("control") in CONTROLS:
        lines.append(f"{about}; a control is not trained.")
    elif provenance.get("classifier"):
        lines.append(f"{about} and these trained weights; they do not cover another training run.")
    else:
        lines.append(f"{about} and whatever made these maps or boxes, as it is.")
    if run.dataset == "parts":
        lines.append(
            "'parts' is composed from a seed to show mechanisms; it is no evidence about photographs."
        )
    return lines


def _table(run: Evaluated) -> dict[str, Any]:
    results = run.results
    controls = results.get("controls", {})
    gaussian, full = controls.get("center_gaussian", {}), controls.get("full_image", {})
    names = ["protocol", "value", "95 % interval", "threshold", "centre Gaussian", "full image"]
    rows = []
    for name, entry in results["protocols"].items():
        strip = charts.interval_strip(entry["value"], entry["ci95"], 100, low=0)
        ci = entry["ci95"]
        rows.append(
            {
                "name": name,
                "how": how(entry["definition"], results),
                "css": "",
                "cells": [
                    {"text": f"{entry['value']:.2f}", "css": "key"},
                    {"text": strip, "css": "wide", "small": f"[{ci[0]:.1f}, {ci[1]:.1f}]" if ci else "–"},
                    {"text": threshold_text(entry) or "–"},
                    {"text": f"{gaussian[name]['value']:.1f}" if name in gaussian else "–"},
                    {"text": f"{full[name]['value']:.1f}" if name in full else "–"},
                ],
            }
        )
    return {
        "title": "",
        "columns": [{"name": n, "css": "wide" if "interval" in n else ""} for n in names],
        "rows": rows,
        "caption": "Percent; the strip runs from 0 to 100. The two controls need no model: a Gaussian at the image's "
        "centre, and a box around the whole image.",
    }


def _distributions(run: Evaluated, image: PerImage | None, main: Any) -> list[dict[str, Any]]:
    found = []
    if image is not None:
        found.append(
            {
                "title": "How well boxes fit",
                "svg": iou_histogram([image], main.iou_thresholds[0]),
                "caption": f"IoU of every scored image under {main.name}, at its threshold of "
                f"{run.thresholds(main.name)[0]:.3f}.",
            }
        )
    found += pixel_ap_histogram([run])
    pxap = run.protocols.get("pxap")
    if pxap is not None:
        points = precision_recall_points(run, pxap)
        if points:
            found.append(
                {
                    "title": "Pixels against the mask",
                    "svg": charts.precision_recall([points], "Precision over recall of object pixels"),
                    "caption": f"Pooled over all images; PxAP {run.results['protocols']['pxap']['value']:.2f}.",
                }
            )
    trained = training_figure([run])
    return [*found, trained] if trained else found


def _facts(run: Evaluated) -> list[tuple[str, str]]:
    index = run.store.index
    return [
        ("dataset", f"{run.dataset}, {run.split}, {images_counted(run.results)}"),
        ("split hash", index.split_hash[:16]),
        *run_facts(run),
    ]


def report_run(
    folder: Path | None,
    out: Path | None,
    *,
    pictures: int,
    seed: int,
    dataset: str | None,
    data_root: Path | None,
) -> None:
    """Write the page of a scored run (None: the newest finished one) and say where it is."""
    run = open_evaluated(folder if folder is not None else newest_run())
    out = out or run.folder / "report.html"
    file = out if out.suffix in (".html", ".htm") else out / "report.html"
    write_run_page(run, file, pictures=pictures, seed=seed, dataset=dataset, data_root=data_root)
    sys.stdout.write(f"report: {file} ({file.stat().st_size / 1e6:.1f} MB)\n")
