"""A person's own module, from the Python interface to numbers, a table, a figure; docs/api.md and its notebook run."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from eval.api import Pixels, evaluate, score_maps
from tests.helpers.notebook import run_cells
from wsol.errors import UserError
from wsol.manifest import Manifest, Sample, Split
from wsol.models.any_network import AnyNetwork

DOCS = Path(__file__).resolve().parents[2] / "docs"
SIDE = 64
PIXELS = Pixels((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), SIDE, "bilinear", 1.0)


class Colours(nn.Module):
    """Class k is the share of colour k beyond the two others; nothing is learned, so every number is known."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 3, 1, bias=False), nn.AvgPool2d(4))
        self.last = nn.Linear(3, 3, bias=False)
        self.body[0].weight.data = (2 * torch.eye(3) - 1)[:, :, None, None]
        self.last.weight.data = torch.eye(3)

    def forward(self, images: Tensor) -> Tensor:
        return self.last(self.body(images).mean((2, 3)))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """A square of one colour on grey, 4 images a class and split, with the square's box."""
    folder = tmp_path_factory.mktemp("squares")
    rng = np.random.default_rng(0)
    splits = {}
    for role in ("train-fullsup", "test"):
        rows = []
        for i in range(12):
            picture = np.full((SIDE, SIDE, 3), 100, np.uint8)
            x, y = (4 * rng.integers(1, 7, 2)).tolist()
            picture[y : y + 32, x : x + 32, i % 3] = 250
            Image.fromarray(picture).save(folder / f"{role}-{i}.png")
            box = np.array([[x, y, x + 32, y + 32]], np.float64)
            rows.append(Sample(f"{role}-{i}.png", f"{role}-{i}.png", i % 3, (SIDE, SIDE), box))
        splits[role] = Split.from_samples(rows)
    return Manifest("squares", ("red", "green", "blue"), splits, root=str(folder))


def test_a_network_that_finds_every_square(dataset: Manifest, tmp_path: Path) -> None:
    results = evaluate(Colours(), dataset, pixels=PIXELS, out=tmp_path, bootstrap=50, device="cpu")
    assert results["maxboxacc"].value == results["top1_loc"].value == 100.0
    low, high = results["maxboxacc"].ci95 or (0.0, 0.0)
    assert low < high == 100.0
    assert set(results["maxboxacc_v2"].threshold) == {"30", "50", "70"}  # type: ignore[arg-type]
    assert results.controls["full_image"]["maxboxacc"].value == 0.0, "a square is a quarter of its image"
    assert json.loads((tmp_path / "results.json").read_text())["protocols"] == results.content["protocols"]
    with pytest.raises(UserError, match="the dataset has no masks"):
        results["pxap"]


def test_a_table_and_a_figure(dataset: Manifest) -> None:
    results = evaluate(
        Colours(),
        dataset,
        pixels=PIXELS,
        protocols=["maxboxacc", "top1_loc"],
        bootstrap=20,
        limit=5,
        device="cpu",
    )
    assert results.content["num_images"] == 5
    assert "only 5 images of each split" in results.notes[0]
    figure = results.plot()
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["maxboxacc", "top1_loc"]
    pytest.importorskip("pandas")
    frame = results.to_frame()
    assert frame.loc["maxboxacc", "value"] == 100.0
    assert set(frame.columns) == {"value", "low", "high", "center_gaussian", "full_image"}


def test_maps_are_the_class_activation_map_over_the_cells() -> None:
    images = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (2, 3, SIDE, SIDE)).astype(np.uint8))
    model = Colours().train()
    maps = score_maps(model, images, torch.tensor([0, 2]), pixels=PIXELS)
    with torch.no_grad():
        features = model.body(images / 255)
    expected = torch.stack([features[0, 0], features[1, 2]]) / 16**2
    torch.testing.assert_close(maps, expected)
    assert model.training, "its mode is as it was"


def test_the_last_map_is_found_and_others_go_by_name() -> None:
    from torchvision.models import densenet121, resnet18, vgg11

    small = Pixels((0.5,) * 3, (0.5,) * 3, 64, "bilinear", 1.0)
    assert AnyNetwork(resnet18(num_classes=4), small).spec.layer == "layer4"
    assert AnyNetwork(densenet121(num_classes=4), small).spec.layer == "features"
    assert AnyNetwork(vgg11(num_classes=4), small).spec.layer == "avgpool"
    images = torch.zeros((1, 3, 64, 64), dtype=torch.uint8)
    maps = score_maps(resnet18(num_classes=4), images, layer="layer3", map_method="layercam", pixels=small)
    assert maps.shape == (1, 4, 4)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        pytest.param(nn.Conv2d(3, 4, 1), r"gives \[1, 4, 64, 64\], expected logits", id="no logits"),
        pytest.param(nn.Linear(7, 3), "does not take images", id="other input"),
        pytest.param(
            nn.Sequential(nn.Flatten(), nn.Linear(3 * 64 * 64, 3)), "no layer of Sequential", id="no map"
        ),
        pytest.param(
            nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
            "3 classes",
            id="classes",
        ),
    ],
)
def test_models_that_do_not_fit(dataset: Manifest, model: nn.Module, message: str) -> None:
    with pytest.raises(UserError, match=message):
        evaluate(model, dataset, pixels=PIXELS, device="cpu")


def test_the_lines_of_the_documentation_run(dataset: Manifest, capsys: pytest.CaptureFixture[str]) -> None:
    block = re.search(
        r"<!-- run by tests/eval/test_api.py -->\n```python\n(.*?)```", (DOCS / "api.md").read_text(), re.S
    )
    assert block is not None
    assert len(block[1].strip().splitlines()) <= 10
    exec(block[1], {"model": Colours(), "dataset": dataset})
    value, controls = capsys.readouterr().out.strip().splitlines()
    assert value.startswith("100.0 (")
    assert 0 <= float(controls) <= 100


def test_the_notebook_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, dataset: Manifest) -> None:
    """The dataset is the small one of this file; `.ci/run` takes `parts`, after the demo has drawn it."""
    pytest.importorskip("pandas")
    from wsol.datasets import catalog

    monkeypatch.setattr(catalog, "open_dataset", lambda name: dataset)
    names = run_cells(DOCS / "first_look.ipynb")
    assert names["maps"].shape == (4, 16, 16)
    assert names["results"]["maxboxacc_v2"].ci95 is not None
