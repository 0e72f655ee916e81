"""CUB-200-2011: parsers, a fixture in Caltech's layout, and the reference metadata as the oracle for
corners."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.dataset_trees import mask, picture, write_tree
from wsol import prepare
from wsol.datasets.cub import Cubv2, corners_from_xywh, parse_keyed, read_cub
from wsol.datasets.wsol_metadata import read_wsol_metadata
from wsol.errors import UserError
from wsol.files.roots import open_root
from wsol.manifest import load_manifest

CLASSES = ("001.Albatross", "002.Auklet")


def cub_files(per_class: int = 4) -> dict[str, bytes]:
    """Two classes of 20x10 images; within a class, the last image is a test image."""
    files: dict[str, bytes] = {}
    tables: dict[str, list[str]] = {
        n: [] for n in ("images", "image_class_labels", "train_test_split", "bounding_boxes")
    }
    locations = []
    number = 0
    for k, name in enumerate(CLASSES):
        for i in range(per_class):
            number += 1
            path = f"{name}/Bird_{number:04d}.jpg"
            files[f"images/{path}"] = picture((20, 10), seed=number)
            files[f"segmentations/{path[:-4]}.png"] = mask((20, 10), (2, 2, 8, 8))
            tables["images"].append(f"{number} {path}")
            tables["image_class_labels"].append(f"{number} {k + 1}")
            tables["train_test_split"].append(f"{number} {int(i < per_class - 1)}")
            tables["bounding_boxes"].append(f"{number} 2.0 3.0 18.0 6.0")
            locations += [f"{number} 1 4.0 5.0 1", f"{number} 2 0.0 0.0 0"]
    for table, rows in tables.items():
        files[f"{table}.txt"] = "".join(f"{r} \n" for r in rows).encode()
    files["classes.txt"] = "".join(f"{k + 1} {c}\n" for k, c in enumerate(CLASSES)).encode()
    files["parts/parts.txt"] = b"1 beak\n2 left eye\n"
    files["parts/part_locs.txt"] = "\n".join(locations).encode()
    return files


def metadata_files() -> dict[str, bytes]:
    ids = [f"{c}/{n}.jpg" for c in CLASSES for n in (71, 72)]
    return {
        "val/image_ids.txt": "\n".join(ids).encode(),
        "val/class_labels.txt": "\n".join(f"{i},{k // 2}" for k, i in enumerate(ids)).encode(),
        "val/image_sizes.txt": "\n".join(f"{i},20,10" for i in ids).encode(),
        "val/localization.txt": "\n".join(f"{i},1,1,5,5" for i in ids).encode(),
    }


def test_fixture(tmp_path: Path) -> None:
    manifest = read_cub(open_root(write_tree(tmp_path, cub_files())), holdout_per_class=1)
    assert manifest.classes == CLASSES
    assert manifest.part_names == ("beak", "left eye")
    assert {r: len(s) for r, s in manifest.splits.items()} == {
        "train-weaksup": 4,
        "train-fullsup": 2,
        "test": 2,
    }
    assert "hold-out of 1 training images a class" in manifest.notes[0]
    sample = manifest.split("test")[1]
    assert (sample.image_id, sample.path) == ("002.Auklet/Bird_0008.jpg", "images/002.Auklet/Bird_0008.jpg")
    assert (sample.label, sample.size_wh) == (1, (20, 10))
    assert sample.boxes_xyxy.tolist() == [
        [2, 3, 19, 9]
    ]  # x + width = 20 is clipped to 19, y + height = 9 is not
    assert sample.masks == ("segmentations/002.Auklet/Bird_0008.png",)
    assert sample.parts is not None
    assert sample.parts.tolist() == [[4, 5, 1], [0, 0, 0]]


def test_cubv2_becomes_train_fullsup(tmp_path: Path) -> None:
    write_tree(tmp_path / "CUB_200_2011", cub_files())
    write_tree(tmp_path / "meta", metadata_files())
    write_tree(
        tmp_path / "CUBV2", {f"{c}/{n}.jpg": picture((20, 10), seed=n) for c in CLASSES for n in (71, 72)}
    )
    cubv2 = Cubv2(open_root(tmp_path / "CUBV2"), open_root(tmp_path / "meta"))
    manifest = read_cub(open_root(tmp_path / "CUB_200_2011"), cubv2=cubv2)
    assert {r: len(s) for r, s in manifest.splits.items()} == {
        "train-weaksup": 6,
        "train-fullsup": 4,
        "test": 2,
    }
    assert manifest.root == str(tmp_path)
    root = open_root(manifest.root)
    for role in manifest.splits:
        for sample in manifest.split(role):
            assert root.exists(sample.path)
            assert all(root.exists(m) for m in sample.masks)
    assert manifest.split("train-fullsup")[3].image_id == "002.Auklet/72.jpg"
    wrong = {
        **metadata_files(),
        "val/class_labels.txt": metadata_files()["val/class_labels.txt"].replace(b",0", b",9"),
    }
    write_tree(tmp_path / "wrong", wrong)
    with pytest.raises(UserError, match="this is not CUB's metadata"):
        read_cub(
            open_root(tmp_path / "CUB_200_2011"),
            cubv2=Cubv2(open_root(tmp_path / "CUBV2"), open_root(tmp_path / "wrong")),
        )


def test_a_tgz_is_unpacked_once_and_prepared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_tree(tmp_path / "CUB_200_2011", cub_files())
    with tarfile.open(tmp_path / "CUB.tgz", "w:gz") as archive:
        archive.add(tmp_path / "CUB_200_2011", "CUB_200_2011")
    (tmp_path / "work" / "data_manifests").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    for _ in range(2):  # the second time takes what was unpacked
        prepare.main(["cub200", "--source", "../CUB.tgz", "--holdout", "1", "--out", "m", "--force"])
    assert sorted(p.name for p in Path("data").iterdir()) == ["cub200"]
    assert load_manifest("m").root == str(tmp_path / "work" / "data" / "cub200" / "CUB_200_2011")


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        pytest.param(
            "images.txt", b"2 001", b"1 001", r"images\.txt:2: key 1 is listed twice", id="key twice"
        ),
        pytest.param(
            "images.txt",
            b"1 001.Albatross/Bird_0001.jpg",
            b"1 ",
            r"images\.txt:1: expected 'key path'",
            id="no path",
        ),
        pytest.param(
            "image_class_labels.txt",
            b"1 1 ",
            b"1 3 ",
            r"labels\.txt:1: class 3 is not in classes",
            id="class",
        ),
        pytest.param(
            "train_test_split.txt", b"1 1", b"1 2", r"split\.txt:1: is_training must be 0 or 1", id="split"
        ),
        pytest.param(
            "bounding_boxes.txt", b"1 2.0", b"1 x", r"boxes\.txt:1: box x must be a finite number", id="box"
        ),
        pytest.param(
            "bounding_boxes.txt",
            b"1 2.0",
            b"1 -2.0",
            r"boxes\.txt: image 1: box -2 3 .* leaves",
            id="negative box",
        ),
        pytest.param(
            "bounding_boxes.txt", b"2 2.0", b"1 2.0", r"boxes\.txt:2: image 1 is listed twice", id="twice"
        ),
        pytest.param(
            "bounding_boxes.txt", b"8 2.0 3.0 18.0 6.0", b"", r"boxes\.txt: image 8 .* has no line", id="lost"
        ),
        pytest.param(
            "parts/part_locs.txt", b"1 2 0.0", b"1 3 0.0", r"part_locs\.txt:2: image 1 or part 3", id="part"
        ),
        pytest.param("classes.txt", b"2 002", b"\xff 002", r"classes\.txt:2: not UTF-8", id="not text"),
    ],
)
def test_defects_name_file_and_line(tmp_path: Path, file: str, old: bytes, new: bytes, message: str) -> None:
    files = cub_files()
    assert old in files[file]
    files[file] = files[file].replace(old, new, 1)
    with pytest.raises(UserError, match=message):
        read_cub(open_root(write_tree(tmp_path, files)))


def test_not_the_dataset(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"does not look like CUB-200-2011: images\.txt, classes\.txt"):
        read_cub(open_root(tmp_path))


def test_names_may_hold_spaces() -> None:
    assert parse_keyed("1 left eye\n2 x", "f", "part name") == {"1": "left eye", "2": "x"}


def test_corners_reproduce_the_reference_for_every_image(wsol_data: Path) -> None:
    """The reference's corners, taken apart into x y width height and made again, are equal; with a width one
    larger, exactly those that touch the last column or row are clipped back."""
    if not (wsol_data / "wsol_metadata.zip").is_file():
        pytest.skip("wsol_metadata.zip is not in WSOL_DATA")
    split = read_wsol_metadata(open_root(wsol_data / "wsol_metadata.zip"), dataset_folder="CUB").split("test")
    for box, (w, h) in zip(split.boxes_xyxy.tolist(), split.sizes_wh.tolist()):
        x0, y0, x1, y1 = box
        assert corners_from_xywh((x0, y0, x1 - x0, y1 - y0), (w, h)) == (x0, y0, x1, y1)
        grown = corners_from_xywh((x0, y0, x1 - x0 + 1, y1 - y0 + 1), (w, h))
        assert grown == (x0, y0, x1 + (x1 < w - 1), y1 + (y1 < h - 1))
    assert (split.boxes_xyxy[:, 2:] <= split.sizes_wh - 1).all()
    assert np.array_equal(np.unique(split.labels), np.arange(200))
