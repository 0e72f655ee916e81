"""Training methods by name: plain training, mixing and erasing of images, and methods that extend the network.

Importing this package does not import torch, so that command lines can list names and settings at once.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import fields
from typing import Any, TypeVar

from wsol.errors import UserError, unknown_name
from wsol.methods.acol import ACoL
from wsol.methods.adl import ADL
from wsol.methods.attentive_cutmix import AttentiveCutMix
from wsol.methods.batch import MixedBatch, mixed_cross_entropy, soft_targets
from wsol.methods.cutmix import CutMix
from wsol.methods.cutout import Cutout
from wsol.methods.dropblock import DropBlock
from wsol.methods.feature_cutmix import FeatureCutMix
from wsol.methods.fmix import FMix
from wsol.methods.has import HaS
from wsol.methods.label_smoothing import LabelSmoothing
from wsol.methods.manifold_mixup import ManifoldMixup
from wsol.methods.method import Method, setting
from wsol.methods.mixup import Mixup
from wsol.methods.resizemix import ResizeMix
from wsol.methods.saliencymix import SaliencyMix
from wsol.methods.snapmix import SnapMix
from wsol.methods.spg import SPG
from wsol.methods.ts_cam import TsCam
from wsol.methods.vanilla import Vanilla

METHODS: dict[str, type[Method]] = {
    cls.name: cls
    for cls in (
        Vanilla,
        CutMix,
        Mixup,
        Cutout,
        HaS,
        LabelSmoothing,
        FeatureCutMix,
        ManifoldMixup,
        ResizeMix,
        FMix,
        SaliencyMix,
        SnapMix,
        AttentiveCutMix,
        DropBlock,
        ADL,
        ACoL,
        SPG,
        TsCam,
    )
}

M = TypeVar("M", bound=type[Method])


def register(method: M) -> M:
    """Add a method from outside this package; also a decorator.

    Call it before `wsol.training.config` is imported, which makes the flags, and again in every program that loads
    a run of the method. Raises RuntimeError when it is too late, ValueError for a name that is taken.
    """
    if "wsol.training.config" in sys.modules:
        raise RuntimeError("register methods before wsol.training.config is imported: flags are made there")
    if method.name in METHODS:
        raise ValueError(f"there is a method named '{method.name}' already")
    METHODS[method.name] = method
    return method


def method_named(name: str) -> type[Method]:
    """The class of a method; `UserError` for an unknown name."""
    if name not in METHODS:
        raise unknown_name("method", name, METHODS)
    return METHODS[name]


def method_from_dict(record: Mapping[str, Any]) -> Method:
    """The method that `to_dict` described; `UserError` for an unknown name or setting, or an illegal value.

    >>> method_from_dict({"name": "mixup", "prob": 0.5})
    Mixup(alpha=1.0, prob=0.5)
    """
    cls = method_named(str(record.get("name", "")))
    legal = [f.name for f in fields(cls)]
    settings = {key: value for key, value in record.items() if key != "name"}
    for key in settings:
        if key not in legal:
            known = ", ".join(legal) or "(none)"
            raise UserError(f"{record['name']}: unknown setting '{key}'. Legal: {known}")
    return cls(**{key: tuple(value) if isinstance(value, list) else value for key, value in settings.items()})


__all__ = [
    "METHODS",
    "CutMix",
    "Cutout",
    "HaS",
    "Method",
    "MixedBatch",
    "Mixup",
    "Vanilla",
    "method_from_dict",
    "method_named",
    "mixed_cross_entropy",
    "register",
    "setting",
    "soft_targets",
]
