"""The page of a comparison: the verdict first, then every protocol, then pictures, then what drives the difference."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eval.analysis.error_kinds import classify, true_boxes, without_class_unless_all
from eval.analysis.evaluated import Evaluated, Unavailable
from eval.analysis.per_image import PerImage
from eval.comparison.build import Comparison
from eval.comparison.terminal import answer_lines
from eval.records.store import RecordStore
from eval.report import charts
from eval.report.band_charts import band_figures
from eval.report.comparison_table import comparison_table
from eval.report.drivers import driver_sections
from eval.report.errors_by_class import errors_by_class
from eval.report.first_screen import first_screen, sentences
from eval.report.gallery import Gallery, build_gallery
from eval.report.measures_sections import pixel_ap_histogram
from eval.report.parts_of_page import (
    curve_block,
    curve_protocols,
    gallery_content,
    iou_histogram,
    json_details,
    precision_recall_points,
    run_facts,
    script_data,
)
from eval.report.render import render_page
from eval.report.sampling import pick_images
from eval.report.short_names import short_names
from eval.report.training_curves import training_figure
from eval.terminal.tables import images_counted
from wsol.files.atomic_write import write_durably


def write_comparison_page(comparison: Comparison, file: Path, *, pictures: int = 200, seed: int = 0) -> Path:
    """Write the page; returns its path. Curves, gallery and histograms show one run per method: the first pair's."""
    content = comparison.content
    shown = [comparison.pairings[0].baseline[0], *(p.other[0] for p in comparison.pairings)]
    curves = curve_protocols(shown)
    drawn, curve_data = curve_block(shown, curves)
    main = content["comparisons"][0]["main_protocol"]
    gallery: Gallery | None = None
    classes: Sequence[str] = ()
    failures: list[dict[str, Any]] = []
    if not isinstance(comparison.manifest, Unavailable) and main is not None:
        manifest, split = comparison.manifest
        classes = short_names(manifest.classes)
        if curves and pictures > 0 and all(isinstance(r.store, RecordStore) for r in shown):
            protocol = shown[0].protocols[main]
            boxes, offsets = true_boxes(split, shown[0].store.index.frame(protocol.channel))
            images = [comparison.decisions[str(r.folder), main] for r in shown]
            asked = without_class_unless_all(images)
            kinds = {str(r.folder): classify(i, boxes, offsets) for r, i in zip(shown, asked)}
            if len(classes) > 1:
                by_method = {r.method: kinds[str(r.folder)] for r in shown}
                failures = [errors_by_class(images[0].label, by_method, classes)]
            picked = pick_images(np.stack([i.iou for i in images], axis=1), images[0].scored, pictures, seed)
            gallery = build_gallery(shown, curves, picked, kinds, manifest, split)
    entries = content["comparisons"]
    several = len(entries) > 1
    caveats = list(dict.fromkeys(c for e in entries for c in e["caveats"]))
    page = {
        "title": f"{' and '.join(e['name'] for e in entries)}: localization on {content['dataset']}",
        "kicker": f"Localization compared, {_which_data(content, shown[0])}",
        "headlines": [sentences(e["headline"])[0] for e in entries],
        "said": [" ".join(sentences(e["headline"])[1:]) for e in entries],
        "first": first_screen(entries[0]) if not several else None,
        "about": _about(content),
        "answers": [line for e in entries for line in answer_lines(e)],
        "methods": [r.method for r in shown],
        "legends": [_legend(entries, i) for i in range(len(shown))],
        "caveats": caveats,
        "comparison": True,
        "tables": [comparison_table(e, content, shown[0], several) for e in entries],
        "absent": content["not_compared"],
        "charts": drawn,
        "threshold_lead": (
            "Each image counts as localized where the box of its map above the threshold overlaps a true box enough. "
            "A fixed threshold reads each method's curve at one place, the best threshold each at its highest point."
        )
        + (_one_of_many(shown) if any(len(runs) > 1 for e in entries for runs in e["runs"].values()) else ""),
        "bands": [b for e in entries for b in band_figures(e)],
        "gallery": gallery_content(gallery, classes, shown, content["num_images"]) if gallery else None,
        "drivers_title": "What drives the difference",
        "sections": [*(_named(s, e, several) for e in entries for s in driver_sections(e)), *failures],
        "not_analysed": {k: v for e in entries for k, v in e["not_analysed"].items()},
        "distributions": _distributions(comparison, shown, main),
        "facts": _facts(comparison),
        "details": [
            *(json_details(f"Provenance of {r.name}", _provenance(r)) for r in shown),
            json_details(
                "Definition of every protocol",
                {k: v["definition"] for k, v in entries[0]["protocols"].items()},
            ),
        ],
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    data = script_data(gallery, curve_data, shown, classes, content["num_images"])
    return write_durably(file, render_page(page, data))


def _which_data(content: Mapping[str, Any], run: Evaluated) -> str:
    """Dataset, split and number of images, which are those of every run."""
    return f"{content['dataset']}, {content['split']}, {images_counted(run.results)}"


def _about(content: Mapping[str, Any]) -> str:
    s = content["settings"]
    if not s["resamples"]:
        return "Compared without resamples: no intervals, and nothing was tested."
    return (
        f"{interval_words(content)} {s['resamples']:,} bootstrap resamples of the "
        f"{'classes' if s['cluster'] else 'images'}, the same for both."
    )


def interval_words(content: Mapping[str, Any]) -> str:
    """What the interval of the headline is about."""
    primary = content["primary"]["name"]
    found = dict.fromkeys(e["protocols"][primary]["population"] for e in content["comparisons"])
    return " ".join(f"The interval is about {words}." for words in found)


def _legend(entries: Sequence[Mapping[str, Any]], number: int) -> str:
    runs = entries[0]["runs"]["baseline"] if number == 0 else entries[number - 1]["runs"]["other"]
    names = ", ".join(r["name"] for r in runs)
    return names if len(runs) < 4 else f"{len(runs)} runs"


def _one_of_many(shown: Sequence[Evaluated]) -> str:
    return (
        " Of several seeds these charts and images show one run each: "
        + ", ".join(r.name for r in shown)
        + "."
    )


def _named(section: dict[str, Any], entry: Mapping[str, Any], several: bool) -> dict[str, Any]:
    return {**section, "title": f"{entry['name']}: {section['title']}"} if several else section


def _distributions(
    comparison: Comparison, shown: Sequence[Evaluated], main: str | None
) -> list[dict[str, Any]]:
    found = []
    if main is not None:
        images: list[PerImage] = [comparison.decisions[str(r.folder), main] for r in shown]
        found.append(
            {
                "title": "How well boxes fit",
                "svg": iou_histogram(images, shown[0].protocols[main].iou_thresholds[0]),
                "caption": f"IoU of every scored image under {main}, each run at its own threshold.",
            }
        )
    found += pixel_ap_histogram(shown)
    if all("pxap" in r.protocols for r in shown):
        points = [precision_recall_points(r, r.protocols["pxap"]) for r in shown]
        if all(points):
            found.append(
                {
                    "title": "Pixels against the mask",
                    "svg": charts.precision_recall(points, "Precision over recall of object pixels"),
                    "caption": "Pooled over all images.",
                }
            )
    trained = training_figure(shown)
    return [*found, trained] if trained else found


def _facts(comparison: Comparison) -> list[tuple[str, str]]:
    content = comparison.content
    provenance, first = content.get("provenance", {}), comparison.pairings[0].baseline[0]
    facts = [
        ("dataset", _which_data(content, first)),
        ("split hash", content["split_hash"][:16]),
        ("compared by", shlex.join(str(a) for a in provenance.get("command", []))),
    ]
    if content["settings"]["resamples"]:
        facts.append(
            (
                "bootstrap",
                f"{content['settings']['resamples']:,} resamples, seed {content['settings']['seed']}",
            )
        )
    facts += [(k, v) for k, v in run_facts(first) if k in ("architecture", "commit", "versions")]
    return [(k, v) for k, v in facts if v]


def _provenance(run: Evaluated) -> dict[str, Any]:
    kept = dict(run.results["provenance"])
    kept.pop("maps", None)
    return kept
