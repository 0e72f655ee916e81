"""Terminal tables of results."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table


def number(entry: Mapping[str, Any] | None) -> str:
    """`value [low, high]`, or a dash where it could not be computed."""
    if not entry or entry["value"] is None:
        return "–"
    interval = entry.get("ci95")
    return f"{entry['value']:.2f}" + (f" [{interval[0]:.1f}, {interval[1]:.1f}]" if interval else "")


def images_of(entry: Mapping[str, Any]) -> str:
    """On how many images a mean is taken, where it is not defined on all of them; else empty.

    >>> images_of({"value": 50.0, "num_images": 290, "undefined": 8})
    ', on the 290 of 298 images where it is defined'
    """
    if not entry.get("undefined"):
        return ""
    count = entry["num_images"]
    return f", on the {count} of {count + entry['undefined']} images where it is defined"


def threshold_text(entry: Mapping[str, Any]) -> str:
    """The threshold of a result: one tau, or one per IoU threshold."""
    tau = entry.get("threshold")
    if tau is None:
        return ""
    if isinstance(tau, Mapping):
        return " / ".join(f"{t:.3f}" for t in tau.values())
    return f"{tau:.3f}"


_CHOSEN = {"oracle": "best on this split", "fixed": "fixed", "none": ""}


def result_tables(results: Mapping[str, Any]) -> list[Table]:
    """One row per protocol, the two controls beside it; the same for narrower and narrower terminals (the last takes 60
    columns)."""
    return [_wide(results), _stacked(results), _narrow(results)]


def table_of(title: str, first: str, columns: Sequence[str], *, lines: bool = False) -> Table:
    """An empty table: a column of names, then columns of numbers; `lines` where a row takes several lines."""
    table = Table(
        title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 1 if lines else 0, 0)
    )
    table.add_column(first, overflow="fold")
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def unit(entries: Iterable[Mapping[str, Any]]) -> str:
    """What the numbers of a table are, in its title.

    >>> unit([{"value": 50.0, "ci95": [45.0, 55.0]}]), unit([{"value": 50.0, "ci95": None}])
    ('percent [95 % interval]', 'percent')
    """
    return "percent [95 % interval]" if any(entry.get("ci95") for entry in entries) else "percent"


def stacked(entry: Mapping[str, Any] | None) -> str:
    """`number` with the interval in a line of its own."""
    return number(entry).replace(" [", "\n[")


def images_counted(results: Mapping[str, Any]) -> str:
    """How many images of how many were scored by their boxes.

    >>> images_counted({"num_images": 1048, "counts": {"scored": 1036}})
    '1,036 images with boxes of 1,048'
    """
    return f"{results['counts']['scored']:,} images with boxes of {results['num_images']:,}"


def part_notes(results: Mapping[str, Any]) -> list[str]:
    """Why these are results of a part of the dataset (--limit, classes that the network does not know); empty for all
    of it."""
    return [note for note in results["provenance"].get("notes", ()) if note.startswith("only ")]


def _title(results: Mapping[str, Any]) -> str:
    about = f"{results['dataset']}, {results['split']}: {images_counted(results)}"
    return f"{about}; {unit(results['protocols'].values())}"


def _rows(results: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any], str, Any, Any]]:
    """Name, entry, how its threshold is chosen, and the controls' entries, for each protocol."""
    controls = results["controls"]
    for name, entry in results["protocols"].items():
        rule = entry["definition"]["threshold"]
        chosen = _CHOSEN.get(rule, f"on {results.get('threshold_split')}")
        yield name, entry, chosen, *(controls.get(c, {}).get(name) for c in ("center_gaussian", "full_image"))


def _wide(results: Mapping[str, Any]) -> Table:
    columns = ("value", "threshold", "how chosen", "centre Gaussian", "full image")
    table = table_of(_title(results), "protocol", columns)
    for name, entry, chosen, gaussian, full in _rows(results):
        table.add_row(name, number(entry), threshold_text(entry), chosen, number(gaussian), number(full))
    return table


