"""Classifiers with a final map and a linear head, by name, at a chosen output stride.

Importing the package gives names and specs without importing torch (the commands' `--help` reads them); what needs
torch loads on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from wsol.models.networks import (
    NETWORKS,
    STRIDE_PLANS,
    Network,
    default_output_stride,
    default_stride_plan,
    find_network,
)
from wsol.models.pixels import IMAGENET, Pixels
from wsol.models.spec import ClassifierSpec

if TYPE_CHECKING:
    from wsol.models.build import build_classifier, load_external_classifier, untrained
    from wsol.models.classifier import Classifier, Parts
    from wsol.models.head import Outputs, PooledLinear
    from wsol.models.mode import evaluation_mode
    from wsol.models.pretrained import LoadReport, load_pretrained, load_state

_MODULES = {
    "Classifier": "classifier",
    "LoadReport": "pretrained",
    "Outputs": "head",
    "Parts": "classifier",
    "PooledLinear": "head",
    "build_classifier": "build",
    "evaluation_mode": "mode",
    "load_external_classifier": "build",
    "load_pretrained": "pretrained",
    "load_state": "pretrained",
    "untrained": "build",
}

__all__ = [
    "IMAGENET",
    "NETWORKS",
    "STRIDE_PLANS",
    "Classifier",
    "ClassifierSpec",
    "LoadReport",
    "Network",
    "Outputs",
    "Parts",
    "Pixels",
    "PooledLinear",
    "build_classifier",
    "default_output_stride",
    "default_stride_plan",
    "evaluation_mode",
    "find_network",
    "load_external_classifier",
    "load_pretrained",
    "load_state",
    "untrained",
]


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"wsol.models.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
