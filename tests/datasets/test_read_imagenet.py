"""ImageNet: the parsers, every layout people hold, and the traps (integer folders, flat val, several
boxes)."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.dataset_trees import picture, write_tree
from wsol import prepare
from wsol.datasets.boxes import BoxRules
from wsol.datasets.imagenet import read_imagenet
from wsol.datasets.imagenet_places import find_places
from wsol.datasets.imagenet_texts import (
    Solutions,
    parse_ground_truth,
    parse_meta_mat,
    parse_solution_row,
    parse_synset_mapping,
)
from wsol.errors import UserError
from wsol.files.roots import open_root
from wsol.manifest import load_manifest

WNIDS = ("n02000000", "n01000000", "n03000000")
SORTED = tuple(sorted(WNIDS))


def xml(wnid: str, *boxes: tuple[int, int, int, int], size: tuple[int, int] = (30, 20)) -> bytes:
    objects = "".join(
        f"<object><name>{wnid}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax></bndbox>"
        "</object>"
        for a, b, c, d in boxes
    )
    sizes = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
    return f"<annotation><filename>x</filename>{sizes}{objects}</annotation>".encode()


def stem(i: int) -> str:
    return f"ILSVRC2012_val_{i:08d}"


def val_wnid(i: int) -> str:
    return WNIDS[i % 3]


def train_files(place: str = "train") -> dict[str, bytes]:
    return {
        f"{place}/{w}/{w}_{i}.JPEG": picture((30, 20), seed=10 * k + i)
        for k, w in enumerate(WNIDS)
        for i in range(4)
    }


def val_files(place: str = "val", foldered: bool = False) -> dict[str, bytes]:
    return {
        f"{place}/{f'{val_wnid(i)}/' if foldered else ''}{stem(i)}.JPEG": picture((30, 20), seed=100 + i)
        for i in range(1, 7)
    }


def val_csv() -> bytes:
    rows = [f"{stem(i)},{val_wnid(i)} 1 2 {10 + i} 12 {val_wnid(i)} 3 3 5 5 " for i in (4, 2, 6, 1, 3, 5)]
    return "\n".join(["ImageId,PredictionString", *rows, ""]).encode()


def devkit() -> dict[str, bytes]:
    """meta.mat in the devkit's own structure: ids in another order than the sorted wnids, and a parent
    synset."""
    from scipy.io import savemat

    dtype = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("gloss", "O"), ("num_children", "O")]
    rows = [(k + 1, w, f"word {k}", "gloss", 0) for k, w in enumerate(WNIDS)] + [
        (4, "n00000001", "all", "gloss", 3)
    ]
    stream = io.BytesIO()
    savemat(stream, {"synsets": np.array(rows, dtype=dtype)})
    truth = "".join(f"{WNIDS.index(val_wnid(i)) + 1}\n" for i in range(1, 7))
    place = "ILSVRC2012_devkit_t12/data"
    return {
        f"{place}/meta.mat": stream.getvalue(),
        f"{place}/ILSVRC2012_validation_ground_truth.txt": truth.encode(),
    }


def v2_metadata() -> dict[str, bytes]:
    ids = [f"val2/{k}/{i}.jpeg" for k in (0, 1, 2) for i in range(2)]
    return {
        "val/image_ids.txt": "\n".join(ids).encode(),
        "val/class_labels.txt": "\n".join(f"{i},{i.split('/')[1]}" for i in ids).encode(),
        "val/image_sizes.txt": "\n".join(f"{i},30,20" for i in ids).encode(),
        "val/localization.txt": "\n".join(f"{i},1,1,9,9\n{i},2,2,8,8" for i in ids).encode(),
    }


LAYOUTS = {
    "folders, kaggle csv": {**train_files(), **val_files(), "LOC_val_solution.csv": val_csv()},
    "kaggle's tree": {
        **train_files("ILSVRC/Data/CLS-LOC/train"),
        **val_files("ILSVRC/Data/CLS-LOC/val"),
        "LOC_val_solution.csv": val_csv(),
        **{f"ILSVRC/Annotations/CLS-LOC/train/{w}/{w}_0.xml": xml(w, (1, 1, 5, 5)) for w in WNIDS},
    },
    "flat val, xml": {
        **train_files(),
        **val_files(),
        **{
            f"bbox/val/{stem(i)}.xml": xml(val_wnid(i), (1, 2, 10 + i, 12), (3, 3, 5, 5)) for i in range(1, 7)
        },
    },
    "val in folders, xml": {
        **train_files(),
        **val_files(foldered=True),
        **{
            f"bbox/val/{stem(i)}.xml": xml(val_wnid(i), (1, 2, 10 + i, 12), (3, 3, 5, 5)) for i in range(1, 7)
        },
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_test_split(tmp_path: Path, layout: str) -> None:
    manifest = read_imagenet(open_root(write_tree(tmp_path, LAYOUTS[layout])), holdout_per_class=1)
    assert manifest.classes == SORTED
    test = manifest.split("test")
    assert test.image_ids == [f"val/{stem(i)}.JPEG" for i in range(1, 7)]
    assert [SORTED[k] for k in test.labels] == [val_wnid(i) for i in range(1, 7)]
    assert [test.boxes(i - 1).tolist() for i in range(1, 7)] == [
        [[1, 2, 10 + i, 12], [3, 3, 5, 5]] for i in range(1, 7)
    ]
    weak = manifest.split("train-weaksup")
    assert weak.image_ids == sorted(weak.image_ids)
    assert all(SORTED[s.label] == s.image_id.split("/")[1] for s in weak)
    root = open_root(manifest.root or "")
    assert all(root.exists(s.path) for role in manifest.splits for s in manifest.splits[role])


def test_a_flat_val_without_boxes_takes_its_labels_from_the_devkit(tmp_path: Path) -> None:
    manifest = read_imagenet(open_root(write_tree(tmp_path, {**train_files(), **val_files(), **devkit()})))
    test = manifest.split("test")
    assert [SORTED[k] for k in test.labels] == [val_wnid(i) for i in range(1, 7)]
    assert not len(test.boxes_xyxy)
    assert any("no train-fullsup" in n for n in manifest.notes)


def test_val_alone_takes_its_classes_from_what_is_there(tmp_path: Path) -> None:
    for name, extra in (("csv", {"LOC_val_solution.csv": val_csv()}), ("devkit", devkit())):
        manifest = read_imagenet(open_root(write_tree(tmp_path / name, {**val_files(), **extra})))
        assert manifest.classes == SORTED
        assert list(manifest.splits) == ["test"]


def test_imagenetv2_is_train_fullsup_with_integer_folders(tmp_path: Path) -> None:
    v2 = {f"val2/{k}/{i}.jpeg": picture((30, 20), seed=500 + 10 * k + i) for k in (0, 1, 2) for i in range(2)}
    write_tree(tmp_path / "in", {**train_files(), **val_files(), **v2, "LOC_val_solution.csv": val_csv()})
    metadata = open_root(write_tree(tmp_path / "meta", v2_metadata()))
    manifest = read_imagenet(open_root(tmp_path / "in"), v2_metadata=metadata)
    full = manifest.split("train-fullsup")
    assert full.labels.tolist() == [0, 0, 1, 1, 2, 2]
    assert len(full.boxes(3)) == 2
    assert len(manifest.split("train-weaksup")) == 12
    wrong = {
        **v2_metadata(),
        "val/class_labels.txt": v2_metadata()["val/class_labels.txt"].replace(b",2", b",1"),
    }
    with pytest.raises(UserError, match=r"image 'val2/2/0\.jpeg' has label 1, but its folder is '2'"):
        read_imagenet(
            open_root(tmp_path / "in"), v2_metadata=open_root(write_tree(tmp_path / "wrong", wrong))
        )


def test_boxed_training_images_are_held_out(tmp_path: Path) -> None:
    manifest = read_imagenet(open_root(write_tree(tmp_path, LAYOUTS["kaggle's tree"])), holdout_per_class=1)
    # one boxed image a class: no hold-out takes the only one, so all train
    assert len(manifest.split("train-weaksup")) == 12
    boxes = {f"bbox/train/{w}/{w}_{i}.xml": xml(w, (1, 1, 5, 5)) for w in WNIDS for i in range(4)}
    manifest = read_imagenet(
        open_root(
            write_tree(
                tmp_path / "b", {**train_files(), **val_files(), **boxes, "LOC_val_solution.csv": val_csv()}
            )
        ),
        holdout_per_class=1,
    )
    assert {r: len(s) for r, s in manifest.splits.items()} == {
        "train-weaksup": 9,
        "train-fullsup": 3,
        "test": 6,
    }
    assert manifest.split("train-fullsup")[0].size_wh == (30, 20)


def test_official_tars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tar of tars for train, a flat tar for val, the devkit and the boxes as they are downloaded."""
    source = tmp_path / "downloads"
    source.mkdir()

    def pack(name: str, files: dict[str, bytes], mode: str = "w") -> bytes:
        with tarfile.open(source / name, mode) as archive:  # type: ignore[call-overload]
            for path, data in files.items():
                info = tarfile.TarInfo(path)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        return (source / name).read_bytes()

    inner = {}
    for wnid in WNIDS:
        files = {n.rpartition("/")[2]: d for n, d in train_files().items() if f"/{wnid}/" in n}
        inner[f"{wnid}.tar"] = pack("inner.tar", files)
    (source / "inner.tar").unlink()
    pack("ILSVRC2012_img_train.tar", inner)
    pack("ILSVRC2012_img_val.tar", {n.rpartition("/")[2]: d for n, d in val_files().items()})
    pack("ILSVRC2012_devkit_t12.tar.gz", devkit(), "w:gz")
    xmls = {f"val/{stem(i)}.xml": xml(val_wnid(i), (1, 2, 10 + i, 12)) for i in range(1, 7)}
    pack("ILSVRC2012_bbox_val_v3.tgz", xmls, "w:gz")
    (tmp_path / "data_manifests").mkdir()
    monkeypatch.chdir(tmp_path)
    prepare.main(["imagenet", "--source", "downloads", "--out", "m", "--force"])
    manifest = load_manifest("m")
    assert manifest.root == str(tmp_path / "data" / "imagenet")
    assert {r: (len(s), len(s.boxes_xyxy)) for r, s in manifest.splits.items()} == {
        "train-weaksup": (12, 0),
        "test": (6, 6),
    }
    assert [SORTED[k] for k in manifest.split("test").labels] == [val_wnid(i) for i in range(1, 7)]
    assert manifest.split("train-weaksup").size_wh(0) == (30, 20)  # read from the file by the audit


