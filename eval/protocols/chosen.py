"""Protocols by name, with their variants; those of one's own from a YAML file."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

from eval.protocols.definition import NormalizationName, Protocol
from eval.protocols.published import PROTOCOLS
from wsol.errors import UserError, unknown_name
from wsol.files.strict_yaml import read_yaml


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
    chosen = [protocol_named(n, known) for n in (names or [n for n, p in known.items() if not p.on_request])]
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
