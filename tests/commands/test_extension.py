"""What is added from outside the package works through the public commands, without an edit of the product."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.helpers.dummy_method import Twin
from tests.helpers.tiny_dataset import make_tiny_dataset
from wsol.errors import UserError
from wsol.files.checked_safetensors import load_tensors
from wsol.methods import METHODS, register
from wsol.runs.network import load_classifier
from wsol.runs.record import load_run

ROOT = Path(__file__).parents[2]


def program(folder: Path, kill_after: int) -> subprocess.CompletedProcess[str]:
    """`tests/helpers/dummy_method.py` as a process of its own."""
    command = [sys.executable, "-m", "tests.helpers.dummy_method", str(folder), str(kill_after)]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )


def test_a_method_from_outside_trains_resumes_localizes_and_compares(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_tiny_dataset(tmp_path)
    assert program(tmp_path, kill_after=5).returncode == -9
    assert load_run(tmp_path / "run").status == "killed"
    done = program(tmp_path, kill_after=0)
    assert done.returncode == 0, done.stderr + done.stdout
    assert "continuing in epoch 2 at step 4" in done.stdout
    weights = [load_tensors(tmp_path / name / "model.safetensors")[0] for name in ("run", "undisturbed")]
    assert all(torch.equal(weights[0][k], weights[1][k]) for k in weights[1])
    assert {"head.a.weight", "head.b.bias"} <= set(weights[0])
    run = load_run(tmp_path / "run")
    assert run.record["method"] == {"name": "twin", "share": 0.5}
    assert run.config["twin_share"] == 0.5
    assert (tmp_path / "run/eval/results.json").is_file()
    with np.load(tmp_path / "run/eval/maps/test/block-000000.npz") as stored:
        assert all(
            (stored[frame] >= 0).all() for frame in stored.files if frame != "seal.json"
        )  # squares: the method's own map, no CAM
    assert (tmp_path / "comparison/compare.html").is_file()
    with pytest.raises(UserError, match=r"run\.yaml: unknown method 'twin'.*the program, that trained it"):
        load_classifier(run)
    monkeypatch.setitem(METHODS, "twin", Twin)
    model = load_classifier(run)
    assert model.method == Twin(0.5)


def test_methods_are_registered_before_their_flags_are_made() -> None:
    with pytest.raises(RuntimeError, match=r"before wsol\.training\.config is imported"):
        register(Twin)
    with pytest.raises(
        UserError, match="twin needs --twin-share, which its source does not state: Weight of"
    ):
        Twin()
