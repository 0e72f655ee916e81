"""`eval.localize --boxes`: boxes of any method under every protocol that is defined for them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eval.export.__main__ import main as export
from eval.localize import main
from eval.maps.map_stores import UnreadableMapError, open_store
from eval.metrics.results_json import read_results
from eval.records.store import RecordStore
from tests.helpers.builders_eval import Planted, build_dataset, evaluated_run
from tests.helpers.map_folders import write_maps
from tests.helpers.oracles import oracle
from wsol.errors import UserError
from wsol.manifest import Manifest, Sample, Split, load_manifest, write_manifest

SIDE = 224


@pytest.fixture
def same(tmp_path: Path) -> tuple[Path, list[list[int]]]:
    """A manifest of 224-pixel images, and a box predicted for each; half of them good."""
    rng = np.random.default_rng(2)
    samples, predicted = [], []
    for i in range(12):
        x, y, w, h = (int(v) for v in (*rng.integers(5, 90, 2), *rng.integers(30, 120, 2)))
        samples.append(
            Sample(f"{i}.png", f"{i}.png", i % 3, (SIDE, SIDE), np.array([[x, y, x + w, y + h]], float))
        )
        shift = int(rng.integers(0, 9)) if i % 2 else 60
        predicted.append([min(x + shift, 200), y, min(x + w + shift, SIDE), min(y + h, SIDE)])
    write_manifest(Manifest("same", ("a", "b", "c"), {"test": Split.from_samples(samples)}), tmp_path / "m")
    return tmp_path / "m", predicted


def run_lengths(mask: np.ndarray, form: str) -> dict[str, Any]:
    """A mask as COCO's run lengths, by pycocotools where they are compressed ("text")."""
    if form == "text":
        coded = oracle("pycocotools", "pycocotools.mask").encode(np.asfortranarray(mask.astype(np.uint8)))
        return {"size": coded["size"], "counts": coded["counts"].decode()}
    flat = np.concatenate([[False], mask.ravel(order="F")])
    changes = np.flatnonzero(np.diff(flat.astype(np.int8)))
    return {"size": list(mask.shape), "counts": np.diff([0, *changes, mask.size]).tolist()}


def scored(manifest: Path, out: Path, *subject: object) -> dict[str, Any]:
    arguments = [*subject, "--dataset", manifest, "--bootstrap", 0, "--out", out, "--pictures", 0]
    assert main([str(a) for a in arguments]) == 0
    return read_results(out)


def test_map_mask_and_box_give_the_same_number(same: tuple[Path, list[list[int]]], tmp_path: Path) -> None:
    manifest, predicted = same
    lines = [f"{i}.png,{','.join(map(str, box))}" for i, box in enumerate(predicted)]
    (tmp_path / "boxes.csv").write_text("\n".join(["image_id,x0,y0,x1,y1", *lines]))
    maps = np.zeros((len(predicted), SIDE, SIDE))
    for m, (x0, y0, x1, y1) in zip(maps, predicted):
        m[y0:y1, x0:x1] = 1
    split = Split.from_samples([Sample(f"{i}.png", f"{i}.png", 0, (SIDE, SIDE)) for i in range(len(maps))])
    write_maps(tmp_path / "maps", split, maps)
    write_maps(tmp_path / "masks", split, maps > 0)
    for form in ("list", "text"):
        results = [
            {"file_name": f"{i}.png", "segmentation": run_lengths(m > 0, form)} for i, m in enumerate(maps)
        ]
        (tmp_path / f"{form}.json").write_text(json.dumps(results))
    corners = [
        {"image_id": f"{i}.png", "bbox": [a, b, c - a, d - b]} for i, (a, b, c, d) in enumerate(predicted)
    ]
    (tmp_path / "boxes.json").write_text(json.dumps(corners))
    boxes = scored(manifest, tmp_path / "a", "--boxes", tmp_path / "boxes.csv")
    again = scored(manifest, tmp_path / "b", "--boxes", tmp_path / "boxes.json")
    assert again["protocols"] == boxes["protocols"]
    for other in ("maps", "masks", "list.json", "text.json"):
        found = scored(manifest, tmp_path / f"of-{other}", "--score-maps", tmp_path / other)
        for name in ("maxboxacc", "maxboxacc_v2", "gt_known_fixed"):
            assert boxes["protocols"][name]["value"] == found["protocols"][name]["value"], (other, name)
            assert boxes["protocols"][name]["per_iou"] == found["protocols"][name]["per_iou"]
    assert 0 < boxes["protocols"]["maxboxacc"]["value"] < 100
    assert boxes["not_computed"]["pxap"] == "boxes say nothing of single pixels"
    assert "no values to normalise" in boxes["not_computed"]["cam2016"]
    assert "no class predictions" in boxes["not_computed"]["top1_loc"]


