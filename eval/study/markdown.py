"""The tables of a study in Markdown, made from study.json alone, so that a page in docs/ can be checked against it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from eval.comparison.terminal import interval, signed

OF_MAP = " of "
"""Between an outcome and the map, other than CAM of the final one, that it was scored by."""


def study_tables(content: Mapping[str, Any]) -> str:
    """The primary outcome by dataset and network, every pooled outcome, the controls, and the time that runs took, each
    under a heading."""
    primary = [o for o in content["outcomes"] if o["role"] == "primary"]
    named = label(content)
    methods = list(dict.fromkeys(o["method"] for o in content["outcomes"]))
    parts = []
    for method in methods:
        (own,) = (o for o in primary if o["method"] == method)
        parts.append(_headed(f"{content['primary']}, each dataset and network", method, methods))
        parts.append(
            _table(
                ["dataset", "network", "method", *_VALUES],
                [
                    [*cell, method, *_values(values, own["baseline_method"])]
                    for cell, values in (
                        *(((c["dataset"], c["network"]), c) for c in own["cells"]),
                        (("all", "all"), own),
                    )
                ],
            )
        )
    for method in methods:
        mine = [o for o in content["outcomes"] if o["method"] == method]
        parts.append(_headed("Every outcome, all datasets and networks together", method, methods))
        parts.append(
            _table(
                ["outcome", "method", *_VALUES],
                [[named(o), method, *_values(o, o["baseline_method"])] for o in mine],
            )
        )
    for method in methods:
        mine = [o for o in content["outcomes"] if o["method"] == method]
        cells = [f"{c['dataset']}, {c['network']}" for c in mine[0]["cells"]]
        parts.append(_headed("The difference of every outcome, each dataset and network", method, methods))
        parts.append(
            _table(
                ["outcome", "method", *cells],
                [[o["outcome"], method, *_by_cell(o, cells)] for o in mine],
            )
        )
    for method in methods:
        by_map = outcomes_by_map(content, method)
        if len(by_map) > 1:
            parts.append(_headed(f"{content['primary']} by map, each dataset and network", method, methods))
            parts.append(
                _table(
                    ["map", "dataset", "network", "method", *_VALUES],
                    [
                        [name, c["dataset"], c["network"], method, *_values(c, o["baseline_method"])]
                        for name, o in by_map.items()
                        for c in o["cells"]
                    ],
                )
            )
    if content["controls"]:
        parts.append(f"**{content['primary']} against controls**")
        parts.append(
            _table(
                ["dataset", "network", "method", *_VALUES],
                [
                    [c["dataset"], c["network"], c["method"], *_values(c, c["said"])]
                    for c in content["controls"]
                ],
            )
        )
    if content.get("controls_by_map"):
        parts.append(f"**{content['primary']} of further maps against controls**")
        parts.append(
            _table(
                ["map", "dataset", "network", "method", *_VALUES],
                [
                    [c["map"], c["dataset"], c["network"], c["method"], *_values(c, c["said"])]
                    for c in content["controls_by_map"]
                ],
            )
        )
    if content.get("controls_by_size"):
        parts.append(f"**{content['primary']} against the centre Gaussian, by size of the object**")
        parts.append(
            _table(
                ["dataset", "network", "images", "number", "method", "the Gaussian's value", *_VALUES[2:]],
                [
                    [
                        *(c["dataset"], c["network"], c["size"], str(c["images"]), c["method"]),
                        *_values(c, "")[1:],
                    ]
                    for c in content["controls_by_size"]
                ],
            )
        )
    if content.get("sizes_left_out"):
        parts.append("**Sizes of objects that are left out**")
        parts.append(
            _table(
                ["dataset", "network", "images", "why"],
                [[o[k] for k in ("dataset", "network", "images", "why")] for o in content["sizes_left_out"]],
            )
        )
    if content.get("standard_errors"):
        parts.append(f"**Standard error of the difference in {content['primary']}**")
        parts.append(
            _table(
                ["dataset", "network", "method", "runs a side", "planned from two", "found"],
                [
                    [
                        *(e["dataset"], e["network"], e["method"], str(e["runs"])),
                        *(f"{e[k]:.2f}" for k in ("planned", "standard_error")),
                    ]
                    for e in content["standard_errors"]
                ],
            )
        )
    if "machines" in content:
        parts.append("**Where the runs were trained**")
        parts.append(
            _table(
                ["device", "torch", "runs"],
                [[m["device"], m["torch"], str(m["runs"])] for m in content["machines"]],
            )
        )
    parts.append("**Minutes of training a run**")
    parts.append(
        _table(
            ["dataset", "network", "runs", "planned", "median"],
            [
                [
                    t["dataset"],
                    t["network"],
                    str(t["runs"]),
                    _minutes(t["planned_minutes"]),
                    _minutes(t["minutes"]),
                ]
                for t in content["times"]
            ],
        )
    )
    return "\n\n".join(parts) + "\n"


def outcomes_by_map(content: Mapping[str, Any], method: str) -> dict[str, Mapping[str, Any]]:
    """A method's primary outcome by the name of the map that it was scored by, CAM of the final map first."""
    primary = content["primary"]
    found = {}
    for o in content["outcomes"]:
        name = o["outcome"].removeprefix(primary + OF_MAP)
        if o["method"] == method and (o["outcome"] == primary or name != o["outcome"]):
            found["cam" if o["outcome"] == primary else name] = o
    return found


def _headed(what: str, method: str, methods: Sequence[str]) -> str:
    return f"**{what}**" if len(methods) == 1 else f"**{what}: {method}**"


def label(content: Mapping[str, Any]) -> Callable[[Mapping[str, Any]], str]:
    """Names an outcome of a study's content: with its datasets where it could not be had in all of them."""
    every = list(dict.fromkeys(c["dataset"] for o in content["outcomes"] for c in o["cells"]))

    def named(outcome: Mapping[str, Any]) -> str:
        own = [d for d in every if d in {c["dataset"] for c in outcome["cells"]}]
        return outcome["outcome"] if own == every else f"{outcome['outcome']} ({', '.join(own)} only)"

    return named


def _minutes(value: float | None) -> str:
    return "" if value is None else f"{value:.1f}"


_VALUES = ("compared with", "its value", "method's value", "difference")


def _values(entry: Mapping[str, Any], baseline: str) -> list[str]:
    return [baseline, f"{entry['baseline']:.1f}", f"{entry['other']:.1f}", _difference(entry)]


def _difference(entry: Mapping[str, Any]) -> str:
    return f"{signed(entry['difference'], 1)} {interval(entry['ci95'])}"


def _by_cell(outcome: Mapping[str, Any], names: Sequence[str]) -> list[str]:
    """The differences in the order of `names`; empty where a cell lacks the outcome or the method."""
    found = {f"{c['dataset']}, {c['network']}": _difference(c) for c in outcome["cells"]}
    return [found.get(name, "") for name in names]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
