"""The comparison as CSV and as a LaTeX table."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

from eval.comparison.controls import BESIDE
from eval.comparison.terminal import beside, by_role, populations, signed, tested
from eval.comparison.verdicts import in_points

_COLUMNS = (
    "comparison",
    "protocol",
    "baseline",
    "other",
    "difference",
    "ci95_low",
    "ci95_high",
    "p_value",
    "adjusted_p",
    "could_show",
    "role",
    "verdict",
    "population",
    *BESIDE,
)


def csv_text(content: Mapping[str, Any]) -> str:
    """One line per comparison and protocol, full precision; empty where undefined. `population` says what the interval
    is about. Measures without a threshold and differences to controls follow, with the control as baseline."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for entry in content["comparisons"]:
        rows = [(entry["name"], name, p) for name, p in entry["protocols"].items()]
        rows += [(entry["name"], name, {"role": "measure", **m}) for name, m in entry["measures"].items()]
        rows += [
            (f"{c['method']} vs {c['control']}", name, p)
            for c in entry["controls"]
            for name, p in c["protocols"].items()
        ]
        for title, name, p in rows:
            writer.writerow(
                [
                    _cell(title),
                    _cell(name),
                    p["baseline"],
                    p["other"],
                    p["difference"],
                    *(p["ci95"] or (None, None)),
                    p["p_value"],
                    p["adjusted_p"],
                    p.get("could_show"),
                    p.get("role", "control"),
                    p["verdict"],
                    p.get("population") if p["ci95"] else None,
                    *(p.get("controls", {}).get(control) for control in BESIDE),
                ]
            )
    return stream.getvalue()


def _cell(text: str) -> str:
    """A name that no spreadsheet takes for a formula."""
    return f"'{text}" if text[:1] in "=+-@\t\r" else text


_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


def latex_escape(text: str) -> str:
    """Text in which no character has a meaning to LaTeX, and two hyphens (of an option) make no dash."""
    return "".join(_LATEX.get(c, c) for c in text).replace("--", "-{}-")


def latex_text(content: Mapping[str, Any]) -> str:
    """A booktabs table per comparison; differences with a corrected verdict are bold, equivalent ones are marked."""
    tables = []
    for entry in content["comparisons"]:
        law = tested(entry["protocols"])
        rows = [_latex_row(name, p, law) for name, p in by_role(entry["protocols"])]
        heads = ["Protocol", latex_escape(entry["baseline"]), latex_escape(entry["other"]), "Difference"]
        heads += [r"95\,\% interval"] if law else []
        heads += BESIDE.values()
        tables.append(
            "\n".join(
                [
                    "% needs \\usepackage{booktabs}",
                    r"\begin{table}",
                    r"\centering",
                    rf"\begin{{tabular}}{{l{'r' * (len(heads) - 1)}}}",
                    r"\toprule",
                    rf"{' & '.join(heads)} \\",
                    r"\midrule",
                    *rows,
                    r"\bottomrule",
                    r"\end{tabular}",
                    rf"\caption{{{_latex_caption(content, entry)}}}",
                    r"\end{table}",
                ]
            )
        )
    return "\n\n".join(tables) + "\n"


def _latex_row(name: str, p: Mapping[str, Any], law: bool) -> str:
    value = signed(p["difference"])
    if p["verdict"] in ("higher", "lower"):
        value = rf"\mathbf{{{value}}}"
    elif p["verdict"] == "equivalent":
        value += r"^{\equiv}"
    cells = [latex_escape(name), f"{p['baseline']:.2f}", f"{p['other']:.2f}", f"${value}$"]
    if law:
        cells.append(f"$[{signed(p['ci95'][0], 1)}, {signed(p['ci95'][1], 1)}]$" if p["ci95"] else "--")
    cells += [beside(p, control) for control in BESIDE]
    return f"{' & '.join(cells)} \\\\"


def _latex_caption(content: Mapping[str, Any], entry: Mapping[str, Any]) -> str:
    """What was compared, on what part of which dataset, and what bold and marked differences are."""
    names = {k: latex_escape(entry[k]) for k in ("baseline", "other")}
    data, split = latex_escape(content["dataset"]), latex_escape(content["split"])
    said = [
        f"{names['other']} against {names['baseline']} on {data} ({split}, {content['num_images']} images), percent."
    ]
    said += [latex_escape(c) for c in entry["caveats"] if c.startswith("Only ")]
    said.append(f"Primary outcome: {latex_escape(content['primary']['name'])}.")
    if not tested(entry["protocols"]):
        return " ".join([*said, "Compared without resamples: no intervals, and nothing was tested."])
    level, margin = f"$p < {content['settings']['alpha']}$", content["primary"]["margin"]
    correction = latex_escape(content["settings"]["correction"])
    said.append(f"Bold: higher or lower, {level}, the primary one alone, the others adjusted ({correction}).")
    if margin is not None:
        said.append(
            rf"$\equiv$: the primary one is equivalent within {in_points(margin)}, which comes first: it is not bold, "
            f"also where {level}."
        )
    return " ".join([*said, *map(latex_escape, populations(entry["protocols"]))])
