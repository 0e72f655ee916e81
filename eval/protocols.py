"""Published localization protocols as data: every degree of freedom is a field, so two results can be compared by
comparing their definitions.

Sources: Choe et al., CVPR 2020 (arXiv 2001.07437) and TPAMI (arXiv 2007.04178) for MaxBoxAcc, MaxBoxAccV2 and
PxAP; Yun et al., ICCV 2019 (arXiv 1905.04899, appendix B) for `cutmix2019`; Zhou et al., CVPR 2016
(arXiv 1512.04150) for `cam2016`; Kim et al., ICCV 2021 (arXiv 2107.13221) for the normalisations.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from pydantic import TypeAdapter, ValidationError

from wsol.errors import UserError, unknown_name
from wsol.files.strict_yaml import read_yaml

Metric = Literal["box_accuracy", "pixel_average_precision", "mask_iou"]
Frame = Literal["resize", "center-crop"]
NormalizationName = Literal["minmax", "max", "pas", "ivr"]
Drawing = Literal["resized", "aligned"]
ThresholdRule = Literal["oracle", "fixed", "transferred", "none"]


_NOT_DEFINING = ("other_normalizations", "pictured")
"""Fields of a protocol that its number does not depend on."""


@dataclass(frozen=True)
class Protocol:
    """One way of turning score maps and annotations into one number.

    `frame`: "resize" scores in a `frame_size` square that the whole image is resized to, aspect ignored;
    "center-crop" scores in the centre crop of an image resized to 256/224 of it. `threshold`: "oracle" takes the best
    threshold on the split being scored (an upper bound), "fixed" uses `fixed_threshold`, "transferred" takes the
    best one on train-fullsup, one per IoU threshold. `contours`: "largest" keeps the contour of largest polygon area,
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
    source: str = ""
    other_normalizations: bool = True
    """Whether `--normalizations` also scores it otherwise: not where normalisation is what the paper is cited for."""
    pictured: bool = False
    """Whether pictures of a run show its boxes."""

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


_CHOE = "Choe et al., CVPR 2020, arXiv 2001.07437"
_CHOE_V2 = "Choe et al., TPAMI 2022, arXiv 2007.04178"
_V2 = (0.3, 0.5, 0.7)
CONVENTIONAL_THRESHOLD = 0.2

_BASE: tuple[Protocol, ...] = (
    Protocol("maxboxacc", source=_CHOE, pictured=True),
    Protocol("maxboxacc_v2", contours="all", iou_thresholds=_V2, source=_CHOE_V2, pictured=True),
    Protocol(
        "maxboxacc_transferred", threshold="transferred", source=_CHOE + ", threshold from train-fullsup"
    ),
    Protocol(
        "maxboxacc_v2_transferred",
        contours="all",
        iou_thresholds=_V2,
        threshold="transferred",
        source=_CHOE_V2 + ", thresholds from train-fullsup",
    ),
    Protocol(
        "gt_known_fixed",
        threshold="fixed",
        fixed_threshold=CONVENTIONAL_THRESHOLD,
        source="GT-known Loc at the conventional fixed threshold (CAM, CVPR 2016) on min-max maps",
    ),
    Protocol(
        "top1_loc",
        threshold="fixed",
        fixed_threshold=CONVENTIONAL_THRESHOLD,
        class_gate="top1",
        source="Top-1 Loc: gt_known_fixed and the true class ranked first",
    ),
    Protocol(
        "top5_loc",
        threshold="fixed",
        fixed_threshold=CONVENTIONAL_THRESHOLD,
        class_gate="top5",
        source="Top-5 Loc: gt_known_fixed and the true class among the first five",
    ),
    Protocol(
        "cam2016",
        normalization="max",
        threshold="fixed",
        fixed_threshold=0.2,
        source="Zhou et al., CVPR 2016, arXiv 1512.04150",
        other_normalizations=False,
    ),
    Protocol(
        "cutmix2019",
        frame="center-crop",
        normalization="max",
        threshold="fixed",
        fixed_threshold=0.15,
        iou_comparison=">",
        class_gate="top1",
        class_view="scored",
        source="Yun et al., ICCV 2019, arXiv 1905.04899, appendix B; boxes follow the crop, clipped (not stated there)",
        other_normalizations=False,
    ),
    Protocol("pxap", metric="pixel_average_precision", threshold="none", source=_CHOE),
    Protocol(
        "mask_iou",
        metric="mask_iou",
        threshold="oracle",
        source="pooled IoU of mask and thresholded map, best threshold",
    ),
)
PROTOCOLS: Mapping[str, Protocol] = {p.name: p for p in _BASE}


