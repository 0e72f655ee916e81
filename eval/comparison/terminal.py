"""The comparison as tables on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from rich.table import Table

from eval.comparison.controls import BESIDE, GAUSSIAN
from eval.comparison.verdicts import in_points
from eval.statistics.law import ALPHA
from eval.terminal.tables import table_of
from eval.terminal.text import print_table, print_text

if TYPE_CHECKING:
    from rich.console import Console

_STYLE = {"higher": "bold green", "lower": "bold red", "undecided": "dim"}


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


def published_text(entries: list[dict[str, Any]], limit: int = 2) -> str:
    """The closest published differences, such as 'CUB resnet50 +5.40'."""
    return "\n".join(f"{e['dataset']} {e['arch']} {signed(e['difference'])}" for e in entries[:limit])


def tested(entries: Mapping[str, Any]) -> bool:
    """Whether any of these differences has an interval and a p; without resamples none has."""
    return any(e["ci95"] for e in entries.values())


def with_interval(difference: float, ci95: list[float] | None, digits: int = 2) -> str:
    """A difference, and its interval where it has one."""
    return f"{signed(difference, digits)} {interval(ci95)}" if ci95 else signed(difference, digits)


def protocol_table(entry: Mapping[str, Any], content: Mapping[str, Any], *, narrow: bool = False) -> Table:
    """One row per protocol, the primary outcome first; `narrow` puts intervals under their differences, and names only
    the centre Gaussian of the controls, behind the two values. What was not tested has no columns of intervals, p and
    verdict."""
    law = tested(entry["protocols"])
    table = table_of(
        f"{entry['other']} against {entry['baseline']} on {content['dataset']}, {content['split']}: "
        f"{_images(content)}, percent",
        f"protocol\n  {entry['baseline']}, {entry['other']}\n  (centre Gaussian)" if narrow else "protocol",
        [
            *((entry["baseline"], entry["other"]) if not narrow else ()),
            "difference\n95 % interval" if narrow and law else "difference",
            *(() if not law else ("p",) if narrow else ("95 % interval", "p", "could\nshow")),
            *(words.replace(" ", "\n") for words in BESIDE.values() if not narrow),
        ],
    )
    if law:
        table.add_column("verdict", no_wrap=True)
    table.show_edge = not narrow  # two columns, which a terminal of 60 needs
    for name, p in by_role(entry["protocols"]):
        rule = p["definition"]["threshold"]
        label, star = name + (" (oracle)" if rule == "oracle" else ""), "*" if p["role"] == "primary" else ""
        if narrow:
            label += f"\n  {p['baseline']:.2f}, {p['other']:.2f} ({beside(p, GAUSSIAN)})"
        label += f" {star}" if star else ""
        difference, ci, likely = signed(p["difference"]), interval(p["ci95"]), probability(p["adjusted_p"])
        if narrow:
            cells = [f"{difference}\n{ci}", likely] if law else [difference]
        else:
            cells = [f"{p['baseline']:.2f}", f"{p['other']:.2f}", difference]
            cells += [ci, likely, could_show(p)] if law else []
            cells += [beside(p, control) for control in BESIDE]
        table.add_row(label, *cells, *([p["verdict"]] if law else []), style=_STYLE.get(p["verdict"]))
    return table


def _images(content: Mapping[str, Any]) -> str:
    """The images that are compared; some of the split may have no true box."""
    scored, images = content["num_scored"], content["num_images"]
    return f"{images} images" if scored == images else f"{scored} images with boxes of {images}"


def by_role(protocols: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Protocols with the primary outcome first."""
    return sorted(protocols.items(), key=lambda item: item[1]["role"] != "primary")


def beside(p: Mapping[str, Any], control: str) -> str:
    """What a control scores; a dash where it does not."""
    value = p["controls"][control]
    return "–" if value is None else f"{value:.2f}"


def could_show(p: Mapping[str, Any]) -> str:
    """The true difference that would be declared four times out of five; a dash where none is."""
    return "–" if p["could_show"] is None else f"±{p['could_show']:.1f}"


def populations(protocols: Mapping[str, Any]) -> list[str]:
    """What the intervals of a table are about, a line for each different population; none without intervals."""
    if not tested(protocols):
        return []
    found: dict[str, list[str]] = {}
    for name, p in protocols.items():
        found.setdefault(p["population"], []).append(name)
    if len(found) == 1:
        return [f"Intervals: {next(iter(found))}."]
    return [f"Intervals of {', '.join(names)}: {words}." for words, names in found.items()]


def table_note(content: Mapping[str, Any]) -> str:
    """What the columns of p, verdict and 'could show' are, for terminal and page."""
    s, primary = content["settings"], content["primary"]
    stated = "stated beforehand" if primary["stated"] else "the default one"
    said = (
        "The controls, centre Gaussian and full image, see no image. "
        f"Primary outcome (*, {stated}): {primary['name']}"
    )
    if not s["resamples"]:
        return f"{said}. Without resamples nothing was tested."
    margin = f", equivalence within {in_points(primary['margin'])}" if primary["margin"] else ""
    return (
        f"{said}{margin}. The p that is printed decides: below {s['alpha']:g}, the primary one alone, the others "
        f"adjusted as one family ({s['correction']}). 'Could show' is the true difference that would get a verdict "
        f"with a probability of {100 * s['power']:.0f} %, by the same law and at the same level. Undecided does not "
        "mean equal."
    )


