"""The page of a comparison: the verdict first, then every protocol, then pictures, then what drives the difference."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eval.analysis.error_kinds import KINDS, THRESHOLDS, classify, true_boxes, without_class_unless_all
from eval.analysis.evaluated import Evaluated, Unavailable
from eval.analysis.per_image import PerImage
from eval.boxes.frames import Frame
from eval.comparison.build import Comparison
from eval.comparison.decomposition import WORDS as DRIVER_WORDS
from eval.comparison.terminal import (
    answer_lines,
    by_role,
    could_show,
    interaction_text,
    multiverse_text,
    populations,
    probability,
    sign_words,
    table_note,
)
from eval.records.store import RecordStore
from eval.report import charts
from eval.report.first_screen import first_screen, sentences
from eval.report.gallery import Gallery, build_gallery
from eval.report.numbers import interval, published_text, signed
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
from eval.report.sampling import pick_images
from eval.statistics.law import ALPHA
from wsol.files.atomic_write import write_durably

CLASSES_SHOWN = 10
_BLANK: dict[str, Any] = {
    "lead": "",
    "entries": None,
    "table": None,
    "stacks": None,
    "kinds": (),
    "note": "",
    "first": "",
    "limit": 0,
    "first_name": "",
}


def write_comparison_page(comparison: Comparison, file: Path, *, pictures: int = 200, seed: int = 0) -> Path:
    """Write the page; returns its path. Curves, gallery and histograms show one run per method: the first pair's."""
    content = comparison.content
    shown = [comparison.pairings[0].baseline[0], *(p.other[0] for p in comparison.pairings)]
    curves = curve_protocols(shown)
    drawn, curve_data = curve_block(shown, curves)
    main = content["comparisons"][0]["main_protocol"]
    gallery: Gallery | None = None
    classes: Sequence[str] = ()
    if not isinstance(comparison.manifest, Unavailable) and main is not None:
        manifest, split = comparison.manifest
        classes = manifest.classes
        if curves and pictures > 0 and all(isinstance(r.store, RecordStore) for r in shown):
            protocol = shown[0].protocols[main]
            boxes, offsets = true_boxes(split, Frame.of_channel(protocol.channel))
            images = [comparison.decisions[str(r.folder), main] for r in shown]
            asked = without_class_unless_all(images)
            kinds = {str(r.folder): classify(i, boxes, offsets) for r, i in zip(shown, asked)}
            picked = pick_images(np.stack([i.iou for i in images], axis=1), images[0].scored, pictures, seed)
            gallery = build_gallery(shown, curves, picked, kinds, manifest, split)
    entries = content["comparisons"]
    several = len(entries) > 1
    caveats = list(dict.fromkeys(c for e in entries for c in e["caveats"]))
    page = {
        "title": f"{' and '.join(e['name'] for e in entries)}: localization on {content['dataset']}",
        "kicker": f"Localization compared, {content['dataset']}, {content['split']}, {content['num_images']:,} images",
        "headlines": [sentences(e["headline"])[0] for e in entries],
        "said": [" ".join(sentences(e["headline"])[1:]) for e in entries],
        "first": first_screen(entries[0], shown[0]) if not several else None,
        "about": _about(content),
        "answers": [line for e in entries for line in answer_lines(e)],
        "methods": [r.method for r in shown],
        "legends": [_legend(entries, i) for i in range(len(shown))],
        "caveats": caveats,
        "comparison": True,
        "tables": [_table(e, content, shown[0], several) for e in entries],
        "absent": content["not_compared"],
        "charts": drawn,
        "threshold_lead": (
            "Each image counts as localised where the box of its map above the threshold overlaps a true box enough. "
            "A fixed threshold reads each method's curve at one place, an oracle at each one's own best."
        )
        + (_one_of_many(shown) if any(len(runs) > 1 for e in entries for runs in e["runs"].values()) else ""),
        "gallery": gallery_content(gallery, classes, shown, content["num_images"]) if gallery else None,
        "drivers_title": "What drives the difference",
        "sections": [s for e in entries for s in _sections(e, several)],
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


def _about(content: Mapping[str, Any]) -> str:
    s = content["settings"]
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


def _table(
    entry: Mapping[str, Any], content: Mapping[str, Any], run: Evaluated, several: bool
) -> dict[str, Any]:
    protocols = entry["protocols"]
    reach = [abs(v) for p in protocols.values() for v in (p["difference"], *(p["ci95"] or ()))]
    limit = max([1.0, *reach])
    rows = []
    for name, p in by_role(protocols):
        css = p["verdict"] if p["verdict"] in ("higher", "lower") else "none"
        rows.append(
            {
                "name": name + (" (primary)" if p["role"] == "primary" else ""),
                "how": how(p["definition"], run.results) + _flattery(p),
                "css": css,
                "cells": [
                    {"text": f"{p['baseline']:.2f}"},
                    {"text": f"{p['other']:.2f}"},
                    {"text": signed(p["difference"]), "css": "key"},
                    {
                        "text": charts.interval_strip(p["difference"], p["ci95"], limit, p["verdict"]),
                        "css": "wide",
                        "small": interval(p["ci95"]),
                    },
                    {"text": probability(p["adjusted_p"])},
                    {"text": could_show(p)},
                    {"text": published_text(p["published"]) or "–", "css": "note"},
                    {"text": _word(p["verdict"]), "css": "verdict"},
                ],
            }
        )
    columns = [
        {"name": "protocol"},
        {"name": entry["baseline"]},
        {"name": entry["other"]},
        {"name": "difference"},
        {"name": "95 % interval", "css": "wide"},
        {"name": "p"},
        {"name": "could show"},
        {"name": "published", "css": "text"},
        {"name": "verdict", "css": "text"},
    ]
    return {
        "title": entry["name"] if several else "",
        "columns": [{"css": "", **c} for c in columns],
        "rows": rows,
        "caption": f"Percent, and differences in percentage points. {' '.join(populations(protocols))} "
        f"{table_note(content)} 'Published' are differences printed for the data and network named: single runs "
        "without intervals (sources in compare.json).",
    }


def _flattery(p: Mapping[str, Any]) -> str:
    """By how much the best threshold on the scored images flatters either side."""
    a, b = p["optimism"]["baseline"], p["optimism"]["other"]
    return "" if a is None or b is None else f"; flattered by about {a:.1f} and {b:.1f}"


def _controls(entry: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each control's differences to both methods, as a section."""
    found = []
    for c in entry["controls"]:
        rows = [
            (name, {**p, "baseline": p["baseline"], "other": p["other"]}, p["verdict"])
            for name, p in c["protocols"].items()
        ]
        found.append(
            _section(
                f"{c['method']} against {c['said']}",
                rows,
                c["method"],
                first="protocol",
                lead=c["sentence"],
                note=f"First column of numbers: {c['said']}. Verdicts with p adjusted over these protocols; "
                f"{c['primary']} alone.",
                first_name=c["said"],
            )
        )
    return found


def _word(verdict: str) -> str:
    return {"higher": "▲ higher", "lower": "▼ lower", "equivalent": "= equivalent"}.get(verdict, verdict)


def _strips(
    found: Sequence[tuple[str, Mapping[str, Any], str]], other: str
) -> tuple[list[dict[str, Any]], float]:
    """Rows for the template's table of differences: (label, difference entry, note)."""
    reach = [abs(v) for _, e, _ in found for v in (e["difference"], *(e["ci95"] or ()))]
    limit = max([1.0, *reach])
    rows = []
    for label, e, note in found:
        ci = e["ci95"]
        decided = e.get("adjusted_p")
        verdict = "" if decided is None or decided >= ALPHA else "higher" if e["difference"] > 0 else "lower"
        rows.append(
            {
                "label": label,
                "baseline": e["baseline"],
                "other": e["other"],
                "difference": e["difference"],
                "ci95": ci,
                "strip": charts.interval_strip(e["difference"], ci, limit, verdict),
                "note": note,
                "other_name": other,
            }
        )
    return rows, limit


def _section(
    title: str, found: Sequence[tuple[str, Mapping[str, Any], str]], other: str, **more: Any
) -> dict[str, Any]:
    rows, limit = _strips(found, other)
    return {**_BLANK, "title": title, "entries": rows or None, "limit": limit, **more}


def _sections(entry: Mapping[str, Any], several: bool) -> list[dict[str, Any]]:
    drivers, other, main = entry["drivers"], entry["other"], entry["main_protocol"]
    sections: list[dict[str, Any]] = _controls(entry)
    if entry["multiverse"]:
        sections.append(
            {
                **_BLANK,
                "title": "Every recorded analysis of these maps",
                "lead": multiverse_text(entry["multiverse"], entry),
                "stacks": [
                    {
                        "name": "",
                        "svg": charts.specification_chart(entry["multiverse"]["analyses"], "All analyses"),
                    }
                ],
                "note": "One column an analysis, smallest difference first: difference with its 95 % interval, then "
                "the choices made. Filled: a verdict after correction over all columns (max-T).",
            }
        )
    for name, d in drivers.get("top_loc", {}).items():
        if name == "top5_loc":
            continue
        terms = [
            (
                key,
                {"baseline": 0.0, "other": 0.0, "difference": t["value"], **t},
                DRIVER_WORDS[key].split(":")[0],
            )
            for key, t in d["terms"].items()
        ]
        rows, _ = _strips(terms, other)
        table = {
            "columns": ["part of the difference", "points", "", "95 % interval"],
            "rows": [[r["note"], signed(r["difference"]), r["strip"], interval(r["ci95"])] for r in rows],
        }
        f = d["factors"]
        sections.append(
            {
                **_BLANK,
                "title": f"{name} split",
                "lead": f"Stands out: {d['in_words']}." if d["largest"] else f"{d['in_words'].capitalize()}.",
                "table": table,
                "note": "The parts add up to the difference. By method: "
                + "; ".join(
                    f"{words} {f[k]['baseline']:.1f} and {f[k]['other']:.1f} %"
                    for k, words in (
                        ("correct", "classified correctly"),
                        ("localized", "localised at the threshold used"),
                        ("best", "localised at the best threshold"),
                    )
                )
                + ".",
            }
        )
    for family in drivers.get("threshold", []):
        found = [(r["rule"], {**entry["protocols"][name]}, name) for name, r in family["rules"].items()]
        best = "; ".join(
            f"at IoU {100 * b['iou']:g} % the best thresholds are {b['best_threshold_baseline']:.3f} and "
            f"{b['best_threshold_other']:.3f}, and reading each method at the other's costs "
            f"{b['baseline_loss_at_others_threshold']:.1f} and {b['other_loss_at_baselines_threshold']:.1f} points"
            for b in family.get("best_thresholds", [])
        )
        sign = sign_words(family)
        sections.append(
            _section(
                "How the threshold is chosen",
                found,
                other,
                first="rule",
                lead=f"{sign[:1].upper()}{sign[1:]}." if sign else "",
                note=best[:1].upper() + best[1:] + ("." if best else ""),
            )
        )
    for base, n in drivers.get("normalization", {}).items():
        found = [(k, r, published_text(r["published"], 1)) for k, r in n["rules"].items()]
        sections.append(
            _section(
                f"Normalisation of the maps, {base}",
                found,
                other,
                first="normalisation",
                lead="The sign of the difference depends on the normalisation." if n["sign_flips"] else "",
                note="Each at its best threshold. Last column: published difference, where there is one.",
            )
        )
    for key, title, first in (
        ("size", "Object size (share of the image)", "group"),
        ("instances", "Instances in the image", "group"),
        ("class", "Classes", "class"),
    ):
        group_of = drivers.get(key) or {"groups": []}
        groups = (
            sorted(group_of["groups"], key=lambda g: g["difference"])
            if key == "class"
            else group_of["groups"]
        )
        if len(groups) < 2:
            continue
        note = ""
        if key == "class":
            groups = [g for g in groups if "shrunk" in g] or groups
            note = f"{len(groups)} of {len(group_of['groups'])} classes. "
            if len(groups) > 2 * CLASSES_SHOWN:
                groups = [*groups[:CLASSES_SHOWN], *groups[-CLASSES_SHOWN:]]
                note = f"The {CLASSES_SHOWN} largest losses and gains of {len(group_of['groups'])} classes. "
        found = [
            (
                g["group"],
                {**g, **(g.get("against_rest") or {"adjusted_p": None}), "difference": g["difference"]},
                _share(g),
            )
            for g in groups
        ]
        lead = interaction_text(group_of)
        sections.append(
            _section(
                title,
                found,
                other,
                first=first,
                lead=f"{lead[:1].upper()}{lead[1:]}.",
                note=note + _group_note(main),
            )
        )
    errors = drivers.get("errors")
    if errors:
        shares, t = errors["shares"], THRESHOLDS
        stacks = [
            {
                "name": entry[side],
                "svg": charts.stacked_bar(
                    {k: shares[k][side] for k in KINDS}, f"Error kinds of {entry[side]}"
                ),
            }
            for side in ("baseline", "other")
        ]
        sections.append(
            _section(
                "Kinds of error",
                [(k, shares[k], "") for k in KINDS],
                other,
                first="kind",
                stacks=stacks,
                kinds=KINDS,
                note=f"By {main}. In this order: classification: the top class is wrong; multi-instance: of several "
                f"true boxes more than one is covered by over {100 * t['multi_instance_covered']:.0f} %; part: over "
                f"{100 * t['part_inside']:.0f} % of the predicted box lies in the true one; more: at least "
                f"{100 * t['more_covered']:.0f} % of the true box is covered (TS-CAM, ICCV 2021).",
            )
        )
    parts = drivers.get("parts", {})
    for key, title, words in (
        ("inside_box", "Parts inside the box", "Share of visible parts that the predicted box holds."),
        (
            "map_value",
            "Map value on the parts",
            "Map value on each part as a percentage of the map's mean over the whole object: does the map reach the "
            "less discriminative parts, or only the one that decides the class?",
        ),
    ):
        if parts.get(key):
            found = [(name, e, f"{e['images']:,} images") for name, e in parts[key].items()]
            sections.append(_section(title, found, other, first="part", lead=words))
    if several:
        for s in sections:
            s["title"] = f"{entry['name']}: {s['title']}"
    return sections


def _share(group: Mapping[str, Any]) -> str:
    shrunk = f", shrunk {signed(group['shrunk'], 1)}" if "shrunk" in group else ""
    return f"{group['images']:,} images, gives {signed(group['contribution'], 1)}{shrunk}"


def _group_note(main: str | None) -> str:
    return (
        f"By {main}, each run at the threshold it has on the whole set; the groups' parts add up to the difference. A "
        "group is marked where its difference is not that of the other images (adjusted over the groups); under 30 "
        "images there is no interval. Shrunk: drawn towards the mean by as much as noise explains the groups' spread."
    )


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
    return found


def _facts(comparison: Comparison) -> list[tuple[str, str]]:
    content = comparison.content
    provenance = content.get("provenance", {})
    facts = [
        ("dataset", f"{content['dataset']}, {content['split']}, {content['num_images']:,} images"),
        ("split hash", content["split_hash"][:16]),
        ("compared by", shlex.join(str(a) for a in provenance.get("command", []))),
        ("bootstrap", f"{content['settings']['resamples']:,} resamples, seed {content['settings']['seed']}"),
    ]
    first = run_facts(comparison.pairings[0].baseline[0])
    facts += [(k, v) for k, v in first if k in ("architecture", "commit", "versions")]
    return [(k, v) for k, v in facts if v]


def _provenance(run: Evaluated) -> dict[str, Any]:
    kept = dict(run.results["provenance"])
    kept.pop("maps", None)
    return kept
