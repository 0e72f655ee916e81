"""`eval.localize --map-function`: maps of any function, scored as the same maps from files and from Python."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from eval.api import evaluate_function
from eval.localize import main
from eval.metrics.results_json import read_results
from tests.helpers.builders_eval import build_dataset
from tests.helpers.map_folders import write_maps
from wsol.errors import UserError
from wsol.images import decode_rgb
from wsol.manifest import Manifest
from wsol.models.pixels import Pixels
from wsol.views import resize_rgb

FEW = ("maxboxacc", "cam2016", "top1_loc")
UNIT = Pixels((0.0, 0.0, 0.0), (1.0, 1.0, 1.0), 32, "bilinear", 1.0)
SOURCE = """
import torch

def brightness(images):
    return images.mean(1)

def with_logits(images, class_ids):
    return images.mean(1).numpy(), torch.nn.functional.one_hot(class_ids, 4).float()
"""


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Manifest:
    (tmp_path / "maps_of_mine.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "maps_of_mine", raising=False)
    return build_dataset(tmp_path, test=14, fullsup=0)


def command(tmp_path: Path, *more: object) -> int:
    fixed = ["--dataset", tmp_path / "manifest", "--bootstrap", 0, "--pictures", 0, "--out", tmp_path / "out"]
    return main([str(a) for a in (*more, *fixed, "--protocols", *FEW)])


def test_a_function_gives_what_its_maps_give(dataset: Manifest, tmp_path: Path) -> None:
    """The command, Python, and the same maps written to files."""
    unit = ["--size", 32, "--mean", 0, 0, 0, "--std", 1, 1, 1]
    assert command(tmp_path, "--map-function", "maps_of_mine:with_logits", *unit) == 0
    found = read_results(tmp_path / "out")
    assert found["classification"]["top1"]["value"] == 100.0
    assert found["provenance"]["map_function"] == "maps_of_mine:with_logits"
    assert len(found["provenance"]["source_sha256"]) == 64

    split = dataset.split("test")
    assert dataset.root is not None
    maps = []
    for row in range(len(split)):
        path = Path(dataset.root) / split.path(row)
        maps.append(resize_rgb(decode_rgb(path.read_bytes(), path.name), 32).mean(2) / 255)
    write_maps(tmp_path / "maps", split, np.array(maps, np.float32))
    arguments = ["--score-maps", tmp_path / "maps", "--map-values", "raw"]
    (tmp_path / "out").rename(tmp_path / "first")
    assert command(tmp_path, *arguments) == 0
    of_files = read_results(tmp_path / "out")
    again = evaluate_function(
        lambda images: images.mean(1), dataset, pixels=UNIT, protocols=FEW, bootstrap=0, batch_size=4
    )
    for name in ("maxboxacc", "cam2016"):
        value = found["protocols"][name]["value"]
        assert value == of_files["protocols"][name]["value"] == again[name].value, name
    assert found["measures"]["auc_box"]["value"] > 80


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("maps_of_mine", "names no function"),
        ("no_such_module:f", "cannot be imported from here"),
        ("maps_of_mine:gone", "has no function 'gone'"),
    ],
)
def test_a_name_that_is_none(
    name: str, words: str, dataset: Manifest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(tmp_path, "--map-function", name) == 2
    assert words in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (lambda images: images, r"maps of shape \[4, 3, 32, 32\], expected \[4, h, w\]"),
        (lambda images: images[:2, 0], r"maps of shape \[2, 32, 32\]"),
        (lambda images: None, "maps of shape None"),
        (lambda images: "text", "gave str, expected a tensor"),
        (lambda images: (images.mean(1), torch.zeros(4, 7)), "gave 7 logits, but the dataset has 4 classes"),
    ],
)
def test_what_is_no_map_is_named(function: object, words: str, dataset: Manifest) -> None:
    with pytest.raises(UserError, match=words):
        evaluate_function(function, dataset, pixels=UNIT, limit=4, bootstrap=0)  # type: ignore[arg-type]