def protocol_named(name: str, known: Mapping[str, Protocol] = PROTOCOLS) -> Protocol:
    """A protocol by name, with its marks applied: `@max`, `@pas`, `@ivr`, `@minmax` (another normalisation),
    `@first_gt`, `@aligned`.

    >>> protocol_named("maxboxacc@ivr").normalization
    'ivr'
    """
    base, *marks = name.split("@")
    if base not in known:
        raise unknown_name("protocol", base, known)
    protocol = known[base]
    for mark in marks:
        if mark == "first_gt":
            protocol = dataclasses.replace(protocol, gt_boxes="first")
        elif mark == "aligned":
            protocol = dataclasses.replace(protocol, drawing="aligned")
        elif mark in ("minmax", "max", "pas", "ivr"):
            protocol = dataclasses.replace(protocol, normalization=mark, normalization_fraction=None)  # type: ignore[arg-type]
        else:
            raise unknown_name(
                "protocol variant", mark, ("minmax", "max", "pas", "ivr", "first_gt", "aligned")
            )
    return dataclasses.replace(protocol, name=name)


def select(
    names: Sequence[str] = (),
    *,
    normalizations: Iterable[str] = (),
    first_gt: bool = False,
    aligned: bool = False,
    ivr_fraction: float | None = None,
    extra: Mapping[str, Protocol] | None = None,
) -> tuple[Protocol, ...]:
    """The protocols to score: `names` (default: all published ones and those in `extra`), each also under every
    further normalisation asked for, with only the first ground-truth box and with aligned cells where asked."""
    known = {**PROTOCOLS, **(extra or {})}
    chosen = [protocol_named(n, known) for n in (names or known)]
    for normalization in normalizations:
        for p in list(chosen):
            if p.other_normalizations and p.normalization != normalization and "@" not in p.name:
                chosen.append(protocol_named(f"{p.name}@{normalization}", known))
    if first_gt:
        for p in list(chosen):
            if p.metric == "box_accuracy" and p.gt_boxes == "any":
                chosen.append(dataclasses.replace(p, name=f"{p.name}@first_gt", gt_boxes="first"))
    if aligned:
        resized = [p for p in chosen if p.drawing == "resized"]
        chosen += [dataclasses.replace(p, name=f"{p.name}@aligned", drawing="aligned") for p in resized]
    if ivr_fraction is not None:
        chosen = [
            dataclasses.replace(p, normalization_fraction=ivr_fraction) if p.normalization == "ivr" else p
            for p in chosen
        ]
    return tuple({p.name: p for p in chosen}.values())


def normalization_variants(protocols: Iterable[Protocol]) -> dict[str, dict[str, Protocol]]:
    """For each protocol of boxes at the best threshold, itself and its variants by normalisation: what says whether the
    sign of a difference depends on the normalisation.

    >>> sorted(normalization_variants([PROTOCOLS["maxboxacc"], PROTOCOLS["pxap"]])["maxboxacc"])
    ['ivr', 'max', 'minmax', 'pas']
    """
    return {
        p.name: {
            n: p if n == p.normalization else dataclasses.replace(p, name=f"{p.name}@{n}", normalization=n)
            for n in get_args(NormalizationName)
        }
        for p in protocols
        if p.metric == "box_accuracy" and p.threshold == "oracle" and p.class_gate == "none"
        if p.normalization == "minmax" and p.frame == "resize" and "@" not in p.name
    }


def load_protocols(file: str | os.PathLike[str]) -> dict[str, Protocol]:
    """A user's own protocols from YAML: a mapping of name to fields; `based_on: NAME` starts from a known one.

    my_protocol:
      based_on: maxboxacc
      iou_thresholds: [0.4]
    """
    path = Path(file)
    try:
        data = read_yaml(path)
    except OSError as error:
        raise UserError(f"{path}: cannot read the protocol file: {error.strerror}") from error
    if not isinstance(data, dict) or not data:
        raise UserError(f"{path}: expected a mapping of protocol names to their fields")
    adapter = TypeAdapter(Protocol)
    fields = [f.name for f in dataclasses.fields(Protocol)]
    found: dict[str, Protocol] = {}
    for name, entry in data.items():
        if str(name) in PROTOCOLS or "@" in str(name):
            raise UserError(
                f"{path}: protocol '{name}': the names of published protocols and those with '@' are taken; give it "
                "another name"
            )
        if not isinstance(entry, dict):
            raise UserError(f"{path}: protocol '{name}' must be a mapping of fields, got {entry!r:.60}")
        values = dict(entry)
        base = values.pop("based_on", None)
        start: dict[str, Any] = {}
        if base is not None:
            start = dataclasses.asdict(protocol_named(str(base), {**PROTOCOLS, **found}))
        for key in values:
            if key not in fields:
                raise UserError(f"{path}: protocol '{name}': {unknown_name('field', str(key), fields)}")
        try:
            found[str(name)] = adapter.validate_python({**start, **values, "name": str(name)})
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise UserError(f"{path}: protocol '{name}': {where}: {first['msg']}") from error
    return found


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