def _with_threshold(name: str, entry: Mapping[str, Any], chosen: str) -> str:
    """The protocol's name, and under it the threshold and how it was chosen."""
    threshold = ", ".join(t for t in (threshold_text(entry), chosen) if t)
    return f"{name}\n  {threshold}" if threshold else name


def _stacked(results: Mapping[str, Any]) -> Table:
    columns = ("value", "centre\nGaussian", "full\nimage")
    table = table_of(_title(results), "protocol\n  threshold", columns)
    for name, entry, chosen, gaussian, full in _rows(results):
        words = {"best on this split": "best here", "fixed": "fixed"}.get(chosen, "")
        table.add_row(_with_threshold(name, entry, words), stacked(entry), stacked(gaussian), stacked(full))
    return table


def _narrow(results: Mapping[str, Any]) -> Table:
    """Without the controls' intervals and the way a threshold is chosen, which is part of the name."""
    columns = ("value", "centre\nGaussian", "full\nimage")
    table = table_of(_title(results), "protocol\n  threshold", columns)
    for name, entry, _, gaussian, full in _rows(results):
        controls = (number({**c, "ci95": None}) if c else number(c) for c in (gaussian, full))
        table.add_row(_with_threshold(name, entry, ""), stacked(entry), *controls)
    return table


_ODD_MAPS = {  # of one, of several, what was done
    "missing_map": ("image had no map and was", "images had no map and were", "scored as all zeros"),
    "unreadable_map": (
        "map or image could not be read and was",
        "maps or images could not be read and were",
        "scored as all zeros",
    ),
    "nan_map": (
        "map held NaN or infinity and was",
        "maps held NaN or infinity and were",
        "scored as all zeros",
    ),
    "constant_map": ("map was constant and was", "maps were constant and were", "scored as all zeros"),
    "out_of_range_map": ("map left [0, 1] and was", "maps left [0, 1] and were", "scored as all zeros"),
    "clipped_map": (
        "map left [0, 1] by rounding and was",
        "maps left [0, 1] by rounding and were",
        "clipped",
    ),
    "resized_map": (
        "map had another size than the frame and was",
        "maps had another size than the frame and were",
        "resized to it",
    ),
}
_OTHERS = {
    "surplus_map": (
        "map belongs to no image of the split and was",
        "maps belong to no image of the split and were",
        "ignored",
    ),
    "no_gt": (
        "image has no ground-truth box and is",
        "images have no ground-truth box and are",
        "left out of box metrics",
    ),
}
_OF_BOXES = {
    "missing_map": ("image had no box and was", "images had no box and were", "counted as a miss"),
    "surplus_map": (
        "image of the boxes' file is none of the split's and was",
        "images of the boxes' file are none of the split's and were",
        "ignored",
    ),
}


def odd_maps(counts: Mapping[str, Any], boxes: bool) -> list[str]:
    """What was odd about the maps, or about the boxes that were judged instead, a line each."""
    return _said(counts, _ODD_MAPS, boxes)


def _said(counts: Mapping[str, Any], words: Mapping[str, tuple[str, str, str]], boxes: bool) -> list[str]:
    lines = []
    for key, of_maps in words.items():
        one, several, done = _OF_BOXES.get(key, of_maps) if boxes else of_maps
        if n := counts.get(key):
            lines.append(f"{n} {one if n == 1 else several} {done}")
    return lines


