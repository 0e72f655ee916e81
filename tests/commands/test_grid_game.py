"""The grid game: an oracle gets 100, a uniform map 1 / tiles, a network without training chance."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
import torch
from PIL import Image

from eval.grid_game import main
from eval.grids.play import _mean
from eval.grids.players import network_player
from eval.grids.separate import over_separate_tiles
from eval.grids.tiles import draw_grids, tile_shares, tiled
from tests.helpers.builders_eval import build_dataset
from wsol.cams.registry import layer_maps
from wsol.errors import UserError
from wsol.loading import normalize_images
from wsol.models import Classifier, ClassifierSpec, build_classifier
from wsol.models.head import PooledLinear

SOURCE = """
import torch

def uniform(images, class_ids):
    return torch.ones(len(images), 7, 5)

def oracle(images, class_ids):  # every picture of class k is filled with k * 60
    return ((images.mean(1) - class_ids[:, None, None] * 60 / 255).abs() < 0.01).float()

def nothing(images, class_ids):
    return -torch.ones(len(images), 4, 4)
"""


@pytest.fixture
def classes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dataset of four classes whose pictures are filled with one grey each."""
    manifest = build_dataset(tmp_path, test=25, fullsup=0)
    split = manifest.split("test")
    for row in range(len(split)):
        w, h = (int(v) for v in split.sizes_wh[row])
        Image.new("RGB", (w, h), (int(split.labels[row]) * 60,) * 3).save(tmp_path / split.path(row))
    (tmp_path / "grid_players.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "grid_players", raising=False)
    return tmp_path


def played(folder: Path, *more: object) -> dict[str, Any]:
    out = folder / "out"
    assert main([str(a) for a in ("--dataset", folder / "manifest", "--out", out, *more)]) == 0
    found: dict[str, Any] = json.loads((out / "grid.json").read_text())
    return found


UNIT = ("--size", 32, "--mean", 0, 0, 0, "--std", 1, 1, 1)


@pytest.mark.parametrize("layout", ["one", "separate"])
def test_oracle_and_uniform(classes: Path, layout: str) -> None:
    values = {}
    for name in ("oracle", "uniform"):
        found = played(classes, "--map-function", f"grid_players:{name}", *UNIT, "--layout", layout)
        assert (found["num_grids"], found["num_images"], found["chance"]) == (6, 25, 25.0)
        values[name] = found["rows"]["network"]
    for what in ("energy", "pointing"):
        assert values["oracle"][what]["value"] == pytest.approx(100.0)
        assert values["uniform"][what]["value"] == pytest.approx(25.0)
    assert (classes / "out" / "grids.png").is_file()


def test_a_map_without_a_positive_value_is_undefined(
    classes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = played(classes, "--map-function", "grid_players:nothing", *UNIT)
    assert found["rows"]["network"]["energy"] == {"value": None, "ci95": None, "num_grids": 0, "undefined": 6}
    assert "6 grids have a map without a positive value" in " ".join(capsys.readouterr().out.split())


def test_intervals_of_few_grids_hold_only_what_can_be() -> None:
    """Student's interval is wider than the range of the values at 3 grids; one inside it is scipy's."""
    assert _mean(np.array([1.0, 1.0, 0.0]), 0)["ci95"] == [0.0, 100.0]
    assert _mean(np.array([1.0, -1.0, 1.0]), -100)["ci95"] == [-100.0, 100.0]
    shares = np.array([0.5, 0.52, 0.6])
    expected = scipy.stats.t.interval(0.95, 2, 100 * shares.mean(), 100 * scipy.stats.sem(shares))
    assert _mean(shares, 0)["ci95"] == pytest.approx(expected)


def test_grids_are_of_different_classes_and_no_image_is_in_two() -> None:
    labels = np.random.default_rng(0).integers(0, 12, 300)
    for side in (2, 3):
        grids = draw_grids(labels, side, seed=1)
        assert grids.shape[1] == side * side
        assert len(grids) > 0.9 * 300 / side**2
        assert all(len(set(labels[g])) == side * side for g in grids)
        assert len(np.unique(grids)) == grids.size
        assert np.array_equal(grids, draw_grids(labels, side, seed=1))
        assert not np.array_equal(grids, draw_grids(labels, side, seed=2))
    assert len(draw_grids(labels, 2, 0, most=5)) == 5


@pytest.mark.parametrize(("size", "side"), [((14, 14), 2), ((7, 5), 2), ((5, 11), 3), ((2, 2), 3)])
def test_shares_equal_those_of_the_enlarged_map(size: tuple[int, int], side: int) -> None:
    """Cells enlarged until borders of tiles are borders of cells, then simply summed; uniform maps give 1 / tiles."""
    m = np.random.default_rng(0).normal(size=size)
    large = np.kron(np.maximum(m, 0), np.ones((side, side)))
    blocks = large.reshape(side, size[0], side, size[1]).sum((1, 3)).ravel()
    assert tile_shares(m, side) == pytest.approx(blocks / large.sum())
    assert tile_shares(np.ones(size), side) == pytest.approx([1 / side**2] * side**2)
    assert np.isnan(tile_shares(-np.ones(size), side)).all()


def test_tiles_lie_row_by_row() -> None:
    pictures = np.arange(4)[:, None, None, None] * np.ones((4, 3, 2, 2), int)
    assert tiled(pictures, 2)[0].tolist() == [[0, 0, 1, 1], [0, 0, 1, 1], [2, 2, 3, 3], [2, 2, 3, 3]]


def test_methods_that_are_equal_play_equally_and_no_training_gets_chance() -> None:
    """CAM in one pass for all classes, HiResCAM in one a class, on noise: the same shares up to the factor of cells."""
    model = build_classifier(ClassifierSpec("resnet_small", 6, 4, 32), seed=0).eval()
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 255, (24, 3, 32, 32), dtype=torch.uint8, generator=generator)
    ids = torch.stack([torch.randperm(6, generator=generator)[:4] for _ in images])
    shares = {}
    for name in ("cam", "hirescam"):
        (wanted,) = layer_maps([name], ["final"])
        maps = network_player(model, wanted, torch.device("cpu"))(images, ids)
        shares[name] = np.array([[tile_shares(m, 2) for m in of] for of in maps])
    assert shares["hirescam"] == pytest.approx(shares["cam"], abs=1e-4, nan_ok=True)
    own = shares["cam"][:, np.arange(4), np.arange(4)].mean(1)
    own = own[np.isfinite(own)]
    assert abs(own.mean() - 0.25) < 4 * own.std(ddof=1) / np.sqrt(len(own))


def difull(model: Classifier, tiles: torch.Tensor, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The final maps of a grid's four tiles put together [C, 2h, 2w], and the gradient [4, C, 2h, 2w] of each class's
    logit, which the head of its own tile gives, by autograd through the cut."""
    with torch.no_grad():
        found = model(normalize_images(tiles, model.spec.input)).features
    h, w = found.shape[2:]
    rows = [torch.cat([found[0], found[1]], -1), torch.cat([found[2], found[3]], -1)]
    whole = torch.cat(rows, -2).requires_grad_()
    gradients = []
    for k in range(4):
        y, x = divmod(k, 2)
        logits = model.head(whole[None, :, y * h : (y + 1) * h, x * w : (x + 1) * w]).logits
        gradients.append(torch.autograd.grad(logits[0, ids[k]], whole)[0])
    return whole.detach(), torch.stack(gradients)


def test_separate_tiles_are_the_disconnected_network() -> None:
    """Every map method on the outputs and the gradient of DiFull as its paper says it, written out."""
    model = build_classifier(ClassifierSpec("resnet_small", 6, 4, 32), seed=0).eval()
    generator = torch.Generator().manual_seed(0)
    tiles = torch.randint(0, 255, (4, 3, 32, 32), dtype=torch.uint8, generator=generator)
    ids = torch.tensor([5, 0, 3, 2])
    features, gradients = difull(model, tiles, ids)
    assert isinstance(model.head, PooledLinear)
    h, w = (n // 2 for n in features.shape[1:])
    means = torch.nn.functional.avg_pool2d(features, (h, w)).flatten(1).T  # [4, C]
    carried = model.head.weight.detach()[ids] * means
    logits = carried.sum(1, keepdim=True) + model.head.bias.detach()[ids, None]
    maps = {
        "gradcam": (gradients.mean((2, 3), keepdim=True) * features).sum(1).relu(),
        "hirescam": (gradients * features).sum(1),
        "layercam": (gradients.relu() * features).sum(1).relu(),
        "ablationcam": torch.einsum("kc,chw->khw", carried / logits, features).relu(),
    }
    own = np.arange(4)
    for name, expected in maps.items():
        (wanted,) = layer_maps([name], ["final"])
        player = network_player(model, over_separate_tiles(wanted, 2), torch.device("cpu"))
        found = player(tiles, ids[:, None])[:, 0]
        assert found == pytest.approx(expected.numpy(), abs=1e-5), name
        inside = np.array([tile_shares(m, 2) for m in found])[own, own]
        assert np.allclose(inside, 1) == (name in ("hirescam", "layercam")), (
            "their gradient is zero elsewhere"
        )
    with pytest.raises(UserError, match="passes images through the network again"):
        over_separate_tiles(layer_maps(["scorecam"], ["final"])[0], 2)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--side", "3"], "needs images of 9 classes, and there are 4"),
        (["--side", "1"], "--side must be at least 2"),
        (["--least-confidence", "0.9"], "needs a network"),
        (["--grids", "1"], "at least 2 are needed"),
    ],
)
def test_what_cannot_be_played(
    arguments: list[str], words: str, classes: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    fixed = ["--dataset", classes / "manifest", "--map-function", "grid_players:uniform", *UNIT]
    assert main([str(a) for a in (*fixed, *arguments)]) == 2
    assert words in " ".join(capsys.readouterr().err.split())
