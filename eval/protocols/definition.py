"""What a localization protocol is: every degree of freedom is a field, so two results can be compared by comparing
their definitions."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from wsol.errors import UserError

Metric = Literal["box_accuracy", "pixel_average_precision", "mask_iou"]
Frame = Literal["resize", "center-crop"]
NormalizationName = Literal["minmax", "max", "pas", "ivr"]
Drawing = Literal["resized", "aligned"]
ThresholdRule = Literal["oracle", "fixed", "transferred", "none"]
Plateau = Literal["smallest", "middle"]


_NOT_DEFINING = ("other_normalizations", "pictured", "on_request")
"""Fields of a protocol that its number does not depend on."""


@dataclass(frozen=True)
class Protocol:
    """One way of turning score maps and annotations into one number.

    `frame`: "resize" scores in a `frame_size` square that the whole image is resized to, aspect ignored;
    "center-crop" scores in the centre crop of an image resized to 256/224 of it. `threshold`: "oracle" takes the best
    threshold on the split being scored (an upper bound), "fixed" uses `fixed_threshold`, "transferred" takes the
    best one on train-fullsup, one per IoU threshold. `plateau`: of equally good thresholds the smallest, as published,
    or the middle of their longest row. `contours`: "largest" keeps the contour of largest polygon area,
    "all" every contour. `gt_boxes`: "any" takes the best over an image's boxes, "first" only the first listed.
    `class_gate`: additionally requires the true class among the top 1 or top 5 predictions. `class_view`: whether that
    class is predicted from the whole image, or from the view that is scored. `drawing`: "resized" resizes the map to
    the frame, as published; "aligned" draws each cell at the centre of what it sees.
    """

    name: str
    metric: Metric = "box_accuracy"
    frame: Frame = "resize"
    frame_size: int = 224
    map_class: Literal["ground-truth"] = "ground-truth"
    interpolation: Literal["cubic-before-normalization"] = "cubic-before-normalization"
    normalization: NormalizationName = "minmax"
    normalization_fraction: float | None = None
    contours: Literal["largest", "all"] = "largest"
    box_convention: Literal["reference"] = "reference"
    threshold: ThresholdRule = "oracle"
    fixed_threshold: float | None = None
    threshold_step: float = 0.001
    iou_thresholds: tuple[float, ...] = (0.5,)
    iou_comparison: Literal[">=", ">"] = ">="
    gt_boxes: Literal["any", "first"] = "any"
    class_gate: Literal["none", "top1", "top5"] = "none"
    class_view: Literal["whole-image", "scored"] = "whole-image"
    drawing: Drawing = "resized"
    plateau: Plateau = "smallest"
    source: str = ""
    other_normalizations: bool = True
    """Whether `--normalizations` also scores it otherwise: not where normalisation is what the paper is cited for."""
    pictured: bool = False
    """Whether pictures of a run show its boxes."""
    on_request: bool = False
    """Whether it is scored only where it is named."""

    def __post_init__(self) -> None:
        def check(fine: bool, field: str, expected: str) -> None:
            if not fine:
                raise UserError(
                    f"protocol '{self.name}': {field} is {getattr(self, field)!r}, expected {expected}"
                )

        check(bool(self.name) and "/" not in self.name, "name", "a name without '/'")
        check(16 <= self.frame_size <= 2048, "frame_size", "16..2048 pixels")
        check(0 < self.threshold_step <= 0.5, "threshold_step", "a step in (0, 0.5]")
        check(
            self.normalization_fraction is None or 0 <= self.normalization_fraction < 1,
            "normalization_fraction",
            "a share in [0, 1)",
        )
        check(
            self.plateau == "smallest" or self.threshold in ("oracle", "transferred"),
            "plateau",
            "'smallest' where no threshold is searched",
        )
        check(bool(self.iou_thresholds), "iou_thresholds", "at least one")
        check(all(0 < t <= 1 for t in self.iou_thresholds), "iou_thresholds", "values in (0, 1]")
        check(
            (self.fixed_threshold is not None) == (self.threshold == "fixed"),
            "fixed_threshold",
            "a value exactly where threshold is 'fixed'",
        )
        check(
            self.fixed_threshold is None or 0 <= self.fixed_threshold < 1,
            "fixed_threshold",
            "a value in [0, 1)",
        )
        if self.metric == "box_accuracy":
            check(self.threshold != "none", "threshold", "'oracle', 'fixed' or 'transferred' for boxes")
            return
        rule = "none" if self.metric == "pixel_average_precision" else "oracle"
        check(self.threshold == rule, "threshold", f"'{rule}' for the metric {self.metric}")
        check(self.frame == "resize", "frame", "'resize' for a metric of masks")
        check(self.class_gate == "none", "class_gate", "'none' for a metric of masks")

    @property
    def channel(self) -> Channel:
        """The kind of 8-bit score map this protocol reads."""
        return Channel(
            self.frame,
            self.frame_size,
            self.normalization,
            self.normalization_fraction,
            self.drawing == "aligned",
        )

    def definition(self) -> dict[str, Any]:
        """Every field that the number depends on, with name and source, as plain data for results.json."""
        data = {k: v for k, v in dataclasses.asdict(self).items() if k not in _NOT_DEFINING}
        data["iou_thresholds"] = list(self.iou_thresholds)
        return data


@dataclass(frozen=True, order=True)
class Channel:
    """A kind of score map: frame, normalisation and drawing. Protocols that share it share the per-image records."""

    frame: str
    frame_size: int
    normalization: str
    fraction: float | None = None
    aligned: bool = False

    def __str__(self) -> str:
        tail = "" if self.fraction is None else f"{self.fraction:g}"
        return f"{self.frame}{self.frame_size}-{self.normalization}{tail}{'-aligned' if self.aligned else ''}"


def channels_of(protocols: Iterable[Protocol]) -> list[Channel]:
    """The channels that protocols read, each once, in order."""
    return list(dict.fromkeys(p.channel for p in protocols))


def differences(a: Mapping[str, Any], b: Mapping[str, Any]) -> list[str]:
    """The fields in which two definitions differ, name and source aside; empty when they mean the same number.

    A field that a definition lacks, since it was written before there was one, has its default.
    """
    usual = {f.name: f.default for f in dataclasses.fields(Protocol)}
    found = []
    for key in {**a, **b}:
        left, right = (d.get(key, usual.get(key)) for d in (a, b))
        if key not in ("name", "source") and left != right:
            found.append(f"{key}: {left!r} / {right!r}")
    return found


def short_hash(protocol: Protocol) -> str:
    """Eight hex digits that stand for what a protocol computes: another definition has another hash, another name or
    source does not change it, and neither does a field that was added later and has its default."""
    usual = {f.name: f.default for f in dataclasses.fields(Protocol)}
    fields = {k: v for k, v in dataclasses.asdict(protocol).items() if k == "metric" or v != usual[k]}
    said = {k: v for k, v in fields.items() if k not in ("name", "source", *_NOT_DEFINING)}
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()[:8]
