"""The reference metadata layout: parsers, round trips to the byte, and the real metadata where it is at
hand."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wsol.datasets.wsol_metadata import (
    choose_dataset,
    parse_class_labels,
    parse_image_ids,
    parse_image_sizes,
    parse_localization,
    read_wsol_metadata,
    write_split_texts,
    write_wsol_metadata,
)
from wsol.errors import UserError
from wsol.files.roots import open_root
from wsol.manifest import Manifest, Sample, Split, load_manifest, write_manifest

KNOWN = frozenset({"a/1.jpg", "b/2.jpg"})
BOXES = {
    "image_ids.txt": "a/1.jpg\nb/2.jpg",
    "class_labels.txt": "a/1.jpg,0\nb/2.jpg,1",
    "image_sizes.txt": "a/1.jpg,10,20\nb/2.jpg,30,40",
    "localization.txt": "a/1.jpg,1,2,3,4\na/1.jpg,0,0,9,19\nb/2.jpg,5,6,7.5,8",
}
MASKS = {
    "image_ids.txt": "a/1.jpg\nb/2.jpg",
    "class_labels.txt": "a/1.jpg,0\nb/2.jpg,1",
    "localization.txt": "a/1.jpg,a/1_m.png,a/1_ignore.png\na/1.jpg,a/1_n.png,\nb/2.jpg,b/2_m.png,",
}


def write(folder: Path, files: dict[str, str], split: str = "test") -> Path:
    (folder / split).mkdir(parents=True)
    for name, text in files.items():
        (folder / split / name).write_text(text, newline="\n")
    return folder


def test_boxes(tmp_path: Path) -> None:
    manifest = read_wsol_metadata(open_root(write(tmp_path / "Birds", BOXES)))
    assert manifest.dataset == "Birds"
    assert manifest.classes == ("a", "b")  # the folders agree with the labels
    assert manifest.root is None
    assert manifest.notes == ()
    first, second = manifest.split("test")
    assert first.size_wh == (10, 20)
    assert first.boxes_xyxy.tolist() == [[1, 2, 3, 4], [0, 0, 9, 19]]
    assert second.boxes_xyxy.tolist() == [[5, 6, 7.5, 8]]


def test_masks_and_the_blank_ignore_column(tmp_path: Path) -> None:
    split = read_wsol_metadata(open_root(write(tmp_path, MASKS, "val"))).split("train-fullsup")
    assert split[0].masks == ("a/1_m.png", "a/1_n.png")
    assert split[0].ignore_mask == "a/1_ignore.png"
    assert split[1].masks == ("b/2_m.png",)
    assert split[1].ignore_mask is None
    assert split[0].size_wh is None


def test_two_column_masks_are_read_as_without_ignore() -> None:
    found = parse_localization("a/1.jpg,m.png\nb/2.jpg,n.png", "f", KNOWN)
    assert found.masks == {"a/1.jpg": ["m.png"], "b/2.jpg": ["n.png"]}
    assert found.ignore == {}


@pytest.mark.parametrize("files", [BOXES, MASKS], ids=["boxes", "masks"])
def test_round_trip_through_a_manifest_is_byte_identical(tmp_path: Path, files: dict[str, str]) -> None:
    source = write(tmp_path / "in", files)
    write_manifest(read_wsol_metadata(open_root(source)), tmp_path / "m")
    write_wsol_metadata(load_manifest(tmp_path / "m"), tmp_path / "out")
    assert {p.name: p.read_bytes() for p in (tmp_path / "out" / "test").iterdir()} == {
        name: text.encode() for name, text in files.items()
    }
    with pytest.raises(UserError, match="exists already"):
        write_wsol_metadata(load_manifest(tmp_path / "m"), tmp_path / "out")


def test_another_order_is_read_right_and_noted(tmp_path: Path) -> None:
    files = {**BOXES, "class_labels.txt": "b/2.jpg,1\na/1.jpg,0\n"}
    manifest = read_wsol_metadata(open_root(write(tmp_path, files)))
    assert manifest.split("test").labels.tolist() == [0, 1]
    assert [n.split()[0] for n in manifest.notes] == ["test/class_labels.txt"]


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        pytest.param(
            "image_ids.txt",
            "a/1.jpg\n\na/1.jpg",
            r"image_ids\.txt:3: image 'a/1\.jpg' is listed twice",
            id="twice",
        ),
        pytest.param(
            "class_labels.txt",
            "a/1.jpg,0",
            r"class_labels\.txt: image 'b/2\.jpg' has no label",
            id="no label",
        ),
        pytest.param(
            "class_labels.txt",
            "a/1.jpg,0\nc,1",
            r"class_labels\.txt:2: image 'c' is not in",
            id="surplus label",
        ),
        pytest.param(
            "class_labels.txt", "a/1.jpg,-1", r"class_labels\.txt:1: label -1 is not in", id="negative label"
        ),
        pytest.param(
            "class_labels.txt", "a/1.jpg,1.0", r"class_labels\.txt:1: label must be an integer", id="fraction"
        ),
        pytest.param(
            "class_labels.txt", "a/1.jpg", r"class_labels\.txt:1: expected 'id,label'", id="no comma"
        ),
        pytest.param("image_sizes.txt", "a/1.jpg,0,5", r"image_sizes\.txt:1: image size 0x5", id="no width"),
        pytest.param(
            "localization.txt", "a/1.jpg,9,2,3,4", r"localization\.txt:1: box '9 2 3 4'", id="reversed box"
        ),
        pytest.param(
            "localization.txt", "a/1.jpg,1,2,3,4\nb/2.jpg,m.png,", r"localization\.txt:2: ", id="mixed kinds"
        ),
        pytest.param(
            "localization.txt",
            "a/1.jpg,m.png,i.png\na/1.jpg,n.png,j.png",
            r"localization\.txt:2: only the first line",
            id="second ignore mask",
        ),
    ],
)
def test_broken_files_are_named_with_their_line(tmp_path: Path, file: str, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_wsol_metadata(open_root(write(tmp_path, {**BOXES, file: text})))


def test_commas_in_ids_do_not_shift_the_numbers() -> None:
    ids = frozenset(parse_image_ids("a,b.jpg", "f"))
    assert parse_class_labels("a,b.jpg,3", "f", ids) == {"a,b.jpg": 3}
    assert parse_image_sizes("a,b.jpg,3,4", "f", ids) == {"a,b.jpg": (3, 4)}
    assert parse_localization("a,b.jpg,1,2,3,4", "f", ids).boxes == {"a,b.jpg": [(1, 2, 3, 4)]}
    with pytest.raises(UserError, match="holds a comma"):
        write_split_texts(Split.from_samples([Sample("a,b.jpg", "a,b.jpg", 0)]))


def test_several_datasets_need_a_choice(tmp_path: Path) -> None:
    write(tmp_path / "meta" / "CUB", BOXES)
    write(tmp_path / "meta" / "OTHER", MASKS)
    root = open_root(tmp_path)
    with pytest.raises(UserError, match="choose one with --dataset-folder: 'CUB', 'OTHER'"):
        choose_dataset(root, None)
    with pytest.raises(UserError, match=r"--dataset-folder 'CUP': .* holds 'CUB', 'OTHER'"):
        choose_dataset(root, "CUP")
    assert read_wsol_metadata(root, dataset_folder="OTHER").split("test").masks
    with pytest.raises(UserError, match="does not look like the reference metadata layout"):
        choose_dataset(open_root(tmp_path / "meta" / "CUB" / "test"), None)


coordinate = st.integers(0, 400) | st.floats(0, 400, allow_nan=False).map(abs)


@st.composite
def splits(draw: st.DrawFn) -> Split:
    ids = draw(st.lists(st.text("abc/. _-", min_size=1).filter(str.strip), unique=True, max_size=6))
    rows = []
    for image_id in ids:
        boxes = draw(st.lists(st.tuples(*[coordinate] * 4), max_size=3))
        ordered = [[min(a, c), min(b, d), max(a, c), max(b, d)] for a, b, c, d in boxes]
        size = draw(st.none() | st.tuples(st.integers(401, 900), st.integers(401, 900)))
        label = draw(st.integers(0, 9))
        rows.append(Sample(image_id, image_id, label, size, np.array(ordered, float).reshape(-1, 4)))
    return Split.from_samples(rows)


@given(splits())
@settings(max_examples=100, deadline=None)
def test_any_split_survives_the_text_form(split: Split) -> None:
    texts = write_split_texts(split)
    ids = parse_image_ids(texts["image_ids.txt"], "f")
    known = frozenset(ids)
    marks = parse_localization(texts.get("localization.txt", ""), "f", known)
    assert ids == split.image_ids
    assert list(parse_class_labels(texts["class_labels.txt"], "f", known).values()) == split.labels.tolist()
    for i, image_id in enumerate(ids):
        assert np.array_equal(np.array(marks.boxes.get(image_id, [])).reshape(-1, 4), split.boxes(i))


@pytest.mark.parametrize(
    ("folder", "counts", "files"),
    [
        ("CUB", {"train-weaksup": (5994, 5994), "train-fullsup": (1000, 1000), "test": (5794, 5794)}, 12),
        ("ILSVRC", {"train-fullsup": (10000, 18532)}, 4),
    ],
)
def test_real_metadata(
    wsol_data: Path, tmp_path: Path, folder: str, counts: dict[str, tuple[int, int]], files: int
) -> None:
    """Counts from PROTOCOLS.md section 1; every file comes back byte for byte through a manifest on disk."""
    source = wsol_data / "wsol_metadata.zip"
    if not source.is_file():
        pytest.skip(f"{source.name} is not in WSOL_DATA")
    manifest = read_wsol_metadata(open_root(source), dataset_folder=folder)
    assert {role: (len(s), len(s.boxes_xyxy)) for role, s in manifest.splits.items()} == counts
    assert manifest.notes == ()
    full = np.bincount(manifest.split("train-fullsup").labels)
    if folder == "CUB":
        assert manifest.classes[:2] == ("001.Black_footed_Albatross", "002.Laysan_Albatross")
        assert {k: int(n) for k, n in enumerate(full) if n != 5} == {1: 6, 6: 6, 58: 3}
    else:
        assert manifest.classes == tuple(str(k) for k in range(1000))
        assert set(full) == {10}
    write_manifest(manifest, tmp_path / "m")
    write_wsol_metadata(load_manifest(tmp_path / "m"), tmp_path / "out")
    written = sorted((tmp_path / "out").rglob("*.txt"))
    assert len(written) == files
    with zipfile.ZipFile(source) as archive:
        for file in written:
            inner = file.relative_to(tmp_path / "out").as_posix()
            assert file.read_bytes() == archive.read(f"wsol_metadata/{folder}/{inner}"), inner


def test_a_manifest_of_both_kinds_is_refused() -> None:
    rows = [Sample("a", "a", 0, boxes_xyxy=np.array([[1.0, 1, 2, 2]])), Sample("b", "b", 0, masks=("m.png",))]
    with pytest.raises(UserError, match="either boxes or masks"):
        write_split_texts(Manifest("x", ("c",), {"test": Split.from_samples(rows)}).split("test"))
