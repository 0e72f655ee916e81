"""Tiny ImageNet: the parser, a fixture in the original layout, and the real archive where it is at hand."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.dataset_trees import tiny_files, write_tree
from wsol.datasets.tiny_imagenet import parse_boxes, parse_val_annotations, read_tiny_imagenet
from wsol.errors import UserError
from wsol.files.roots import open_root
from wsol.images import decode_rgb


def test_parse_boxes_keeps_the_order_of_the_corners() -> None:
    assert parse_boxes("a.JPEG\t0\t10\t63\t58\n\nb.JPEG\t1\t2\t3\t4", "f") == {
        "a.JPEG": (0, 10, 63, 58),
        "b.JPEG": (1, 2, 3, 4),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("a\t1\t2\t3", r"f:1: expected 5 fields", id="field missing"),
        pytest.param("a\t1\t2\t3\t4\na\t1\t2\t3\t4", r"f:2: file 'a' is listed twice", id="twice"),
        pytest.param(
            "\na\t1\t2\tx\t4", r"f:2: box coordinate x1 must be a finite number, got 'x'", id="not a number"
        ),
        pytest.param("a\t9\t2\t3\t4", r"f:1: box '9 2 3 4' is not x0 <= x1", id="reversed"),
        pytest.param("a\tnan\t2\t3\t4", r"f:1: .* finite", id="nan"),
    ],
)
def test_parse_boxes_refusals_name_the_line(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_boxes(text, "f")


def test_parse_val_annotations() -> None:
    (row,) = parse_val_annotations("val_22.JPEG\tn01983481\t27\t28\t61\t63\n", "f")
    assert (row.file, row.wnid, row.box_xyxy) == ("val_22.JPEG", "n01983481", (27, 28, 61, 63))
    with pytest.raises(UserError, match="f:1: expected 6 fields"):
        parse_val_annotations("val_22.JPEG n01983481 27 28 61 63", "f")


@pytest.mark.parametrize("packed", ["folder", "folder one up", "zip", "zip one up"])
def test_fixture(tmp_path: Path, packed: str) -> None:
    inner = "tiny-imagenet-200/" if packed.endswith("up") else ""
    files = {inner + k: v for k, v in tiny_files().items()}
    if packed.startswith("zip"):
        with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
            for name, data in files.items():
                archive.writestr(name, data)
        root = open_root(tmp_path / "t.zip")
    else:
        root = open_root(write_tree(tmp_path / "t", files))
    manifest = read_tiny_imagenet(root, holdout_per_class=2)
    assert manifest.classes == ("n01000000 bird, fowl", "n03000000")  # sorted wnids, not the file's order
    test = manifest.split("test")
    assert [s.label for s in test] == [1, 0]
    assert test[0].boxes_xyxy.tolist() == [[1, 2, 63, 40]]
    assert test[0].size_wh == (64, 64)
    weak, full = manifest.split("train-weaksup"), manifest.split("train-fullsup")
    assert (len(weak), len(full)) == (8, 4)
    assert not set(weak.image_ids) & set(full.image_ids)
    assert np.bincount(full.labels).tolist() == [2, 2]
    sample = full[0]
    assert sample.label == int("n03000000" in sample.path)
    assert sample.boxes_xyxy[0, 0] == int(sample.path.split("_")[-1].split(".")[0])
    assert decode_rgb(open_root(manifest.root or "").read_bytes(sample.path), sample.path).shape == (
        64,
        64,
        3,
    )


def test_a_subset_of_the_classes_holds_out_the_same_images(tmp_path: Path) -> None:
    root = open_root(write_tree(tmp_path, tiny_files()))
    both = read_tiny_imagenet(root, holdout_per_class=2)
    one = read_tiny_imagenet(root, num_classes=1, holdout_per_class=2)
    assert one.classes == both.classes[:1]
    assert one.split("train-fullsup").image_ids == [
        s.image_id for s in both.split("train-fullsup") if s.label == 0
    ]
    assert len(one.split("test")) == 1
    other = read_tiny_imagenet(root, num_classes=1, holdout_per_class=2, seed=5)
    assert other.split("train-fullsup").image_ids != one.split("train-fullsup").image_ids
    with pytest.raises(UserError, match=r"--classes 3: .* holds 2 classes"):
        read_tiny_imagenet(root, num_classes=3)


def test_not_the_dataset(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(UserError, match=r"does not look like Tiny ImageNet: wnids\.txt"):
        read_tiny_imagenet(open_root(tmp_path))


def test_real_archive(wsol_data: Path) -> None:
    """Counts from the README beside the archive; labels and boxes checked against an independent reading."""
    file = wsol_data / "tiny-imagenet-40.zip"
    if not file.is_file():
        pytest.skip(f"{file.name} is not in WSOL_DATA")
    manifest = read_tiny_imagenet(open_root(file))
    assert {role: len(s) for role, s in manifest.splits.items()} == {
        "train-weaksup": 19000,
        "train-fullsup": 1000,
        "test": 2000,
    }
    assert len(manifest.classes) == 40
    assert list(manifest.classes) == sorted(manifest.classes)
    with zipfile.ZipFile(file) as archive:
        lines = archive.read("tiny-imagenet-200/val/val_annotations.txt").decode().split()
    rows = [lines[i : i + 6] for i in range(0, len(lines), 6)]
    test = manifest.split("test")
    assert [s.path for s in test] == [f"val/images/{r[0]}" for r in rows]
    assert [manifest.classes[s.label][:9] for s in test] == [r[1] for r in rows]
    assert np.array_equal(test.boxes_xyxy, np.array([r[2:] for r in rows], float))
    root = open_root(manifest.root or "")
    for role in manifest.splits:
        for sample in list(manifest.split(role))[::211]:
            assert decode_rgb(root.read_bytes(sample.path), sample.path).shape == (64, 64, 3)
            assert "val/" in sample.path or manifest.classes[sample.label][:9] in sample.path
