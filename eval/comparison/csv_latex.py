"""The comparison as CSV and as a LaTeX table."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

from eval.comparison.controls import BESIDE
from eval.comparison.terminal import beside, by_role, populations, signed

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
                    p.get("population"),
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
    """Text in which no character has a meaning to LaTeX."""
    return "".join(_LATEX.get(c, c) for c in text)


def latex_text(content: Mapping[str, Any]) -> str:
    """A booktabs table per comparison; differences with a corrected verdict are bold."""
    tables = []
    for entry in content["comparisons"]:
        rows = []
        for name, p in by_role(entry["protocols"]):
            value = f"${signed(p['difference'])}$"
            if p["verdict"] in ("higher", "lower"):
                value = rf"$\mathbf{{{signed(p['difference'])}}}$"
            ci = "--" if not p["ci95"] else f"$[{signed(p['ci95'][0], 1)}, {signed(p['ci95'][1], 1)}]$"
            rows.append(
                f"{latex_escape(name)} & {p['baseline']:.2f} & {p['other']:.2f} & {value} & {ci} & "
                f"{' & '.join(beside(p, control) for control in BESIDE)} \\\\"
            )
        base, other = latex_escape(entry["baseline"]), latex_escape(entry["other"])
        data, split = latex_escape(content["dataset"]), latex_escape(content["split"])
        tables.append(
            "\n".join(
                [
                    "% needs \\usepackage{booktabs}",
                    r"\begin{table}",
                    r"\centering",
                    r"\begin{tabular}{lrrrrrr}",
                    r"\toprule",
                    rf"Protocol & {base} & {other} & Difference & 95\,\% interval & "
                    rf"{' & '.join(BESIDE.values())} \\",
                    r"\midrule",
                    *rows,
                    r"\bottomrule",
                    r"\end{tabular}",
                    rf"\caption{{{other} against {base} on {data} ({split}, {content['num_images']} images), percent. "
                    rf"Primary outcome: {latex_escape(content['primary']['name'])}; bold: $p < "
                    rf"{content['settings']['alpha']}$, the others adjusted ("
                    rf"{latex_escape(content['settings']['correction'])}). "
                    rf"{latex_escape(' '.join(populations(entry['protocols'])))}}}",
                    r"\end{table}",
                ]
            )
        )
    return "\n\n".join(tables) + "\n"
