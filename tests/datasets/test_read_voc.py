"""Pascal VOC: its XML (nothing is fetched or expanded), counting from 1, and images of several classes."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.dataset_trees import picture, write_tree
from wsol.datasets.detections import choose_label
from wsol.datasets.voc import parse_image_set, read_voc, zero_based
from wsol.datasets.voc_xml import parse_annotation
from wsol.errors import UserError
from wsol.files.roots import open_root

Object = tuple[str, tuple[float, float, float, float], int]


def xml(name: str, *objects: Object, size: tuple[int, int] = (30, 20)) -> bytes:
    body = "".join(
        f"<object>\n<name>{n}</name><difficult>{d}</difficult>"
        f"<bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{x}</xmax><ymax>{y}</ymax></bndbox></object>\n"
        for n, (a, b, x, y), d in objects
    )
    sizes = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
    return f"<annotation>\n<filename>{name}.jpg</filename>\n{sizes}\n{body}</annotation>".encode()


def voc_files(*, with_test: bool = True) -> dict[str, bytes]:
    images: dict[str, tuple[Object, ...]] = {
        "train1": (("dog", (1, 1, 30, 20), 0),),
        "train2": (("cat", (2, 3, 10, 11), 0), ("cat", (12, 3, 20.5, 11), 0)),
        "train3": (("dog", (1, 1, 3, 3), 0), ("cat", (5, 5, 25, 18), 0)),
        "train4": (("dog", (1, 1, 3, 3), 1),),
        "val1": (("dog", (3, 3, 9, 9), 0), ("cat", (1, 1, 5, 5), 1)),
        "val2": (("cat", (3, 3, 9, 9), 0),),
        "test1": (("cat", (3, 3, 9, 9), 0),),
    }
    files: dict[str, bytes] = {}
    for k, (name, objects) in enumerate(images.items()):
        files[f"JPEGImages/{name}.jpg"] = picture((30, 20), seed=k)
        if with_test or not name.startswith("test"):
            files[f"Annotations/{name}.xml"] = xml(name, *objects)
    for role in ("train", "val", "test"):
        files[f"ImageSets/Main/{role}.txt"] = "".join(f"{n}\n" for n in images if n.startswith(role)).encode()
    return files


@pytest.mark.parametrize("place", ["", "VOCdevkit/VOC2007/"])
def test_fixture(tmp_path: Path, place: str) -> None:
    write_tree(tmp_path, {f"{place}{n}": d for n, d in voc_files().items()})
    manifest = read_voc(open_root(tmp_path))
    assert manifest.classes == ("cat", "dog")
    train = manifest.split("train-weaksup")
    assert train.image_ids == ["train1", "train2"]
    assert train.labels.tolist() == [1, 0]
    assert train.boxes(0).tolist() == [[0, 0, 29, 19]]  # 1-based and inclusive becomes 0-based and inclusive
    assert train.boxes(1).tolist() == [[1, 2, 9, 10], [11, 2, 19.5, 10]]
    assert manifest.split("train-fullsup").labels.tolist() == [1, 0]  # the difficult cat of val1 is no box
    assert manifest.split("test").image_ids == ["test1"]
    assert manifest.notes == (
        "train: 1 images show several classes and were left out: JPEGImages/train3.jpg",
        "train: 1 images show no object and were left out: JPEGImages/train4.jpg",
    )


def test_largest_object_decides(tmp_path: Path) -> None:
    manifest = read_voc(open_root(write_tree(tmp_path, voc_files())), several_classes="largest")
    train = manifest.split("train-weaksup")
    assert train.image_ids == ["train1", "train2", "train3"]
    assert train.labels.tolist() == [1, 0, 0]
    assert train.boxes(2).tolist() == [[4, 4, 24, 17]]  # the dog's box was dropped
    assert choose_label([], [], "largest") is None


def test_unpublished_test_boxes_make_val_the_test_split(tmp_path: Path) -> None:
    manifest = read_voc(open_root(write_tree(tmp_path, voc_files(with_test=False))), holdout_per_class=1)
    assert manifest.split("test").image_ids == ["val1", "val2"]
    assert manifest.notes[-1] == "no train-fullsup: no class has two training images with boxes"


def test_files_that_count_from_zero(tmp_path: Path) -> None:
    files = voc_files()
    files["Annotations/train1.xml"] = xml("train1", ("dog", (0, 0, 29, 19), 0))
    root = open_root(write_tree(tmp_path, files))
    with pytest.raises(
        UserError, match="VOC counts pixels from 1; if these files count from 0, pass --zero-based"
    ):
        read_voc(root)
    assert read_voc(root, counts_from_zero=True).split("train-weaksup").boxes(0).tolist() == [[0, 0, 29, 19]]
    assert zero_based((1, 1, 1, 1), "x") == (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(b"", r"f:1: not readable as XML: no element found", id="empty"),
        pytest.param(b"<annotation>\n<size>", r"f:2: not readable as XML", id="cut"),
        pytest.param(b"<html/>", r"f:1: expected <annotation>, got <html>", id="another document"),
        pytest.param(b"<annotation>\n<object/></annotation>", r"f:2: an <object> needs", id="empty object"),
        pytest.param(xml("a", ("dog", (9, 1, 3, 3), 0)), r"f:5: box xmin 9 ymin 1", id="reversed"),
        pytest.param(
            xml("a").replace(b"<width>30", b"<width>wide"), r"f:3: <width> must be a finite", id="width"
        ),
        pytest.param(
            xml("a", ("dog", (1, 1, 3, 3), 0)).replace(b"<xmin>1</xmin>", b""), r"f:5: <xmin>", id="no xmin"
        ),
        pytest.param(
            b'<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;">]><annotation>&b;</annotation>',
            r"f:1: not readable as XML: a document type or entity is not accepted",
            id="entity bomb",
        ),
        pytest.param(
            b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><annotation/>',
            r"f:1: .* not accepted",
            id="external file",
        ),
        pytest.param(b"<a>" * 100, r"f:1: .* nested more than 32 deep", id="deep nesting"),
        pytest.param(b"<annotation>\xff</annotation>", r"f:1: not readable as XML", id="not text"),
    ],
)
def test_xml_defects_name_file_and_line(data: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_annotation(data, "f")


def test_xml_without_objects_or_size() -> None:
    found = parse_annotation(b"<annotation><size><width>0</width><height>0</height></size></annotation>", "f")
    assert (found.filename, found.size_wh, found.objects) == ("", None, ())


def test_lists() -> None:
    assert parse_image_set("a  1\nb -1\n", "f") == ["a", "b"]
    with pytest.raises(UserError, match="f:2: image 'a' is listed twice"):
        parse_image_set("a\na", "f")


def test_missing_pieces(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not look like Pascal VOC"):
        read_voc(open_root(tmp_path))
    files = voc_files()
    del files["Annotations/train1.xml"]
    with pytest.raises(UserError, match=r"file 'Annotations/train1\.xml' is missing"):
        read_voc(open_root(write_tree(tmp_path / "a", files)))
    files = {k: v for k, v in voc_files().items() if not k.endswith(("/val.txt", "/test.txt"))}
    with pytest.raises(UserError, match=r"needs train\.txt and val\.txt or test\.txt"):
        read_voc(open_root(write_tree(tmp_path / "b", files)))