def sign_words(family: Mapping[str, Any]) -> str:
    """Whether the sign depends on the rule for the threshold; empty where all rules agree. Estimates of either sign are
    no evidence of it while their intervals hold zero."""
    if family["sign_agrees"]:
        return ""
    clear = {r["difference"] > 0 for r in family["rules"].values() if r["verdict"] in ("higher", "lower")}
    if clear == {True, False}:
        return "the sign depends on the rule"
    return "estimates differ in sign between rules, but not clearly: not each is decided"


def driver_lines(entry: Mapping[str, Any]) -> list[str]:
    """What drives the difference, one line an analysis."""
    lines: list[str] = []
    drivers = entry["drivers"]
    lines += [
        f"without a threshold, {name}: {m['baseline']:.1f} -> {m['other']:.1f}, "
        f"{with_interval(m['difference'], m['ci95'])}, {m['verdict']} (centre Gaussian {m['center_gaussian']:.1f})"
        for name, m in entry["measures"].items()
    ]
    for name, d in drivers.get("top_loc", {}).items():
        terms = ", ".join(f"{k} {with_interval(t['value'], t['ci95'])}" for k, t in d["terms"].items())
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
        rules = ", ".join(f"{k} {with_interval(r['difference'], r['ci95'])}" for k, r in n["rules"].items())
        lines.append(f"{base} by normalisation: {rules}" + ("; the sign flips" if n["sign_flips"] else ""))
    for key, label in (("size", "object size"), ("instances", "instances"), ("class", "class")):
        groups = drivers.get(key, {}).get("groups", [])
        if len(groups) > 1:
            rows = ", ".join(
                f"{g['group']} {with_interval(g['difference'], g['ci95'], 1)} (n={g['images']})"
                for g in groups[:8]
            )
            lines.append(
                f"{entry['main_protocol']} by {label}: {interaction_text(drivers[key])}"
                + (f"; {rows}" if len(groups) <= 8 else "")
            )
    if drivers.get("errors"):
        rows = ", ".join(
            f"{k} {v['baseline']:.1f} -> {v['other']:.1f}" for k, v in drivers["errors"]["shares"].items()
        )
        lines.append(f"kinds of outcome, percent of images: {rows}")
        rows = ", ".join(
            f"{k} {v['baseline']:.1f} -> {v['other']:.1f}" for k, v in drivers["errors"]["costs"].items()
        )
        lines.append(f"points that a perfect repair of one error alone would give: {rows}")
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


def interaction_text(found: Mapping[str, Any]) -> str:
    """Whether the difference differs between groups, in words."""
    p = found["interaction_p"]
    if p is None:
        return f"not tested ({found['tested']} groups of 30 images and more)"
    if p < ALPHA:
        return f"the difference differs between groups (interaction p {probability(p)})"
    return f"no interaction is detected (p {probability(p)}); the groups' own differences are not to be read singly"


def answer_lines(entry: Mapping[str, Any]) -> list[str]:
    """What stands under the headline: controls, a further pair of trainings, planning, all recorded analyses."""
    lines = [e["sentence"] for e in entry["controls"] if e["sentence"] not in entry["headline"]]
    bet = entry["new_pair"]
    if bet:
        low, high = bet["interval"]
        lines.append(
            f"A further pair of trainings on these images: {entry['other']} minus {entry['baseline']} between "
            f"{signed(low, 1)} and {signed(high, 1)} (95 %); {entry['other']} higher with a probability of "
            f"{100 * bet['probability_other_higher']:.0f} %."
        )
    plan = entry["planning"]
    if plan:
        seeds = plan["runs_needed"]
        detectable = ", ".join(f"{v:.1f} with {r}" for r, v in plan["detectable"].items())
        rough = " (from two seeds of a method: rough)" if plan["rough"] else ""
        needed = (
            f"{seeds} seeds a side" if seeds else f"no number of seeds is enough on so few {plan['drawn']}"
        )
        lines.append(
            f"Planning{rough}, {100 * plan['power']:.0f} % power for {in_points(plan['effect'])} by {plan['protocol']} "
            f"on {plan['images']:,} {plan['drawn']}: {needed}; detectable points by seeds a side: {detectable}."
        )
    found = entry["multiverse"]
    if found:
        lines.append(multiverse_text(found, entry))
    if entry["agreement"]:
        lines.append(entry["agreement"])
    return lines


def multiverse_text(found: Mapping[str, Any], entry: Mapping[str, Any]) -> str:
    """How many of the recorded analyses of these maps say what, in one sentence."""
    total = len(found["analyses"])
    if entry["few_seeds"]:
        return (
            f"{total} analyses of these same maps (normalisation, contours, IoU, threshold rule): none gets a "
            f"verdict, {entry['few_seeds']}; the estimate is above 0 in {found['positive']}."
        )
    return (
        f"Of {total} analyses of these same maps (normalisation, contours, IoU, threshold rule; one family), "
        f"{found['higher']} say higher, {found['lower']} lower, {found['neither']} neither; the estimate is above 0 in "
        f"{found['positive']}. They share their maps, so they are not independent."
    )


def print_comparison(console: Console, content: Mapping[str, Any]) -> None:
    """Verdict first, then the table, then what drives it, then what it does not show."""

    def say(line: str) -> None:
        print_text(console, line)

    for entry in content["comparisons"]:
        print_text(console, entry["headline"], style="bold")
        print_table(console, [protocol_table(entry, content), protocol_table(entry, content, narrow=True)])
        for line in (*populations(entry["protocols"]), *answer_lines(entry), *driver_lines(entry)):
            say(line)
        for line in entry["caveats"]:
            say(f"note: {line}")
    for name, reason in content["not_compared"].items():
        say(f"not compared: {name}: {reason}")
    say(table_note(content))