def test_pycocotools_and_torchmetrics_agree(same: tuple[Path, list[list[int]]], tmp_path: Path) -> None:
    """On the IoU of each box and the share over each threshold; torchmetrics' values are recorded with version and
    call."""
    manifest, predicted = same
    lines = [f"{i}.png,{','.join(map(str, box))}" for i, box in enumerate(predicted)]
    (tmp_path / "boxes.csv").write_text("\n".join(["image_id,x0,y0,x1,y1", *lines]))
    found = scored(manifest, tmp_path / "out", "--boxes", tmp_path / "boxes.csv")["protocols"]["maxboxacc_v2"]
    split = load_manifest(manifest).split("test")
    true = [split.boxes(row)[0].astype(int).tolist() for row in range(len(split))]

    def counted(xyxy: list[int]) -> list[float]:
        """x, y, width, height of a box of which both ends count, the last pixel of the image at most."""
        x0, y0, x1, y1 = (*xyxy[:2], *(min(v, SIDE - 1) for v in xyxy[2:]))
        return [x0, y0, x1 - x0 + 1, y1 - y0 + 1]

    overlap = oracle("pycocotools", "pycocotools.mask").iou
    theirs = [overlap([counted(p)], [counted(t)], [0])[0, 0] for p, t in zip(predicted, true)]
    recorded = json.loads((Path(__file__).parents[1] / "eval/recorded/torchmetrics_iou.json").read_text())
    assert recorded["iou"] == pytest.approx(theirs, abs=1e-12)
    for block in RecordStore.open(tmp_path / "out" / "records" / "test").blocks():
        ours = block.channel("resize224-minmax").iou("all", "any")[:, 100]
    assert ours.tolist() == pytest.approx(theirs, abs=1e-7)
    for iou in (0.3, 0.5, 0.7):
        assert found["per_iou"][str(round(100 * iou))] == pytest.approx(
            100 * np.mean(np.array(theirs) >= iou)
        ), iou


def test_what_eval_export_writes_is_scored_alike(tmp_path: Path) -> None:
    manifest = build_dataset(tmp_path, test=14, fullsup=4)
    run = evaluated_run(tmp_path / "run", manifest, Planted(), bootstrap=0, protocols=("gt_known_fixed",))
    file = tmp_path / "out" / "boxes.json"
    assert export([str(run), "--coco", str(file), "--protocol", "gt_known_fixed"]) == 0
    found = scored(tmp_path / "manifest", tmp_path / "again", "--boxes", file)
    stated = read_results(run / "eval")["protocols"]["gt_known_fixed"]["value"]
    assert found["protocols"]["gt_known_fixed"]["value"] == pytest.approx(stated, abs=100 / 14)
    top1 = read_results(run / "eval")["classification"]["top1"]["value"]
    assert found["classification"]["top1"]["value"] == top1
    assert 0 < top1 < 100, "the export's category_id is the true class, which would give 100"
    assert "top1_loc" in found["protocols"]


