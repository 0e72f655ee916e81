"""FSL: a saliency head taught on train-fullsup's boxes or masks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from eval.fsl.__main__ import main as fsl
from eval.fsl.few_shot import Lesson, saliency, saliency_loss, teach
from eval.localize import main as localize
from tests.helpers.evaluations import SIDE, make_pictures, make_run
from wsol.class_map import map_classes
from wsol.loading import normalize_images
from wsol.manifest import load_manifest, split_hash, write_manifest
from wsol.models import ClassifierSpec, build_classifier
from wsol.training.config import TrainConfig
from wsol.training.data import first_classes


def test_the_loss_is_the_cross_entropy_of_every_pixel() -> None:
    maps = torch.tensor([[[-2.0, 1.0], [0.5, 3.0]]])
    objects = torch.tensor([[[True, False, False, True]] * 4])
    p = interpolate(maps[None], (4, 4), mode="bilinear", align_corners=False)[0, 0].sigmoid()
    by_hand = -torch.where(objects[0], p.log(), (1 - p).log()).mean()
    assert torch.allclose(saliency_loss(maps, objects), by_hand)


def test_the_map_is_the_output_at_every_cell() -> None:
    model = build_classifier(ClassifierSpec("resnet_small", 1, 8, SIDE), seed=0).eval()
    images = torch.randn(2, 3, SIDE, SIDE)
    with torch.no_grad():
        assert torch.allclose(saliency(model, images).mean((1, 2)), model(images).logits[:, 0], atol=1e-6)


def test_it_learns_where_a_rectangle_is() -> None:
    chance = np.random.default_rng(0)
    images = torch.from_numpy(chance.integers(0, 90, (24, 3, SIDE, SIDE), dtype=np.uint8))
    objects = torch.zeros(24, SIDE, SIDE, dtype=torch.bool)
    for i in range(24):
        x, y = chance.integers(0, SIDE - 14, 2)
        objects[i, y : y + 14, x : x + 14] = True
    images = torch.where(objects[:, None], images + 120, images)
    model = build_classifier(ClassifierSpec("resnet_small", 1, 8, SIDE), seed=0)
    config = TrainConfig(epochs=12, batch_size=8, lr=0.1, size=SIDE, workers=0)
    before = [p.clone() for p in model.backbone.parameters()]
    loss = teach(model, Lesson(images[:16], objects[:16]), config, seed=0)
    assert loss < 0.45  # ln 2 is what knows nothing
    assert any(not torch.equal(a, b) for a, b in zip(before, model.backbone.parameters()))
    with torch.no_grad():
        maps = saliency(model.eval(), normalize_images(images[16:], model.spec.input))
    large = interpolate(maps[:, None], (SIDE, SIDE), mode="bilinear")[:, 0]
    inside, outside = large[objects[16:]], large[~objects[16:]]
    assert inside.mean() - outside.mean() > 2
    again = build_classifier(replace(model.spec), seed=0)
    assert teach(again, Lesson(images[:16], objects[:16]), config, seed=0) == loss


def test_the_command_makes_maps_that_are_scored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = make_pictures(tmp_path / "data", test=6, fullsup=9)
    run = make_run(tmp_path / "run", manifest)
    options = ["--epochs", "1", "--images-per-class", "2", "--device", "cpu"]
    assert fsl([str(run), *options]) == 0
    assert "taught on 6 of 9 images" in capsys.readouterr().out
    record = json.loads((run / "fsl" / "fsl.json").read_text())
    assert (record["images"], record["of"], record["classifier"]["num_classes"]) == (6, 9, 1)
    with np.load(run / "fsl" / "maps.npz") as maps:
        assert len(maps.files) == 15
        assert all(0 <= maps[name].min() <= maps[name].max() <= 1 for name in maps.files)
    scored = [
        *("--score-maps", str(run / "fsl" / "maps.npz"), "--map-values", "raw", "--dataset", str(manifest)),
        *("--protocol-file", str(tmp_path / "data" / "protocols.yaml"), "--protocols", "transferred", "v2"),
        *("--bootstrap", "0", "--pictures", "0", "--out", str(tmp_path / "eval")),
    ]
    assert localize(scored) == 0
    results = json.loads((tmp_path / "eval" / "results.json").read_text())
    assert set(results["protocols"]) == {"transferred", "v2"}


def test_a_run_of_some_classes_is_compared_on_their_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A third of the images are of the class that the run was not trained on (--classes 2)."""
    whole = load_manifest(make_pictures(tmp_path / "data", test=6, fullsup=9))
    splits = {role: first_classes(split, 2) for role, split in whole.splits.items()}
    dataset = write_manifest(replace(whole, classes=("a", "b"), splits=splits), tmp_path / "dataset")
    run = make_run(tmp_path / "run", dataset)
    write_manifest(whole, dataset)
    assert fsl([str(run), "--epochs", "1", "--device", "cpu"]) == 0
    said = capsys.readouterr().out
    assert "2 of 6 images of 'test' are left out" in said
    assert "taught on 6 of 6 images" in said
    assert f"--dataset {run / 'fsl' / 'dataset'}" in said
    with np.load(run / "fsl" / "maps.npz") as maps:
        assert len(maps.files) == 10
    own = load_manifest(run / "fsl" / "dataset")
    assert split_hash(own.split("test")) == split_hash(map_classes(whole, 2, "run")[0].split("test"))


def test_what_cannot_be_taught_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    manifest = make_pictures(tmp_path / "data", test=3, fullsup=3)
    run = make_run(tmp_path / "run", manifest)
    assert fsl([str(run), "--split", "train-fullsup"]) == 2
    assert "its maps are written anyway" in capsys.readouterr().err
    assert fsl([str(run), "--epochs", "0"]) == 2
    assert "--epochs must be at least 1" in capsys.readouterr().err
    assert not (run / "fsl").exists()
