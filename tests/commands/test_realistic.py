"""`eval.realistic` and `eval.propose`: model and threshold chosen with true boxes, without any, on the test images."""

from __future__ import annotations

import csv
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from eval.metrics.results_json import read_results
from eval.proposals.regions import most_distinct, proposals
from eval.propose import main as propose
from eval.realistic.__main__ import main
from eval.realistic.write import mean_iou_with_true
from eval.records.predicted_boxes import read_boxes
from tests.helpers.builders_eval import Planted, build_dataset, evaluated_run
from wsol.manifest import Manifest, Sample, Split

FEW = ("maxboxacc", "maxboxacc_transferred")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("realistic")


@pytest.fixture(scope="module")
def dataset(folder: Path) -> Manifest:
    return build_dataset(folder, test=40, fullsup=24)


@pytest.fixture(scope="module")
def runs(folder: Path, dataset: Manifest) -> list[Path]:
    """A good run and one whose maps lie beside the objects."""
    return [
        evaluated_run(folder / name, dataset, planted, method=name, bootstrap=0, protocols=FEW)
        for name, planted in (("poor", Planted(jitter=0.9)), ("good", Planted()))
    ]


def boxes_of(manifest: Manifest, file: Path, shrink: float = 0.0) -> Path:
    """The true boxes of train-fullsup, or their middle, as a reference's localization.txt."""
    split = manifest.split("train-fullsup")
    lines = []
    for row, image_id in enumerate(split.image_ids):
        x0, y0, x1, y1 = split.boxes(row)[0]
        dx, dy = shrink * (x1 - x0) / 2, shrink * (y1 - y0) / 2
        lines.append(f"{image_id},{x0 + dx},{y0 + dy},{x1 - dx},{y1 - dy}")
    file.write_text("\n".join(lines))
    return file


def columns(runs: list[Path], out: Path, *files: Path) -> dict[str, dict[str, Any]]:
    arguments = [*runs, "--out", out, "--bootstrap", 50]
    assert main([*map(str, arguments), "--pseudo-boxes", *map(str, files)]) == 0
    return {c["chosen"]: c for c in json.loads((out / "realistic.json").read_text())["columns"]}


def test_columns_are_the_protocols_of_those_names(
    dataset: Manifest, runs: list[Path], tmp_path: Path
) -> None:
    """With one run: the transferred and the oracle MaxBoxAcc; true boxes as pseudo-boxes choose what they choose."""
    single = [s for s in range(24) if len(dataset.split("train-fullsup").boxes(s)) == 1]
    assert single
    found = columns(runs[1:], tmp_path, boxes_of(dataset, tmp_path / "true.txt"))
    stated = read_results(runs[1] / "eval")["protocols"]
    assert (
        found["with boxes (train-fullsup)"]["maxboxacc"]["value"] == stated["maxboxacc_transferred"]["value"]
    )
    assert found["with boxes (train-fullsup)"]["threshold"] == stated["maxboxacc_transferred"]["threshold"]
    assert found["on test itself"]["maxboxacc"]["value"] == stated["maxboxacc"]["value"]
    without = found["without (true.txt)"]
    assert without["images"] == 24
    assert without["maxboxacc"]["ci95"][0] <= without["maxboxacc"]["value"] <= without["maxboxacc"]["ci95"][1]


def test_pseudo_boxes_choose_what_is_like_them(dataset: Manifest, runs: list[Path], tmp_path: Path) -> None:
    """The good run is found without boxes; too small ones choose a threshold for boxes as small."""
    small = boxes_of(dataset, tmp_path / "small.txt", shrink=0.6)
    found = columns(runs, tmp_path, boxes_of(dataset, tmp_path / "true.txt"), small)
    assert found["with boxes (train-fullsup)"]["run"] == found["on test itself"]["run"] == "good"
    assert found["without (true.txt)"]["run"] == "good"
    wrong = found["without (small.txt)"]
    assert wrong["maxboxacc"]["value"] < found["without (true.txt)"]["maxboxacc"]["value"] - 20
    best = found["on test itself"]["maxboxacc"]["value"]
    assert all(c["maxboxacc"]["value"] <= best for c in found.values())


