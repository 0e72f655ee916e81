"""Boxes that lie beside the objects by a known amount."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from eval.localize import main as localize
from eval.metrics.results_json import read_results
from eval.terminal.tables import displacement_text
from wsol.manifest import Manifest, Sample, Split, write_manifest


def test_known_displacements_are_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Masks of the boxes, moved by 8 to the right and 3 up; images with two boxes or no map are left out."""
    rng = np.random.default_rng(0)
    samples = []
    for i in range(20):
        x, y = (int(v) for v in rng.integers(40, 100, 2))
        boxes = [[x, y, x + 60, y + 50]] + ([[5.0, 5, 20, 20]] if i == 0 else [])
        samples.append(Sample(f"{i}.png", f"{i}.png", 0, (224, 224), np.array(boxes, float)))
        moved = np.zeros((224, 224), np.float32)
        moved[y - 3 : y + 47, x + 8 : x + 68] = 1
        if i != 1:
            np.save(tmp_path / f"{i}.png.npy", moved)
    write_manifest(Manifest("moved", ("a",), {"test": Split.from_samples(samples)}), tmp_path / "m")
    arguments = [
        "--score-maps",
        str(tmp_path),
        "--dataset",
        str(tmp_path / "m"),
        "--out",
        str(tmp_path / "o"),
    ]
    assert localize([*arguments, "--bootstrap", "50"]) == 0
    found = read_results(tmp_path / "o")["displacement"]["maxboxacc"]
    assert (found["dx"]["value"], found["dy"]["value"]) == (8, -3)
    assert found["dx"]["ci95"] == [8, 8]
    assert found["num_images"] == 18
    assert "dx +8.0 [+8.0, +8.0], dy -3.0 [-3.0, -3.0] of 224 px (18 images" in displacement_text(found)
    assert "box centres minus object centres" in capsys.readouterr().out
