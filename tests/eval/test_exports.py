"""Boxes as COCO results, score maps in the reference layout."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from eval.analysis.evaluated import Evaluated, open_evaluated, open_manifest
from eval.export.__main__ import main
from eval.export.formats import _inside, boxes_in_image, coco_ground_truth, coco_results
from tests.helpers.builders_eval import Planted, build_dataset, evaluated_run
from tests.helpers.oracles import oracle
from wsol.errors import UserError
from wsol.manifest import Manifest


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    root = tmp_path_factory.mktemp("exports")
    manifest = build_dataset(root / "data", test=12, fullsup=4, files=False)
    protocols = ("maxboxacc", "cutmix2019", "gt_known_fixed")
    return open_evaluated(evaluated_run(root / "run", manifest, Planted(), bootstrap=0, protocols=protocols))


def opened(run: Evaluated) -> tuple[Manifest, object]:
    found = open_manifest(run)
    assert isinstance(found, tuple)
    return found


@pytest.mark.parametrize(
    ("box", "size", "expected"),
    [
        ([0, 0, 223, 223], [224, 224], [0, 0, 223, 223]),
        ([0, 56, 112, 168], [400, 100], [0, 25, 200, 50]),
        ([0, 0, 0, 0], [50, 50], [0, 0, 0, 0]),  # nothing above the threshold
    ],
)
def test_boxes_follow_the_image(box: list[int], size: list[int], expected: list[float]) -> None:
    assert boxes_in_image(np.array([box]), np.array([size]), 224).tolist() == [expected]


def test_corners_that_are_the_last_pixel_give_whole_widths(run: Evaluated) -> None:
    """CUB, ImageNet and VOC give such corners; COCO's width counts every pixel."""
    manifest, _ = opened(run)
    split = manifest.splits["test"]
    x0, y0, x1, y1 = split.boxes(0)[0]
    for corners, more in (("half-open", 0), ("inclusive", 1)):
        truth = coco_ground_truth(dataclasses.replace(manifest, corners=corners), split)  # type: ignore[arg-type]
        found = truth["annotations"][0]
        assert found["bbox"] == [x0, y0, x1 - x0 + more, y1 - y0 + more]
        assert found["area"] == (x1 - x0 + more) * (y1 - y0 + more)


def test_pycocotools_loads_the_results_and_agrees_on_iou(run: Evaluated, tmp_path: Path) -> None:
    coco = oracle("pycocotools", "pycocotools.coco")
    mask = oracle("pycocotools", "pycocotools.mask")
    file = tmp_path / "out" / "boxes.json"
    assert main([str(run.folder), "--coco", str(file)]) == 0
    truth = coco.COCO(str(file.with_name("boxes-dataset.json")))
    results = truth.loadRes(str(file))
    assert len(results.getImgIds()) == 12
    # an independent IoU of the exported boxes against the truth is near the recorded one (frame pixels are integers)
    with run.store.read(0) as block:
        recorded = block.channel(run.protocols["maxboxacc"].channel)
        level = (run.thresholds("maxboxacc")[0] * recorded.max_level).astype(np.uint8)
        iou = recorded.iou("largest", "any")[np.arange(12), level]
    for i in range(12):
        mine = [a["bbox"] for a in results.loadAnns(results.getAnnIds(imgIds=[i + 1]))]
        theirs = [a["bbox"] for a in truth.loadAnns(truth.getAnnIds(imgIds=[i + 1]))]
        assert mask.iou(mine, theirs, [0] * len(theirs)).max() == pytest.approx(iou[i], abs=0.05)


def test_score_maps_are_what_the_evaluation_scored(run: Evaluated, tmp_path: Path) -> None:
    assert main([str(run.folder), "--maps", str(tmp_path / "maps")]) == 0
    manifest, split = opened(run)
    ids = split.image_ids  # type: ignore[attr-defined]
    first = np.load(tmp_path / "maps" / f"{ids[0]}.npy", allow_pickle=False)
    assert (first.dtype, first.shape) == (np.dtype(np.float64), (224, 224))
    assert (first.min(), first.max()) == (0.0, 1.0)
    # scored as anybody's maps, they give the run's own numbers
    from eval.localize import main as localize

    out = tmp_path / "again"
    arguments = [
        "--score-maps",
        str(tmp_path / "maps"),
        "--dataset",
        str(Path(str(manifest.root)) / "manifest"),
    ]
    arguments += [
        "--threshold-split",
        "None",
        "--protocols",
        "maxboxacc",
        "gt_known_fixed",
        "--bootstrap",
        "0",
    ]
    assert localize([*arguments, "--pictures", "0", "--out", str(out)]) == 0
    again = json.loads((out / "results.json").read_text())["protocols"]
    for name in ("maxboxacc", "gt_known_fixed"):
        assert again[name]["value"] == run.results["protocols"][name]["value"]


@pytest.mark.parametrize("image_id", ["../x", "/etc/x", "a/../../x", "a\\..\\x", ""])
def test_no_map_is_written_outside_its_folder(image_id: str) -> None:
    with pytest.raises(UserError, match="leads out"):
        _inside(Path("maps"), image_id)


def test_a_crop_has_no_boxes_in_the_whole_image(run: Evaluated) -> None:
    _, split = opened(run)
    with pytest.raises(UserError, match="center-crop"):
        coco_results(run, split, run.protocols["cutmix2019"])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing to export"),
        (["--coco", "x.json", "--protocol", "maxboxac"], "did you mean 'maxboxacc'"),
    ],
)
def test_user_errors(
    arguments: list[str], said: str, run: Evaluated, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(run.folder), *arguments]) == 2
    assert said in capsys.readouterr().err
