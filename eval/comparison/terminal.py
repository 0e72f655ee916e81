"""The comparison as tables on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.table import Table

if TYPE_CHECKING:
    from rich.console import Console

_STYLE = {"higher": "bold green", "lower": "bold red", "no detectable difference": "dim"}


def signed(value: float | None, digits: int = 2) -> str:
    """A difference with its sign; a dash where undefined. Never '-0.00'."""
    if value is None:
        return "–"
    text = f"{value:+.{digits}f}"
    return text if float(text) != 0 else f"{0:.{digits}f}"


def interval(ci: list[float] | None) -> str:
    return f"[{signed(ci[0], 1)}, {signed(ci[1], 1)}]" if ci else "–"


def probability(p: float | None) -> str:
    """A p-value without false precision."""
    if p is None:
        return "–"
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def mcnemar_text(entry: Mapping[str, Any]) -> str:
    """p of McNemar's test; over several tests their range."""
    found = [t["p_value"] for t in entry.get("mcnemar", [])]
    if not found:
        return "–"
    low, high = probability(min(found)), probability(max(found))
    return low if low == high else f"{low} to {high}"


def published_text(entries: list[dict[str, Any]], limit: int = 2) -> str:
    """The closest published differences, such as 'CUB resnet50 +5.40'."""
    return "\n".join(f"{e['dataset']} {e['arch']} {signed(e['difference'])}" for e in entries[:limit])


def protocol_table(entry: Mapping[str, Any], content: Mapping[str, Any]) -> Table:
    """One row per protocol."""
    table = Table(
        title=f"{entry['other']} against {entry['baseline']} on {content['dataset']}, {content['split']}: "
        f"{content['num_images']} images, percent",
        title_justify="left",
    )
    table.add_column("protocol", no_wrap=True)
    numbers = ("difference", "95 % interval", "McNemar p", "could show", "published")
    for name in (entry["baseline"], entry["other"], *numbers):
        table.add_column(
            name, justify="left" if name == "published" else "right", no_wrap=name == "published"
        )
    table.add_column("verdict", no_wrap=True)
    for name, p in entry["protocols"].items():
        rule = p["definition"]["threshold"]
        table.add_row(
            name + (" (oracle)" if rule == "oracle" else ""),
            f"{p['baseline']:.2f}",
            f"{p['other']:.2f}",
            signed(p["difference"]),
            interval(p["ci95"]),
            mcnemar_text(p),
            "–"
            if p["minimal_detectable_difference"] is None
            else f"±{p['minimal_detectable_difference']:.1f}",
            published_text(p["published"], 1),
            p["verdict"],
            style=_STYLE.get(p["verdict"]),
        )
    return table


def sign_words(family: Mapping[str, Any]) -> str:
    """Whether the sign depends on the rule for the threshold; empty where all rules agree. Estimates of either sign are
    no evidence of it while their intervals hold zero."""
    if family["sign_agrees"]:
        return ""
    clear = {
        r["ci95"][0] > 0 for r in family["rules"].values() if r["ci95"] and r["ci95"][0] * r["ci95"][1] > 0
    }
    if clear == {True, False}:
        return "the sign depends on the rule"
    return "estimates differ in sign between rules, but not clearly: intervals hold zero"


def driver_lines(entry: Mapping[str, Any]) -> list[str]:
    """What drives the difference, one line an analysis."""
    lines: list[str] = []
    drivers = entry["drivers"]
    for name, d in drivers.get("top_loc", {}).items():
        terms = ", ".join(f"{k} {signed(t['value'])} {interval(t['ci95'])}" for k, t in d["terms"].items())
        lines.append(f"{name}: {terms}; {d['in_words']}")
    for family in drivers.get("threshold", []):
        rules = ", ".join(f"{r['rule']} {signed(r['difference'])}" for r in family["rules"].values())
        verdict = sign_words(family) or "same sign"
        distance = "; ".join(
            f"best thresholds at IoU {b['iou']:g}: {b['best_threshold_baseline']:.3f} and "
            f"{b['best_threshold_other']:.3f} ({signed(b['distance'], 3)})"
            for b in family.get("best_thresholds", [])
        )
        lines.append(f"threshold rule: {rules} ({verdict}); {distance}")
    for base, n in drivers.get("normalization", {}).items():
        rules = ", ".join(
            f"{k} {signed(r['difference'])} {interval(r['ci95'])}" for k, r in n["rules"].items()
        )
        lines.append(f"{base} by normalisation: {rules}" + ("; the sign flips" if n["sign_flips"] else ""))
    for key, label in (("size", "object size"), ("instances", "instances")):
        if drivers.get(key):
            rows = ", ".join(
                f"{g['group']} {signed(g['difference'])} {interval(g['ci95'])} (n={g['images']})"
                for g in drivers[key]
            )
            lines.append(f"{entry['main_protocol']} by {label}: {rows}")
    if drivers.get("class"):
        ordered = sorted(drivers["class"], key=lambda g: g["contribution"])
        ends = [*ordered[:3], *ordered[-3:]] if len(ordered) > 6 else ordered
        rows = ", ".join(f"{g['group'][:24]} {signed(g['difference'], 1)}" for g in ends)
        lines.append(f"{entry['main_protocol']} by class (extremes of {len(ordered)}): {rows}")
    if drivers.get("errors"):
        rows = ", ".join(
            f"{k} {v['baseline']:.1f} -> {v['other']:.1f}" for k, v in drivers["errors"]["shares"].items()
        )
        lines.append(f"kinds of outcome, percent of images: {rows}")
    for key, label in (
        ("inside_box", "inside the box"),
        ("map_value", "map value, percent of the object's mean"),
    ):
        if drivers.get("parts", {}).get(key):
            rows = ", ".join(
                f"{k} {v['baseline']:.0f} -> {v['other']:.0f}" for k, v in drivers["parts"][key].items()
            )
            lines.append(f"parts, {label}: {rows}")
    lines += [f"not analysed: {k}: {v}" for k, v in entry["not_analysed"].items()]
    return lines


def print_comparison(console: Console, content: Mapping[str, Any]) -> None:
    """Verdict first, then the table, then what drives it, then what it does not show."""
    for entry in content["comparisons"]:
        console.print(entry["headline"], style="bold", markup=False)
        console.print(protocol_table(entry, content))
        for line in driver_lines(entry):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        for line in (*entry["caveats"], *(f"left out: {r}" for r in entry["left_out"])):
            console.print(f"note: {line}", markup=False, highlight=False, soft_wrap=True)
    for name, reason in content["not_compared"].items():
        console.print(f"not compared: {name}: {reason}", markup=False, highlight=False, soft_wrap=True)
    s = content["settings"]
    console.print(
        f"Verdicts: corrected p < {s['alpha']} ({s['correction']}). 'Could show' is the true difference that this test "
        f"set would detect with a chance of {100 * s['power']:.0f} %, uncorrected.",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