def test_images_without_a_predicted_box_are_not_exported(
    same: tuple[Path, list[list[int]]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And boxes without classes are read back without them, though the export names each image's true class."""
    manifest, predicted = same
    lines = [f"{i}.png,{','.join(map(str, box))}" for i, box in enumerate(predicted) if i != 4]
    (tmp_path / "boxes.csv").write_text("\n".join(["image_id,x0,y0,x1,y1", *lines]))
    first = scored(manifest, tmp_path / "a", "--boxes", tmp_path / "boxes.csv")
    files = ["--coco", str(tmp_path / "c.json"), "--fiftyone", str(tmp_path / "f.json")]
    assert export([str(tmp_path / "a"), *files]) == 0
    assert (
        capsys.readouterr().out.count("no box was predicted in 1 of 12 images; none is written of them") == 2
    )
    written = {entry["file_name"] for entry in json.loads((tmp_path / "c.json").read_text())}
    assert written == {f"{i}.png" for i in range(12) if i != 4}
    shown = [s["prediction"]["detections"] for s in json.loads((tmp_path / "f.json").read_text())]
    assert [len(boxes) for boxes in shown] == [int(i != 4) for i in range(12)]
    again = scored(manifest, tmp_path / "b", "--boxes", tmp_path / "c.json")
    assert again["counts"]["missing_map"] == first["counts"]["missing_map"] == 1
    assert "no class predictions" in again["not_computed"]["top1_loc"]
    assert "top1" not in again["classification"]


def test_scores_choose_the_box_and_missing_images_stay(
    same: tuple[Path, list[list[int]]], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, _ = same
    results = [{"file_name": "0.png", "bbox": [0, 0, 3, 3], "score": 0.1}]
    true = [0, 0, SIDE, SIDE]
    results.append({"file_name": "0.png", "bbox": true, "score": 0.9})
    results.append({"file_name": "elsewhere.png", "bbox": true, "score": 0.9})
    (tmp_path / "boxes.json").write_text(json.dumps(results))
    found = scored(manifest, tmp_path / "out", "--boxes", tmp_path / "boxes.json")
    said = " ".join(capsys.readouterr().out.split())
    assert "11 images had no box and were counted as a miss" in said
    assert "1 image of the boxes' file is none of the split's and was ignored" in said
    assert "map" not in said.partition("note: 11 images")[2].partition("not computed")[0]
    assert export([str(tmp_path / "out"), "--maps", str(tmp_path / "maps")]) == 2
    assert "was scored from boxes, which have no score maps" in " ".join(capsys.readouterr().err.split())
    assert (found["counts"]["missing_map"], found["counts"]["surplus_map"]) == (11, 1)
    assert found["protocols"]["maxboxacc"]["num_scored"] == 12


def test_masks_of_one_image_keep_their_scores(tmp_path: Path) -> None:
    """Each pixel has the highest score of the masks over it; broken run lengths are one unreadable map."""
    left, wide = np.zeros((2, 4), bool), np.ones((2, 4), bool)
    left[:, :2] = True
    rows = [("a.png", run_lengths(left, "list"), 0.9), ("a.png", run_lengths(wide, "list"), 0.5)]
    rows += [
        ("b.png", {"size": [2, 4], "counts": [3]}, 1.0),
        ("c.png", {"size": [1 << 20] * 2, "counts": []}, 1.0),
    ]
    results = [{"image_id": n, "segmentation": m, "score": s} for n, m, s in rows]
    (tmp_path / "r.json").write_text(json.dumps(results))
    store = open_store(tmp_path / "r.json")
    assert list(store.names()) == ["a.png", "b.png", "c.png"]
    assert store.read("a.png") == pytest.approx(np.where(left, 0.9, 0.5))
    assert store.read("d.png") is None
    with pytest.raises(UnreadableMapError, match="do not add up"):
        store.read("b.png")
    with pytest.raises(UnreadableMapError, match="bytes"):
        store.read("c.png")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{}", "expected a list of COCO results"),
        ('[{"image_id": "0.png", "bbox": [0, 0, 1, 1]}]', "result 1: expected a mapping with segmentation"),
        ('[{"image_id": 3, "segmentation": {}}]', "a number names no image here"),
        ('[{"image_id": "0.png", "segmentation": {}, "score": "x"}]', "expected a number as score"),
    ],
)
def test_what_is_no_mask_is_named(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "r.json").write_text(text)
    with pytest.raises(UserError, match=words):
        open_store(tmp_path / "r.json")


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.csv", "image_id,x0,y0,x1\n", "column 'y1' is missing"),
        ("a.csv", "image_id,x0,y0,x1,y1\n0.png,5,5,1,9\n", "a.csv:2: [5.0, 5.0, 1.0, 9.0] is not a box"),
        ("a.csv", "image_id,x0,y0,x1,y1\n0.png,nan,5,1,9\n", "is not a box"),
        ("a.csv", "image_id,x0,y0,x1,y1\n0.png,x,5,1,9\n", "expected numbers"),
        ("a.csv", "image_id,x0,y0,x1,y1,class\n0.png,0,0,1,9,zebra\n", "class 'zebra' is none of"),
        (
            "a.csv",
            "image_id,x0,y0,x1,y1\nother.png,0,0,1,9\n",
            "expected image ids such as '0.png', found such as",
        ),
        ("a.json", "{}", "expected a list of COCO results"),
        ("a.json", '[{"image_id": 7, "bbox": [0, 0, 1, 1]}]', "a number names no image here"),
        ("a.json", '[{"image_id": "0.png", "bbox": [0, 0, 1]}]', "result 1: expected a mapping with bbox"),
    ],
)
def test_what_is_no_box_is_named(
    name: str,
    text: str,
    words: str,
    same: tuple[Path, list[list[int]]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / name).write_text(text)
    arguments = [
        "--boxes",
        tmp_path / name,
        "--dataset",
        same[0],
        "--out",
        tmp_path / "out",
        "--bootstrap",
        0,
    ]
    assert main([str(a) for a in arguments]) == 2
    assert words in " ".join(capsys.readouterr().err.split())
