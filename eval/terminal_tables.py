"""Terminal tables of results."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table


def number(entry: Mapping[str, Any] | None) -> str:
    """`value [low, high]`, or a dash where it could not be computed."""
    if not entry:
        return "–"
    interval = entry.get("ci95")
    return f"{entry['value']:.2f}" + (f" [{interval[0]:.1f}, {interval[1]:.1f}]" if interval else "")


def threshold_text(entry: Mapping[str, Any]) -> str:
    """The threshold of a result: one tau, or one per IoU threshold."""
    tau = entry.get("threshold")
    if tau is None:
        return ""
    if isinstance(tau, Mapping):
        return " / ".join(f"{t:.3f}" for t in tau.values())
    return f"{tau:.3f}"


def result_table(results: Mapping[str, Any]) -> Table:
    """One row per protocol, the two controls beside it."""
    gaussian = results["controls"].get("center_gaussian", {})
    full = results["controls"].get("full_image", {})
    table = Table(
        title=f"{results['dataset']}, {results['split']}: {results['counts']['scored']} images with boxes "
        f"of {results['num_images']}; percent [95 % interval]",
        title_justify="left",
    )
    table.add_column("protocol", no_wrap=True)
    for name in ("value", "threshold", "how chosen", "centre Gaussian", "full image"):
        table.add_column(name, justify="left" if name == "how chosen" else "right")
    for name, entry in results["protocols"].items():
        rule = entry["definition"]["threshold"]
        chosen = {
            "oracle": "best on this split",
            "transferred": f"on {results.get('threshold_split')}",
            "fixed": "fixed",
            "none": "",
        }[rule]
        table.add_row(
            name,
            number(entry),
            threshold_text(entry),
            chosen,
            number(gaussian.get(name)),
            number(full.get(name)),
        )
    return table


_ODD_MAPS = {
    "missing_map": "images had no map and were scored as all zeros",
    "unreadable_map": "maps could not be read and were scored as all zeros",
    "nan_map": "maps held NaN or infinity and were scored as all zeros",
    "constant_map": "maps were constant and were scored as all zeros",
    "out_of_range_map": "maps left [0, 1] and were scored as all zeros",
    "resized_map": "maps had another size than the frame and were resized to it",
}
_OTHERS = {
    "surplus_map": "maps belong to no image of the split and were ignored",
    "no_gt": "images have no ground-truth box and are left out of box metrics",
}


def odd_maps(counts: Mapping[str, Any]) -> list[str]:
    """What was odd about the maps, a line each."""
    return [f"{counts[key]} {words}" for key, words in _ODD_MAPS.items() if counts.get(key)]


def notes(results: Mapping[str, Any]) -> list[str]:
    """What a reader must know beside the table: odd maps, absent protocols, classification."""
    lines = []
    for key, entry in results["classification"].items():
        lines.append(f"classification {key}: {number(entry)} %")
    for key, entry in results.get("energy", {}).items():
        lines.append(f"share of map energy on {key}: {number(entry)} %")
    counts = results["counts"]
    lines += [f"note: {line}" for line in odd_maps(counts)]
    lines += [f"note: {counts[key]} {words}" for key, words in _OTHERS.items() if counts.get(key)]
    for channel, n in results["counts"].get("zero_divisor", {}).items():
        lines.append(f"note: {n} maps cannot be normalised for {channel} and were scored as all zeros there")
    for name, reason in results["not_computed"].items():
        lines.append(f"not computed: {name}: {reason}")
    return lines
