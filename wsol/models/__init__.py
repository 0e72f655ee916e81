"""Classifiers with a final map and a linear head, by name, at a chosen output stride.

Importing the package gives names and specs without importing torch; what needs torch loads on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from wsol.models.names import (
    ARCHS,
    STRIDE_PLANS,
    Arch,
    check_arch,
    default_output_stride,
    default_stride_plan,
)
from wsol.models.spec import ClassifierSpec

if TYPE_CHECKING:
    from wsol.models.build import build_classifier, load_external_classifier
    from wsol.models.classifier import Classifier
    from wsol.models.mode import evaluation_mode
    from wsol.models.pretrained import LoadReport, load_pretrained, load_state

_HOMES = {
    "Classifier": "classifier",
    "LoadReport": "pretrained",
    "build_classifier": "build",
    "evaluation_mode": "mode",
    "load_external_classifier": "build",
    "load_pretrained": "pretrained",
    "load_state": "pretrained",
}

__all__ = [
    "ARCHS",
    "STRIDE_PLANS",
    "Arch",
    "Classifier",
    "ClassifierSpec",
    "LoadReport",
    "build_classifier",
    "check_arch",
    "default_output_stride",
    "default_stride_plan",
    "evaluation_mode",
    "load_external_classifier",
    "load_pretrained",
    "load_state",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(import_module(f"wsol.models.{_HOMES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
