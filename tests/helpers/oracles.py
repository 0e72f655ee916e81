"""The independent implementations and data that tests compare with, in one place.

A test asks for one with `oracle(NAME)` and is skipped where it is absent; every run says at its end which were absent.
With WSOL_REQUIRE_ORACLES=1 (as `.ci/run` sets it) a run without one of `REQUIRED` does not start.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest


@dataclass(frozen=True)
class Oracle:
    """What is compared with it, and whether it is at hand."""

    checks: str
    present: Callable[[], bool]


def data_folder() -> Path:
    """Folder of the real archives: environment variable WSOL_DATA, else ../shared/data."""
    return Path(os.environ.get("WSOL_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))


def find_chromium() -> str | None:
    """The browser's path, or None where there is none."""
    names = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
    return next((path for name in names if (path := shutil.which(name))), None)


def _installed(module: str) -> Callable[[], bool]:
    return lambda: importlib.util.find_spec(module) is not None


ORACLES = {
    "torchcam": Oracle("class activation maps", _installed("torchcam")),
    "pytorch_grad_cam": Oracle("map methods, a second time", _installed("pytorch_grad_cam")),
    "pycocotools": Oracle("COCO boxes, masks and IoU", _installed("pycocotools")),
    "timm": Oracle("further networks and their own preprocessing, CutMix and Mixup", _installed("timm")),
    "h5py": Oracle("score maps in HDF5", _installed("h5py")),
    "tensorboard": Oracle("training curves", _installed("tensorboard")),
    "submitit": Oracle("studies with several workers", _installed("submitit")),
    "optuna": Oracle("the budgeted search", _installed("optuna")),
    "chromium": Oracle("the pages, in a browser", lambda: find_chromium() is not None),
    "data": Oracle("real photographs and the reference metadata (WSOL_DATA)", lambda: data_folder().is_dir()),
}
REQUIRED = ("torchcam", "pycocotools", "timm", "h5py", "tensorboard", "submitit", "optuna")
"""What `.ci/run` must have; the browser and the data are used where they are."""


def oracle(name: str, module: str | None = None) -> Any:
    """The module of an oracle (or a submodule of it); skips the test where it is absent."""
    if not ORACLES[name].present():
        pytest.skip(f"the oracle {name} is absent ({ORACLES[name].checks})")
    return importlib.import_module(module or name)


def absent() -> list[str]:
    """Names of the oracles that are not at hand."""
    return [name for name, found in ORACLES.items() if not found.present()]