def test_class_labels_alone_choose_the_better_classifier(
    folder: Path, dataset: Manifest, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever its maps: the one whose maps lie beside the objects, at the conventional threshold of 0.2."""
    made = [
        evaluated_run(folder / n, dataset, planted, method=n, bootstrap=0, protocols=(*FEW, "gt_known_fixed"))
        for n, planted in (
            ("localizes", Planted(accuracy=0.5)),
            ("classifies", Planted(jitter=0.9, accuracy=0.9)),
        )
    ]
    found = columns(made, tmp_path, boxes_of(dataset, tmp_path / "true.txt"))
    labels = found["by class labels alone (train-fullsup), threshold not chosen"]
    assert (labels["run"], labels["threshold"], labels["equal"]) == ("classifies", 0.2, 1)
    fixed = read_results(made[1] / "eval")["protocols"]["gt_known_fixed"]
    assert labels["maxboxacc"]["value"] == fixed["value"]
    assert "classify equally well" not in capsys.readouterr().out
    columns(made[:1] * 2, tmp_path, boxes_of(dataset, tmp_path / "true.txt"))
    assert "2 runs classify equally well" in capsys.readouterr().out


RELEASED = """200.Common_Yellowthroat/27997305608.jpg,0,115,628,660
200.Common_Yellowthroat/42050706385.jpg,0,0,428,518
200.Common_Yellowthroat/42114511862.jpg,0,15,438,323
200.Common_Yellowthroat/42952822541.jpg,211,0,683,308
200.Common_Yellowthroat/47733619781.jpg,340,174,502,438"""
"""The last five lines of the boxes of CUB's val by selective search that Murtaza et al. released (localization.txt)."""


def test_released_pseudo_boxes_are_read(wsol_data: Path, tmp_path: Path) -> None:
    """Their IoU with CUBV2's own boxes, as torchvision has it."""
    box_iou = pytest.importorskip("torchvision.ops").box_iou
    (tmp_path / "localization.txt").write_text(RELEASED)
    with zipfile.ZipFile(wsol_data / "wsol_metadata.zip") as archive:
        true = archive.read("wsol_metadata/CUB/val/localization.txt").decode().splitlines()
    own = {line.split(",")[0]: [float(v) for v in line.split(",")[1:]] for line in true}
    boxes = read_boxes(tmp_path / "localization.txt", ())
    samples = [Sample(i, i, 0, (1000, 1000), np.array([own[i]])) for i in boxes]
    given = torch.tensor([b[0].xyxy for b in boxes.values()])
    expected = box_iou(given, torch.tensor([own[i] for i in boxes])).diagonal().mean()
    found = mean_iou_with_true(boxes, Split.from_samples(samples))
    assert len(boxes) == 5
    assert found == pytest.approx(100 * float(expected), abs=1e-4)


@pytest.mark.parametrize(
    ("text", "words"),
    [("elsewhere.png,0,0,1,1", "has no box for any of the 24 images"), ("a,1,2", "expected id,x0,y0,x1,y1")],
)
def test_what_fits_nothing_is_named(
    text: str, words: str, runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "b.txt").write_text(text)
    assert main([str(runs[0]), "--pseudo-boxes", str(tmp_path / "b.txt"), "--out", str(tmp_path)]) == 2
    assert words in " ".join(capsys.readouterr().err.split())


def test_the_most_distinct_box_is_the_object() -> None:
    """A bright patterned square on a dark ground: a proposal fits it, and it is the one that is taken."""
    rng = np.random.default_rng(0)
    rgb = rng.integers(20, 60, (120, 150, 3), dtype=np.uint8)
    rgb[30:80, 40:110] = rng.integers(150, 220, (50, 70, 3), dtype=np.uint8) // np.array([1, 1, 3], np.uint8)
    boxes = proposals(rgb)
    assert np.abs(boxes - [40, 30, 110, 80]).max(1).min() <= 2
    assert np.abs(most_distinct(rgb, boxes) - [40, 30, 110, 80]).max() <= 2
    assert most_distinct(
        np.zeros((8, 9, 3), np.uint8), proposals(np.zeros((8, 9, 3), np.uint8))
    ).tolist() == [0, 0, 9, 8]


def test_proposals_are_written_for_every_image(dataset: Manifest, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "boxes.csv"
    assert propose(["--dataset", str(folder / "manifest"), "--split", "test", "--out", str(out)]) == 0
    with out.open(newline="") as stream:
        rows = {r["image_id"]: r for r in csv.DictReader(stream)}
    split = dataset.split("test")
    assert set(rows) == set(split.image_ids)
    for row, image_id in enumerate(split.image_ids):
        x0, y0, x1, y1 = (float(rows[image_id][k]) for k in ("x0", "y0", "x1", "y1"))
        w, h = split.sizes_wh[row]
        assert 0 <= x0 < x1 <= w, image_id
        assert 0 <= y0 < y1 <= h, image_id