def notes(results: Mapping[str, Any]) -> list[str]:
    """What a reader must know beside the table: odd maps, absent protocols, classification."""
    lines = [
        f"note: {note}"
        for note in results["provenance"]["notes"]
        if note.startswith(("only ", "audit error"))
    ]
    for key, entry in results["classification"].items():
        lines.append(f"classification {key}: {number(entry)} %")
    for key, entry in results.get("energy", {}).items():
        lines.append(f"share of map energy on {key}: {number(entry)} %{images_of(entry)}")
    lines += _without_threshold(results.get("measures", {}))
    for name, entry in results.get("displacement", {}).items():
        lines.append(f"box centres minus object centres, {name}: {displacement_text(entry)}")
    costs = results.get("error_costs")
    if costs:
        right = "class and box right" if "class" in costs["repairs"] else "box right"
        gains = ", ".join(f"{k} {number({**v, 'value': v['gain']})}" for k, v in costs["repairs"].items())
        lines.append(
            f"points that a perfect repair of one error alone would give ({costs['protocol']}, {right} "
            f"{costs['right']:.1f}): {gains}"
        )
        whole, images = costs.get("whole_image_boxes", 0), costs["num_images"]
        if 2 * whole > images and "control" not in results["provenance"]:
            lines.append(
                f"note: by {costs['protocol']} the box of {whole:,} of {images:,} images covers 95 % or more of the "
                "image, as the full-image control's does"
            )
    lines += _where_drawn(results)
    counts = results["counts"]
    boxes = "boxes" in results["provenance"]
    lines += [f"note: {line}" for line in (*odd_maps(counts, boxes), *_said(counts, _OTHERS, boxes))]
    for channel, n in results["counts"].get("zero_divisor", {}).items():
        maps = (
            "map cannot be normalised for {} and was"
            if n == 1
            else "maps cannot be normalised for {} and were"
        )
        lines.append(f"note: {n} {maps.format(channel)} scored as all zeros there")
    for name, entry in results["protocols"].items():
        if entry["definition"]["threshold"] == "transferred" and entry.get("threshold_note"):
            lines.append(f"note: {name}, on {results['threshold_split']}: {entry['threshold_note']}")
    for name, reason in results["not_computed"].items():
        lines.append(f"not computed: {name}: {reason}")
    return lines


def _without_threshold(measures: Mapping[str, Any]) -> list[str]:
    """A line for every measure without a threshold: value, what chance gets, what the centre Gaussian gets."""
    lines = []
    for name, entry in measures.items():
        control = entry.get("center_gaussian")
        gaussian = f", centre Gaussian {control['value']:.1f}" if control else ""
        lines.append(
            f"without a threshold, {name}: {number(entry)} % (chance {entry['chance']:.1f}{gaussian}){images_of(entry)}"
        )
    return lines


def _where_drawn(results: Mapping[str, Any]) -> list[str]:
    """Where maps are drawn beside what their cells see, if they are, and no aligned protocol was scored."""
    cells = (results["provenance"].get("map") or {}).get("cells")
    aligned = any("@aligned" in name for name in results["protocols"])
    if not cells or aligned or max(map(abs, cells["offset_xy"])) < 0.5:
        return []
    x, y = cells["offset_xy"]
    return [
        f"note: maps are drawn {x:+.1f} px (right) and {y:+.1f} px (down) from where the network looked, in an input "
        f"of {cells['x']['pixels']} px, as published protocols do; --aligned undoes it"
    ]


def displacement_text(entry: Mapping[str, Any]) -> str:
    """One line: by how much the centres of boxes differ from those of the objects.

    >>> displacement_text({"dx": {"value": 15.51, "ci95": (14.0, 17.0)}, "dy": {"value": -2.0, "ci95": None},
    ...                    "frame_size": 224, "num_images": 90})
    'dx +15.5 [+14.0, +17.0], dy -2.0 of 224 px (90 images with one box)'
    """

    def axis(name: str) -> str:
        value, interval = entry[name]["value"], entry[name]["ci95"]
        return f"{name} {value:+.1f}" + (f" [{interval[0]:+.1f}, {interval[1]:+.1f}]" if interval else "")

    return (
        f"{axis('dx')}, {axis('dy')} of {entry['frame_size']} px ({entry['num_images']} images with one box)"
    )
