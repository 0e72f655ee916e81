"""The trained network of a run."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from wsol.errors import UserError
from wsol.files.checked_safetensors import load_tensors
from wsol.models import build_classifier, load_state
from wsol.runs.made_by import made_by, require_made_by
from wsol.runs.record import WEIGHTS, Run, load_run

if TYPE_CHECKING:
    import torch

    from wsol.models import Classifier


def load_classifier(run: Run | str | os.PathLike[str], device: torch.device | str = "cpu") -> Classifier:
    """The trained network of a run, in evaluation mode, on a device.

    Missing or damaged weights, or weights of another network, are a `UserError`.
    """
    if not isinstance(run, Run):
        run = load_run(run)
    if not run.weights.is_file():
        raise UserError(f"run '{run.dir}' has no {WEIGHTS}; it {run.situation}")
    tensors, values = load_tensors(run.weights)
    require_made_by(values, made_by(run.config, run.manifest_hash), str(run.weights))
    model = build_classifier(run.spec, method=run.make_method())
    load_state(model, tensors, str(run.weights), allow_new_head=False)
    return model.to(device).eval()


def untrained_classifier(run: Run, seed: int, device: torch.device | str = "cpu") -> Classifier:
    """The network of a run before any training and without other weights, in evaluation mode: a control."""
    return build_classifier(run.spec, method=run.make_method(), seed=seed).to(device).eval()
