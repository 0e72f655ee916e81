"""Protocols in words: a list with hashes, one field by field, and where several differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from eval.protocols.chosen import load_protocols, protocol_named
from eval.protocols.definition import Protocol, differences, short_hash
from eval.protocols.published import PROTOCOLS
from eval.terminal.text import print_text, terminal

_FIELDS = {
    "metric": "what is counted",
    "frame": "view of the image that is scored",
    "frame_size": "side of that view, in pixels",
    "map_class": "class whose map is scored",
    "interpolation": "how a map reaches the view's size",
    "normalization": "how its values are brought to [0, 1]",
    "normalization_fraction": "share of the sorted values where that rule looks (none: the rule's own)",
    "contours": "which contours above the threshold predict boxes",
    "box_convention": "how a contour becomes a box",
    "threshold": "how the threshold on the map is chosen",
    "fixed_threshold": "the threshold, where it is fixed",
    "threshold_step": "step of the thresholds tried",
    "iou_thresholds": "IoU from which on a box is right",
    "iou_comparison": "how IoU is held against it",
    "gt_boxes": "which true boxes count",
    "class_gate": "condition on the predicted class",
    "class_view": "view that the class is predicted from",
    "drawing": "where a map's cells are drawn",
}


def described(protocol: Protocol) -> str:
    """One line on what a protocol counts."""
    if protocol.metric == "pixel_average_precision":
        words = ["average precision of pixels"]
    elif protocol.metric == "mask_iou":
        words = ["pooled IoU of mask and map"]
    else:
        limits = "/".join(f"{t:g}" for t in protocol.iou_thresholds)
        words = [f"{protocol.contours} contour{'s' if protocol.contours == 'all' else ''}"]
        words.append(f"IoU {protocol.iou_comparison} {limits}")
    fixed = f"fixed {protocol.fixed_threshold:g}" if protocol.fixed_threshold is not None else ""
    rules = {"oracle": "best threshold on the split", "transferred": "threshold from train-fullsup"}
    words.append(fixed or rules.get(protocol.threshold, ""))
    words.append("" if protocol.plateau == "smallest" else "the middle of equally good thresholds")
    words.append("" if protocol.class_gate == "none" else f"{protocol.class_gate} class right")
    words.append("" if protocol.normalization == "minmax" else f"{protocol.normalization} maps")
    words.append("" if protocol.frame == "resize" else protocol.frame)
    words.append("first true box" if protocol.gt_boxes == "first" else "")
    return ", ".join(w for w in words if w)


def print_protocols(names: Sequence[str], protocol_file: Path | None) -> None:
    """List all protocols, explain the one named, or say where those named differ.

    Raises `UserError` for a name that is not known.
    """
    console = terminal()
    known = {**PROTOCOLS, **(load_protocols(protocol_file) if protocol_file else {})}
    if not names:
        for p in known.values():
            print_text(console, f"{short_hash(p)}  {p.name}: {described(p)}")
        return
    chosen = [protocol_named(name, known) for name in names]
    if len(chosen) == 1:
        (protocol,) = chosen
        print_text(console, f"{protocol.name}, hash {short_hash(protocol)}: {described(protocol)}")
        for name, value in protocol.definition().items():
            if name in _FIELDS:
                print_text(console, f"  {name}: {_plain(value)} ({_FIELDS[name]})")
        print_text(console, f"  source: {protocol.source or 'your own'}")
        return
    first = chosen[0]
    for other in chosen[1:]:
        unlike = differences(first.definition(), other.definition())
        print_text(console, f"{first.name} ({short_hash(first)}) against {other.name} ({short_hash(other)}):")
        for line in unlike or ["no difference: they mean the same number"]:
            print_text(console, f"  {line}")


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else "none" if value is None else str(value)
