"""The sections and the chart of the measures that read no threshold, for both pages."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from eval.analysis.evaluated import Evaluated
from eval.comparison.terminal import tested
from eval.report import charts
from eval.report.sections import difference_section, section
from eval.terminal.tables import images_of

_BINS = 20


def measured_section(measures: Mapping[str, Any]) -> dict[str, Any]:
    """One run's measures, as results.json has them."""
    rows = []
    for name, m in measures.items():
        ci, control = m["ci95"], m.get("center_gaussian")
        rows.append(
            [
                name + images_of(m),
                f"{m['value']:.1f}",
                charts.interval_strip(m["value"], ci, 100, low=0),
                f"[{ci[0]:.1f}, {ci[1]:.1f}]" if ci else "–",
                f"{m['chance']:.1f}",
                f"{control['value']:.1f}" if control else "–",
                " / ".join(f"{q:.0f}" for q in m["quartiles"]) if "quartiles" in m else "–",
            ]
        )
    columns = [
        "measure",
        "%",
        "0 to 100 %",
        "95 % interval",
        "chance",
        "centre Gaussian",
        "quartiles of images",
    ]
    note = "Chance: what a map without information gets. " + _meanings(measures)
    return section("Without a threshold", table={"columns": columns, "rows": rows}, note=note)


def compared_sections(entry: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The differences of a comparison, and whether they agree with its primary outcome; none where there are none."""
    if entry["measures"]:
        yield difference_section(
            "Without a threshold",
            [
                (name, m, f"{m['verdict']}; centre Gaussian {m['center_gaussian']:.1f}")
                for name, m in entry["measures"].items()
            ],
            entry["other"],
            first="measure",
            lead=entry["agreement"],
            note="Percent, over the images where both are defined"
            + ("; p adjusted over these measures. " if tested(entry["measures"]) else ". ")
            + _meanings(entry["measures"]),
        )


def _meanings(measures: Mapping[str, Any]) -> str:
    return "; ".join(f"{name}: {m['definition']['what']}" for name, m in measures.items()) + "."


def pixel_ap_histogram(runs: Sequence[Evaluated]) -> list[dict[str, Any]]:
    """The distribution of the average precision of each image's pixels, in the mask where every run has it, else in
    the box; empty where not every run measured it."""
    known = [set(run.store.index.measures) for run in runs]
    name = next((n for n in ("pixel_ap_mask", "pixel_ap_box") if all(n in k for k in known)), None)
    if name is None:
        return []
    shares = []
    for run in runs:
        values = np.concatenate([np.asarray(b.measure(name)) for b in run.store.blocks()])
        counts, _ = np.histogram(values[np.isfinite(values)], bins=_BINS, range=(0, 1))
        shares.append((100 * counts / max(int(counts.sum()), 1)).tolist())
    return [
        {
            "title": "Pixels of each image, without a threshold",
            "svg": charts.histogram(shares, f"Histogram of {name}", x_label=f"{name} of an image"),
            "caption": f"Average precision of the pixels of each image ({name}).",
        }
    ]
