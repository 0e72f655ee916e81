"""Regularizers of the training images: each draws its random choices apart from applying them.

Importing this package does not import torch, so that command lines can list names and settings at once.
"""

from __future__ import annotations

from typing import Any

from wsol.errors import unknown_name
from wsol.methods.batch import MixedBatch, mixed_cross_entropy, soft_targets
from wsol.methods.contract import Regularizer, settings_from
from wsol.methods.cutmix import CutMix
from wsol.methods.cutout import Cutout
from wsol.methods.has import HaS
from wsol.methods.mixup import Mixup
from wsol.methods.vanilla import Vanilla

REGULARIZERS: dict[str, type[Vanilla] | type[CutMix] | type[Mixup] | type[Cutout] | type[HaS]] = {
    cls.name: cls for cls in (Vanilla, CutMix, Mixup, Cutout, HaS)
}


def regularizer_from_dict(record: dict[str, Any]) -> Regularizer:
    """The regularizer that `to_dict` described; UserError for an unknown name or setting, or an illegal
    value.

    >>> regularizer_from_dict({"name": "cutmix", "prob": 0.5})
    CutMix(alpha=1.0, prob=0.5, per_sample=False)
    """
    name = record.get("name", "")
    if name not in REGULARIZERS:
        raise unknown_name("method", str(name), REGULARIZERS)
    cls = REGULARIZERS[name]
    return cls(**settings_from(record, cls))


__all__ = [
    "REGULARIZERS",
    "CutMix",
    "Cutout",
    "HaS",
    "MixedBatch",
    "Mixup",
    "Regularizer",
    "Vanilla",
    "mixed_cross_entropy",
    "regularizer_from_dict",
    "soft_targets",
]
