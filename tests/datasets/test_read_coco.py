"""COCO JSON: boxes, masks through pycocotools, round trips, and defects named by entry."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.helpers.dataset_trees import picture, write_tree
from tests.helpers.oracles import oracle
from wsol import export, prepare
from wsol.datasets.coco import read_coco
from wsol.datasets.coco_json import coco_from_split, parse_coco
from wsol.errors import UserError
from wsol.files.roots import open_root
from wsol.files.strict_json import load_json
from wsol.images import decode_grey
from wsol.manifest import Manifest, Sample, Split


def coco() -> dict[str, Any]:
    """Ids that neither count from 1 nor rise, an image of two classes, a crowd, polygon and both run-length
    forms."""
    rle = {"size": [20, 30], "counts": [60, 5, 15, 5, 515]}
    return {
        "info": {"year": 2017},
        "licenses": [{"id": 3, "name": "by"}],
        "images": [
            {"id": 900, "file_name": "b.jpg", "width": 30, "height": 20, "license": 3},
            {"id": 17, "file_name": "a.jpg", "width": 30, "height": 20},
            {"id": 40, "file_name": "two.jpg", "width": 30, "height": 20},
            {"id": 41, "file_name": "none.jpg", "width": 30, "height": 20},
        ],
        "annotations": [
            {"id": 7, "image_id": 17, "category_id": 18, "bbox": [1, 2, 10, 5], "area": 50, "iscrowd": 0,
             "segmentation": [[1, 2, 11, 2, 11, 7, 1, 7]]},
            {"id": 3, "image_id": 900, "category_id": 1, "bbox": [473.07 / 100, 1.1, 3.865, 2.3], "area": 9,
             "iscrowd": 0, "segmentation": rle},
            {"id": 9, "image_id": 17, "category_id": 18, "bbox": [20, 10, 5, 5], "area": 25, "iscrowd": 0,
             "segmentation": [[20, 10, 25, 10, 25, 15, 20, 15]]},
            {"id": 12, "image_id": 17, "category_id": 1, "bbox": [0, 0, 30, 3], "area": 9, "iscrowd": 1,
             "segmentation": {"size": [20, 30], "counts": [0, 3, 597]}},
            {"id": 5, "image_id": 40, "category_id": 1, "bbox": [0, 0, 4, 4], "area": 16, "iscrowd": 0,
             "segmentation": []},
            {"id": 6, "image_id": 40, "category_id": 18, "bbox": [0, 0, 9, 9], "area": 81, "iscrowd": 0,
             "segmentation": []},
        ],
        "categories": [{"id": 18, "name": "dog", "supercategory": "animal"}, {"id": 1, "name": "person"}],
    }  # fmt: skip


def kept_part(data: dict[str, Any]) -> dict[str, Any]:
    """The file less what a manifest leaves out: images without one class, and their annotations."""
    data = copy.deepcopy(data)
    data["images"] = [i for i in data["images"] if i["file_name"] in ("a.jpg", "b.jpg")]
    ids = {i["id"] for i in data["images"]}
    data["annotations"] = [a for a in data["annotations"] if a["image_id"] in ids]
    data["categories"].sort(key=lambda c: c["id"])
    return data


def write(folder: Path, data: dict[str, Any]) -> Path:
    files = {f"pics/{i['file_name']}": picture((30, 20), seed=i["id"]) for i in data["images"]}
    return write_tree(folder, {"ann.json": json.dumps(data).encode(), **files})


def test_boxes_labels_and_what_is_left_out(tmp_path: Path) -> None:
    manifest = read_coco(open_root(write(tmp_path, coco())), {"test": "ann.json=pics"})
    assert manifest.classes == ("person", "dog")  # ascending category ids
    assert manifest.corners == "half-open"
    split = manifest.split("test")
    assert split.image_ids == ["b.jpg", "a.jpg"]
    assert split[1].path == "pics/a.jpg"
    assert split.labels.tolist() == [0, 1]
    assert split.boxes(1).tolist() == [[1, 2, 11, 7], [20, 10, 25, 15]]  # the crowd is no box
    assert manifest.notes == (
        "test: 1 images show several classes and were left out: pics/two.jpg",
        "test: 1 images show no object and were left out: pics/none.jpg",
    )
    largest = read_coco(open_root(tmp_path), {"test": "ann.json=pics"}, several_classes="largest")
    assert largest.split("test").image_ids == ["b.jpg", "a.jpg", "two.jpg"]
    assert largest.split("test").boxes(2).tolist() == [[0, 0, 9, 9]]


def test_masks_are_the_union_and_crowds_are_ignored(tmp_path: Path) -> None:
    oracle("pycocotools")
    write(tmp_path / "in", coco())
    manifest = read_coco(open_root(tmp_path / "in"), {"test": "ann.json=pics"}, masks_into=tmp_path / "out")
    root = open_root(manifest.root or "")
    first, second = manifest.split("test")
    assert all(root.exists(p) for p in (first.path, *first.masks, second.path, *second.masks))
    polygons = decode_grey(root.read_bytes(second.masks[0]), "m")
    expected = np.zeros((20, 30), bool)
    expected[2:7, 1:11] = expected[10:15, 20:25] = True
    assert np.array_equal(polygons > 0, expected)
    runs = decode_grey(
        root.read_bytes(first.masks[0]), "m"
    )  # columns first: 5 pixels of column 3, and of column 4
    expected = np.zeros((20, 30), bool)
    expected[0:5, 3] = expected[0:5, 4] = True
    assert np.array_equal(runs > 0, expected)
    assert second.ignore_mask is not None
    ignored = decode_grey(root.read_bytes(second.ignore_mask), "m")
    assert np.argwhere(ignored).tolist() == [[0, 0], [1, 0], [2, 0]]
    assert first.ignore_mask is None


def mask_of(folder: Path, data: dict[str, Any], row: int) -> np.ndarray:
    """The mask of one image after reading a file with masks, [H, W], True inside."""
    manifest = read_coco(
        open_root(write(folder / "in", data)), {"test": "ann.json=pics"}, masks_into=folder / "out"
    )
    root = open_root(manifest.root or "")
    path = manifest.split("test").masks[row][0]
    return decode_grey(root.read_bytes(path), path) > 0


def test_compressed_runs_equal_pycocotools(tmp_path: Path) -> None:
    masks = oracle("pycocotools", "pycocotools.mask")
    pixels = np.random.default_rng(0).random((20, 30)) > 0.7
    coded = masks.encode(np.asfortranarray(pixels.astype(np.uint8)))
    data = coco()
    data["annotations"][1]["segmentation"] = {"size": [20, 30], "counts": coded["counts"].decode()}
    assert np.array_equal(mask_of(tmp_path, data, 0), pixels)


def test_boxes_come_back_through_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """COCO JSON -> manifest on disk -> COCO JSON: the boxes of each image and the names of the categories."""
    write(tmp_path / "in", coco())
    monkeypatch.chdir(tmp_path)
    files = ["--train", "", "--test", "ann.json=pics"]
    prepare.main(["coco", "--source", "in", *files, "--force", "--out", "c"])
    export.main(["coco", "c", "out"])
    back, given = json.loads((tmp_path / "out" / "instances_test.json").read_text()), kept_part(coco())
    assert [c["name"] for c in back["categories"]] == ["person", "dog"]

    def boxes(data: dict[str, Any]) -> dict[str, list[list[float]]]:
        name = {i["id"]: i["file_name"] for i in data["images"]}
        found: dict[str, list[list[float]]] = {n: [] for n in name.values()}
        for a in data["annotations"]:
            if not a["iscrowd"]:
                found[name[a["image_id"]]].append([round(v, 9) for v in a["bbox"]])
        return found

    assert boxes(back) == boxes(given)
    with pytest.raises(UserError, match="'out' exists already"):
        export.main(["coco", "c", "out"])


def test_images_that_differ_in_their_ending_have_masks_of_their_own(tmp_path: Path) -> None:
    oracle("pycocotools", "pycocotools.mask")
    data = kept_part(coco())
    data["images"][0]["file_name"] = "a.png"
    assert not np.array_equal(mask_of(tmp_path, data, 0), mask_of(tmp_path, data, 1))


def test_a_manifest_from_elsewhere_becomes_coco() -> None:
    rows = [
        Sample("x/1.jpg", "x/1.jpg", 1, (9, 8), np.array([[0.0, 0, 3, 4], [1, 1, 1, 1]])),
        Sample("2.jpg", "2.jpg", 0),
    ]
    manifest = Manifest("m", ("cat", "dog"), {"test": Split.from_samples(rows)}, corners="inclusive")
    assert coco_from_split(manifest, "test") == {
        "images": [
            {"id": 1, "file_name": "x/1.jpg", "width": 9, "height": 8},
            {"id": 2, "file_name": "2.jpg"},
        ],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 2, "bbox": [0, 0, 4, 5], "iscrowd": 0, "area": 20},
            {"id": 2, "image_id": 1, "category_id": 2, "bbox": [1, 1, 1, 1], "iscrowd": 0, "area": 1},
        ],
        "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param(
            ("images", 0, "id", None),
            r"images\[0\]: 'id' must be a whole number or a text, got None",
            id="image id",
        ),
        pytest.param(
            ("images", 1, "id", 900), r"images\[1\]: image id 900 is used twice", id="image id twice"
        ),
        pytest.param(
            ("images", 0, "file_name", "../b.jpg"),
            r"images\[0\]: 'file_name' must be a relative",
            id="escape",
        ),
        pytest.param(
            ("images", 0, "file_name", "a.jpg"), r"images\[1\]: 'file_name' must be", id="file name twice"
        ),
        pytest.param(
            ("categories", 0, "name", 5), r"categories\[0\]: needs an id of its own and a 'name'", id="name"
        ),
        pytest.param(
            ("annotations", 0, "image_id", 1), r"annotations\[0\]: image_id 1 is in no image", id="no image"
        ),
        pytest.param(
            ("annotations", 0, "category_id", 2), r"annotations\[0\]: category_id 2 is in no", id="category"
        ),
        pytest.param(
            ("annotations", 0, "bbox", [1, 2, 3]),
            r"annotations\[0\]: 'bbox' must be four numbers",
            id="three",
        ),
        pytest.param(
            ("annotations", 0, "bbox", [1, 2, -3, 4]), r"annotations\[0\]: 'bbox' .* negative", id="negative"
        ),
        pytest.param(
            ("annotations", 0, "bbox", None), r"annotations\[0\]: 'bbox' must be four numbers", id="no box"
        ),
    ],
)
def test_defects_name_the_entry(change: tuple[str, int, str, Any], message: str) -> None:
    data = coco()
    part, at, key, value = change
    data[part][at][key] = value
    with pytest.raises(UserError, match=rf"f: {message}"):
        parse_coco(json.dumps(data), "f")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("{\n'a'", r"f:2: not readable as JSON", id="broken"),
        pytest.param('{"a": NaN}', "f: not readable as JSON: NaN", id="nan"),
        pytest.param('{"a": 1, "a": 2}', "f: not readable as JSON: key 'a' is given twice", id="key twice"),
        pytest.param("[" * 100_000, "f: not readable as JSON: nested too deeply", id="nesting"),
        pytest.param("9" * 5000, "f: not readable as JSON", id="a number without end"),
    ],
)
def test_json_defects(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_json(text, "f")


@pytest.mark.parametrize(
    "segmentation",
    [
        pytest.param({"size": [20, 30], "counts": [0, 10**9]}, id="runs beyond the image"),
        pytest.param({"size": [10**6, 10**6], "counts": [10**12]}, id="another size"),
        pytest.param({"size": [20, 30], "counts": "~~~"}, id="wrong characters"),
        pytest.param({"size": [20, 30], "counts": "P"}, id="cut short"),
        pytest.param({"size": [20, 30]}, id="no counts"),
        pytest.param([[1, 2, 3]], id="half a point"),
        pytest.param([[1, 2, 3, 4, 5, "x"]], id="not a number"),
        pytest.param(5, id="a number"),
    ],
)
def test_broken_segmentations_never_reach_the_decoder(tmp_path: Path, segmentation: Any) -> None:
    oracle("pycocotools")
    data = coco()
    data["annotations"][0]["segmentation"] = segmentation
    with pytest.raises(UserError, match=r"image 'a\.jpg': its segmentation cannot be decoded"):
        mask_of(tmp_path, data, 1)


def test_settings_are_checked(tmp_path: Path) -> None:
    root = open_root(write(tmp_path, coco()))
    with pytest.raises(UserError, match=r"--test 'ann\.json': expected JSON=FOLDER"):
        read_coco(root, {"test": "ann.json"})
    with pytest.raises(UserError, match=r"holds no 'x\.json'; say where it is with --test"):
        read_coco(root, {"test": "x.json=pics"})
    with pytest.raises(UserError, match="no JSON file was named"):
        read_coco(root, {"test": ""})
    other = coco()
    other["categories"][0]["name"] = "wolf"
    write_tree(tmp_path, {"other.json": json.dumps(other).encode()})
    with pytest.raises(UserError, match=r"the categories of the .* file differ"):
        read_coco(root, {"train": "ann.json=pics", "test": "other.json=pics"})


def test_a_hold_out_takes_the_place_of_val(tmp_path: Path) -> None:
    data = coco()
    data["images"] = [{"id": i, "file_name": f"{i}.jpg", "width": 30, "height": 20} for i in range(8)]
    data["annotations"] = [
        {"id": i, "image_id": i, "category_id": (1, 18)[i % 2], "bbox": [0, 0, 5, 5]} for i in range(8)
    ]
    manifest = read_coco(open_root(write(tmp_path, data)), {"train": "ann.json=pics"}, holdout_per_class=1)
    assert {r: len(s) for r, s in manifest.splits.items()} == {"train-weaksup": 6, "train-fullsup": 2}