@pytest.mark.parametrize(
    ("row", "message"),
    [
        pytest.param("a", "expected 2 fields", id="no comma"),
        pytest.param("a,", "expected 'name,wnid", id="no prediction"),
        pytest.param("a,n01440764 1 2 3", "expected 'name,wnid", id="number missing"),
        pytest.param("a,dog 1 2 3 4", "'dog' is not a wnid", id="no wnid"),
        pytest.param("a,n01440764 9 2 3 4", "is not x0 <= x1", id="reversed"),
        pytest.param("a,n01440764 1 2 3 inf", "finite", id="endless"),
    ],
)
def test_solution_row_defects(row: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_solution_row(row)
    with pytest.raises(UserError, match=rf"f:2: .*{message}"):
        Solutions(f"ImageId,PredictionString\n{row}", "f")["a"]


def test_other_parsers() -> None:
    assert parse_ground_truth("490\n361\n", "f") == [490, 361]
    with pytest.raises(UserError, match="f:2: ILSVRC id must be an integer"):
        parse_ground_truth("490\nx", "f")
    assert parse_meta_mat(devkit()["ILSVRC2012_devkit_t12/data/meta.mat"], "f") == dict(enumerate(WNIDS, 1))
    with pytest.raises(UserError, match=r"f: not the devkit's meta\.mat"):
        parse_meta_mat(b"junk", "f")
    assert parse_synset_mapping("n01440764 tench, Tinca tinca\n", "f") == {"n01440764": "tench, Tinca tinca"}
    with pytest.raises(UserError, match="f:1: expected 'wnid names'"):
        parse_synset_mapping("tench", "f")
    with pytest.raises(UserError, match="f:3: image 'a' is listed twice"):
        Solutions("ImageId,PredictionString\na,n01440764 1 2 3 4\na,n01440764 1 2 3 4", "f")


def test_conflicts_and_gaps_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not look like ImageNet"):
        read_imagenet(open_root(tmp_path))
    gap = {
        **train_files(),
        **val_files(),
        "LOC_val_solution.csv": val_csv().replace(stem(3).encode(), b"other"),
    }
    with pytest.raises(UserError, match=rf"image 'val/{stem(3)}\.JPEG' has no label"):
        read_imagenet(open_root(write_tree(tmp_path / "gap", gap)))
    other = val_csv().replace(f"{stem(1)},{val_wnid(1)}".encode(), f"{stem(1)},{val_wnid(2)}".encode())
    clash = {**train_files(), **val_files(foldered=True), "LOC_val_solution.csv": other}
    with pytest.raises(UserError, match=rf"lies in class folder {val_wnid(1)}, but .* says {val_wnid(2)}"):
        read_imagenet(open_root(write_tree(tmp_path / "clash", clash)))
    assert find_places(open_root(tmp_path / "gap")).val_csv == "LOC_val_solution.csv"


def test_a_box_over_the_edge_names_its_file_or_is_clipped(tmp_path: Path) -> None:
    files = dict(LAYOUTS["flat val, xml"])
    files[f"bbox/val/{stem(2)}.xml"] = xml(val_wnid(2), (1, 2, 31, 12))
    root = open_root(write_tree(tmp_path, files))
    with pytest.raises(
        UserError, match=rf"bbox/val/{stem(2)}\.xml: box 1 2 31 12 .* of 30x20 leaves its image"
    ):
        read_imagenet(root)
    manifest = read_imagenet(root, rules=BoxRules(clip=True))
    assert manifest.split("test").boxes(1).tolist() == [[1, 2, 30, 12]]
    assert "test: 1 boxes were clipped to their image" in manifest.notes
