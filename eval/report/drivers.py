"""The sections below a comparison's gallery: controls, every recorded analysis, and what drives the difference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from eval.analysis.error_costs import REPAIRED
from eval.analysis.error_kinds import KINDS, THRESHOLDS
from eval.comparison.decomposition import WORDS as TERM_WORDS
from eval.comparison.terminal import interaction_text, multiverse_text, sign_words, tested
from eval.report import charts
from eval.report.measures_sections import compared_sections
from eval.report.numbers import interval, published_text, signed
from eval.report.sections import difference_section, largest, section, strip

CLASSES_SHOWN = 10

Section = dict[str, Any]
Entry = Mapping[str, Any]


def driver_sections(entry: Entry) -> list[Section]:
    """Every section that one comparison (an entry of compare.json's `comparisons`) has something for."""
    return [
        *_controls(entry),
        *compared_sections(entry),
        *_analyses(entry),
        *_top1_splits(entry),
        *_thresholds(entry),
        *_normalizations(entry),
        *_groups(entry),
        *_errors(entry),
        *_costs(entry),
        *_parts(entry),
    ]


def _controls(entry: Entry) -> Iterator[Section]:
    """Each control's differences to both methods."""
    for c in entry["controls"]:
        yield difference_section(
            f"{c['method']} against {c['said']}",
            [(name, p, p["verdict"]) for name, p in c["protocols"].items()],
            c["method"],
            first="protocol",
            lead=c["sentence"],
            note=f"First column of numbers: {c['said']}."
            + (
                f" Verdicts with p adjusted over these protocols; {c['primary']} alone."
                if tested(c["protocols"])
                else ""
            ),
            first_name=c["said"],
        )


def _analyses(entry: Entry) -> Iterator[Section]:
    if entry["multiverse"]:
        chart = charts.specification_chart(entry["multiverse"]["analyses"], "All analyses")
        yield section(
            "Every recorded analysis of these maps",
            lead=multiverse_text(entry["multiverse"], entry),
            stacks=[{"name": "", "svg": chart}],
            note="One column an analysis, smallest difference first: difference with its 95 % interval, then "
            "the choices made. Filled: a verdict after correction over all columns (max-T).",
        )


def _top1_splits(entry: Entry) -> Iterator[Section]:
    for name, d in entry["drivers"].get("top_loc", {}).items():
        if name == "top5_loc":
            continue
        f = d["factors"]
        by_method = "; ".join(
            f"{words} {f[k]['baseline']:.1f} and {f[k]['other']:.1f} %"
            for k, words in (
                ("correct", "classified correctly"),
                ("localized", "localized at the threshold used"),
                ("best", "localized at the best threshold"),
            )
        )
        yield section(
            f"{name} split",
            lead=f"Stands out: {d['in_words']}." if d["largest"] else f"{d['in_words'].capitalize()}.",
            table=_terms(d["terms"]),
            note=f"The parts add up to the difference. By method: {by_method}.",
        )


def _terms(terms: Entry) -> dict[str, Any]:
    entries = {key: {**t, "difference": t["value"]} for key, t in terms.items()}
    limit = largest(entries.values())
    rows = [
        [TERM_WORDS[key].split(":")[0], signed(e["difference"]), strip(e, limit)]
        + ([interval(e["ci95"])] if tested(entries) else [])
        for key, e in entries.items()
    ]
    columns = ["part of the difference", "points", "", *(["95 % interval"] if tested(entries) else [])]
    return {"columns": columns, "rows": rows}


def _thresholds(entry: Entry) -> Iterator[Section]:
    for family in entry["drivers"].get("threshold", []):
        best = "; ".join(
            f"at IoU {100 * b['iou']:g} % the best thresholds are {b['best_threshold_baseline']:.3f} and "
            f"{b['best_threshold_other']:.3f}, and reading each method at the other's costs "
            f"{b['baseline_loss_at_others_threshold']:.1f} and {b['other_loss_at_baselines_threshold']:.1f} points"
            for b in family.get("best_thresholds", [])
        )
        sign = sign_words(family)
        yield difference_section(
            f"How the threshold is chosen, {next(iter(family['rules']))}",
            [(r["rule"], entry["protocols"][name], name) for name, r in family["rules"].items()],
            entry["other"],
            first="rule",
            lead=f"{sign[:1].upper()}{sign[1:]}." if sign else "",
            note=best[:1].upper() + best[1:] + ("." if best else ""),
        )


def _normalizations(entry: Entry) -> Iterator[Section]:
    for base, n in entry["drivers"].get("normalization", {}).items():
        yield difference_section(
            f"Normalisation of the maps, {base}",
            [(k, r, published_text(r["published"], 1)) for k, r in n["rules"].items()],
            entry["other"],
            first="normalisation",
            lead="The sign of the difference depends on the normalisation." if n["sign_flips"] else "",
            note="Each at its best threshold. Last column: published difference, where there is one.",
        )


def _groups(entry: Entry) -> Iterator[Section]:
    for key, title, first in (
        ("size", "Object size (share of the image)", "group"),
        ("instances", "Instances in the image", "group"),
        ("class", "Classes", "class"),
    ):
        group_of = entry["drivers"].get(key) or {"groups": []}
        groups = group_of["groups"]
        if len(groups) < 2:
            continue
        note = ""
        if key == "class":
            groups = sorted(groups, key=lambda g: g["difference"])
            groups = [g for g in groups if "shrunk" in g] or groups
            note = f"{len(groups)} of {len(group_of['groups'])} classes. "
            if len(groups) > 2 * CLASSES_SHOWN:
                groups = [*groups[:CLASSES_SHOWN], *groups[-CLASSES_SHOWN:]]
                note = f"The {CLASSES_SHOWN} largest losses and gains of {len(group_of['groups'])} classes. "
        lead = interaction_text(group_of)
        yield difference_section(
            title,
            [
                (
                    g["group"],
                    {**g, **(g.get("against_rest") or {"adjusted_p": None}), "difference": g["difference"]},
                    _share(g),
                )
                for g in groups
            ],
            entry["other"],
            first=first,
            lead=f"{lead[:1].upper()}{lead[1:]}.",
            note=note + _group_note(entry["main_protocol"], tested(entry["protocols"])),
        )


def _share(group: Entry) -> str:
    shrunk = f", shrunk {signed(group['shrunk'], 1)}" if "shrunk" in group else ""
    return f"{group['images']:,} images, gives {signed(group['contribution'], 1)}{shrunk}"


def _group_note(main: str | None, law: bool) -> str:
    said = f"By {main}, each run at the threshold it has on the whole set; the groups' parts add up to the difference."
    if not law:
        return said
    return (
        f"{said} A group is marked where its difference is not that of the other images (adjusted over the groups); "
        "under 30 images there is no interval. Shrunk: drawn towards the mean by as much as noise explains the groups' "
        "spread."
    )


def _errors(entry: Entry) -> Iterator[Section]:
    errors = entry["drivers"].get("errors")
    if not errors:
        return
    shares, t = errors["shares"], THRESHOLDS
    stacks = [
        {
            "name": entry[side],
            "svg": charts.stacked_bar(
                {k: shares[k][side] if k in shares else 0.0 for k in KINDS}, f"Error kinds of {entry[side]}"
            ),
        }
        for side in ("baseline", "other")
    ]
    yield difference_section(
        "Kinds of error",
        [(k, d, "") for k, d in shares.items()],
        entry["other"],
        first="kind",
        stacks=stacks,
        kinds=[k if k in shares else f"{k}: nothing predicts a class" for k in KINDS],
        note=f"By {entry['main_protocol']}. The first that fits: classification: the top class is wrong; "
        f"multi-instance: of several true boxes more than one is covered by over "
        f"{100 * t['multi_instance_covered']:.0f} %; part: over {100 * t['part_inside']:.0f} % of the predicted "
        f"box lies in the true one; more: at least {100 * t['more_covered']:.0f} % of the true box is covered; other: "
        "none of these (TS-CAM, ICCV 2021).",
    )


def _costs(entry: Entry) -> Iterator[Section]:
    costs = entry["drivers"].get("errors", {}).get("costs")
    if costs:
        yield difference_section(
            "What each error costs",
            [(name, d, REPAIRED[name]) for name, d in costs.items()],
            entry["other"],
            first="repair",
            note=f"Points that a perfect repair of this alone would give under {entry['main_protocol']} ("
            f"{'class and box' if 'class' in costs else 'box'} right). Repairs overlap, so they do not add up.",
        )


def _parts(entry: Entry) -> Iterator[Section]:
    parts = entry["drivers"].get("parts", {})
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
            yield difference_section(title, found, entry["other"], first="part", lead=words)
