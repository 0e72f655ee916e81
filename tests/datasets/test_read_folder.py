"""Anybody's own images: class folders and a CSV of boxes, from the parser to a prepared manifest."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.helpers.dataset_trees import mask, picture, write_tree
from wsol import prepare
from wsol.datasets.folder import parse_box_csv, read_folder
from wsol.errors import UserError
from wsol.files.roots import open_root
from wsol.manifest import Manifest, load_manifest

CLASSES = ("cat", "dog")


def own_files(per_class: int = 8, split: str = "") -> dict[str, bytes]:
    prefix = f"{split}/" if split else ""
    base = {"": 0, "train": 0, "val": 300, "test": 600}[split]
    return {
        f"{prefix}{c}/{split}{c}{i}.png": picture((20, 10), "PNG", seed=base + 100 * k + i)
        for k, c in enumerate(CLASSES)
        for i in range(per_class)
    }


def box_lines(
    count: int, header: str = "image,x0,y0,x1,y1", row: str = "{c}/{c}{i}.png,{i},1,{j},9"
) -> bytes:
    rows = [row.format(c=c, i=i, j=i + 5) for c in CLASSES for i in range(count)]
    return "\n".join([header, *rows, ""]).encode()


def read(folder: Path, csv: bytes, **options: object) -> Manifest:
    return read_folder(open_root(folder), csv, "boxes.csv", **options)  # type: ignore[arg-type]


class TestSplits:
    def test_flat_folders_boxed_images_never_train(self, tmp_path: Path) -> None:
        manifest = read(write_tree(tmp_path, own_files()), box_lines(4))
        assert manifest.classes == CLASSES
        assert {r: len(s) for r, s in manifest.splits.items()} == {
            "train-weaksup": 8,
            "train-fullsup": 2,
            "test": 6,
        }
        assert all(not len(s.boxes_xyxy) for s in manifest.split("train-weaksup"))
        assert all(len(s.boxes_xyxy) == 1 for r in ("train-fullsup", "test") for s in manifest.split(r))
        assert manifest.notes[0].startswith("splits were made by seed 0")
        assert read(tmp_path, box_lines(4), seed=1).hash() != manifest.hash()
        assert read(tmp_path, box_lines(4)).hash() == manifest.hash()

    def test_where_all_images_have_boxes_half_of_them_train(self, tmp_path: Path) -> None:
        manifest = read(write_tree(tmp_path, own_files()), box_lines(8))
        assert {r: len(s) for r, s in manifest.splits.items()} == {
            "train-weaksup": 8,
            "train-fullsup": 2,
            "test": 6,
        }

    @pytest.mark.parametrize(
        ("boxed", "train", "full", "test"),
        [(0, 8, 0, 0), (1, 7, 0, 1), (4, 4, 1, 3), (5, 4, 1, 3), (7, 4, 1, 3), (8, 4, 1, 3)],
    )
    def test_half_of_a_class_trains_however_many_of_it_are_boxed(
        self, tmp_path: Path, boxed: int, train: int, full: int, test: int
    ) -> None:
        """Seven of eight boxed gave one training image before."""
        lines = ["image,x0,y0,x1,y1", *(f"dog/dog{i}.png,1,1,5,5" for i in range(boxed))]
        lines += [f"cat/cat{i}.png,1,1,5,5" for i in range(8)]
        manifest = read(write_tree(tmp_path, own_files()), "\n".join(lines).encode())
        dogs = {r: [s for s in split if s.label == 1] for r, split in manifest.splits.items()}
        assert {r: len(s) for r, s in dogs.items()} == {
            "train-weaksup": train,
            "train-fullsup": full,
            "test": test,
        }
        assert sum(not len(s.boxes_xyxy) for s in dogs["train-weaksup"]) == 8 - boxed

    def test_split_folders_rule(self, tmp_path: Path) -> None:
        write_tree(tmp_path, {**own_files(4, "train"), **own_files(2, "val"), **own_files(3, "test")})
        csv = b"image,xmin,ymin,xmax,ymax\nvalcat0.png,1,1,5,5\ntestdog1.png,1,1,5,5\n"
        manifest = read(tmp_path, csv)
        assert {r: len(s) for r, s in manifest.splits.items()} == {
            "train-weaksup": 8,
            "train-fullsup": 4,
            "test": 6,
        }
        assert manifest.classes == CLASSES

    def test_split_folders_without_val_hold_out_boxed_training_images(self, tmp_path: Path) -> None:
        write_tree(tmp_path, {**own_files(4, "train"), **own_files(3, "test")})
        rows = [f"train/{c}/train{c}{i}.png,1,1,5,5" for c in CLASSES for i in range(3)]
        csv = "\n".join(["image,x0,y0,x1,y1", *rows]).encode()
        many = read(tmp_path, csv, holdout_per_class=10)  # three boxed images a class: one is taken
        assert many.notes[0].startswith(
            "train-fullsup is not the dataset's own: it is a hold-out of 1 training"
        )
        manifest = read(tmp_path, csv, holdout_per_class=1)
        assert {r: len(s) for r, s in manifest.splits.items()} == {
            "train-weaksup": 6,
            "train-fullsup": 2,
            "test": 6,
        }
        assert all(len(s.boxes_xyxy) for s in manifest.split("train-fullsup"))
        none = read(tmp_path, b"image,x0,y0,x1,y1\n")
        assert "train-fullsup" not in none.splits
        assert none.notes == ("no train-fullsup: no val split and no training image with a box",)

    def test_a_split_column_rules_over_folders(self, tmp_path: Path) -> None:
        csv = b"split,file,x0,y0,x1,y1\ntest,cat0.png,0,0,5,5\nval,dog1.png,0,0,5,5\ntrain,dog2.png,,,,\n"
        manifest = read(write_tree(tmp_path, own_files(3)), csv)
        assert manifest.split("test").image_ids == ["cat/cat0.png"]
        assert manifest.split("train-fullsup").image_ids == ["dog/dog1.png"]
        assert len(manifest.split("train-weaksup")) == 4


@pytest.mark.parametrize(
    ("csv", "boxes"),
    [
        pytest.param(b"image,x0,y0,x1,y1\ncat/cat0.png,1,2,3,4\n", [[1, 2, 3, 4]], id="corners"),
        pytest.param(b"path,x,y,width,height\ncat/cat0.png,1,2,3,4\n", [[1, 2, 4, 6]], id="width and height"),
        pytest.param(b"Path;Xmin;Ymin;Width;Height\ncat0.png;1;2;3;4\n", [[1, 2, 4, 6]], id="mixed, size"),
        pytest.param(b"PATH,Left,Top,X_Max,Y_Max\ncat0.png,1,2,3,4\n", [[1, 2, 3, 4]], id="mixed, corners"),
        pytest.param(
            b"filename,width,height,class,xmin,ymin,xmax,ymax\ncat0.png,20,10,cat,1,2,3,4\n",
            [[1, 2, 3, 4]],
            id="the image's size beside corners",
        ),
        pytest.param(b"xmax,ymax,xmin,ymin,filename\n3,4,1,2,cat0.png\n", [[1, 2, 3, 4]], id="any order"),
        pytest.param(
            b"Image,X0,Y0,X1,Y1\n./cat/cat0.png,1,2,3,4\ncat/cat0.png, 5,5,6,6\r\n",
            [[1, 2, 3, 4], [5, 5, 6, 6]],
            id="two boxes",
        ),
        pytest.param(
            b"\xef\xbb\xbfimage,x0,y0,x1,y1,class\ncat0.png,1,2,3,4,cat\n", [[1, 2, 3, 4]], id="bom, class"
        ),
    ],
)
def test_forms_of_the_csv(tmp_path: Path, csv: bytes, boxes: list[list[float]]) -> None:
    manifest = read(write_tree(tmp_path, own_files(2)), csv)
    (sample,) = (s for split in manifest.splits.values() for s in split if s.image_id == "cat/cat0.png")
    assert sample.boxes_xyxy.tolist() == boxes


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (r"C:\data\pets\CAT0.PNG", "cat/cat0.png"),
        ("/home/me/pets/cat0.png", "cat/cat0.png"),
        ("pets/cat0.png", "is no image under the source"),  # relative, and the source has no such folder
        (r"C:\data\dog\cat0.png", "is no image under the source"),  # the source has a folder dog
        (r"C:\data\1.png", "names 2 images"),
    ],
)
def test_paths_of_another_machine(tmp_path: Path, image: str, expected: str) -> None:
    folder = write_tree(tmp_path, own_files(2))
    for class_name in CLASSES:
        (folder / class_name / "1.png").write_bytes(picture((20, 10), "PNG"))
    csv = f"image,x0,y0,x1,y1\n{image},1,2,3,4\n".encode()
    if expected.endswith(".png"):
        boxed = [
            s.image_id for split in read(folder, csv).splits.values() for s in split if len(s.boxes_xyxy)
        ]
        assert boxed == [expected]
    else:
        with pytest.raises(UserError, match=expected):
            read(folder, csv)


def test_a_class_is_its_folder_in_another_spelling(tmp_path: Path) -> None:
    files = {f"{c}/{i}.png": picture(form="PNG") for c in ("american bulldog", "Maine-Coon") for i in (1, 2)}
    csv = "image,x0,y0,x1,y1,class\namerican bulldog/1.png,1,1,2,2,{}\nMaine-Coon/2.png,1,1,2,2,maine_coon\n"
    write_tree(tmp_path, files)
    manifest = read(tmp_path, csv.format("American_Bulldog").encode())
    assert manifest.classes == ("Maine-Coon", "american bulldog")
    with pytest.raises(UserError, match="of class 'bulldog', but lies in 'american bulldog'"):
        read(tmp_path, csv.format("bulldog").encode())
    write_tree(tmp_path, {"american_bulldog/3.png": picture(form="PNG")})
    with pytest.raises(UserError, match="of class 'american_bulldog', but lies in 'american bulldog'"):
        read(tmp_path, csv.format("american_bulldog").encode())


@pytest.mark.parametrize(
    ("csv", "message"),
    [
        pytest.param(b"", r"boxes\.csv:1: expected a header with an image column", id="empty"),
        pytest.param(b"a,b\n", r"boxes\.csv:1: expected a header", id="other header"),
        pytest.param(b"image,x0,y0,x1\n", r"boxes\.csv:1: expected a header", id="corner missing"),
        pytest.param(
            b"filename,width,height,xmin,ymin,xmax\ncat0.png,20,10,1,2,3\n",
            r"boxes\.csv:1: expected a header",
            id="the image's size is no box's",
        ),
        pytest.param(
            b"image,x0,y0,x1,y1\ncat0.png,1,2,3\n", r"boxes\.csv:2: expected 5 fields, got 4", id="field"
        ),
        pytest.param(
            b"image,x0,y0,x1,y1\n\ncat0.png,1,2,x,4\n",
            r"boxes\.csv:3: box x1 must be a finite number",
            id="number",
        ),
        pytest.param(
            b"image,x0,y0,x1,y1\ncat0.png,9,2,3,4\n",
            r"boxes\.csv:2: box 9 2 3 4 .* is not x0 <= x1",
            id="reversed",
        ),
        pytest.param(
            b"image,x,y,width,height\ncat0.png,9,2,-3,4\n", r"boxes\.csv:2: .* negative", id="negative"
        ),
        pytest.param(
            b"image,x0,y0,x1,y1\n,1,2,3,4\n", r"boxes\.csv:2: the image's name is empty", id="no image"
        ),
        pytest.param(
            b"image,x0,y0,x1,y1\nno.png,1,2,3,4\n", r"boxes\.csv:2: 'no\.png' is no image", id="unknown image"
        ),
        pytest.param(
            b"image,x0,y0,x1,y1\ncat0.png,1,2,3,4\ncat/cat0.png,1,2,3,4\n",
            r"boxes\.csv:3: 'cat/cat0\.png' is the image that line 2 calls 'cat0\.png'",
            id="two names",
        ),
        pytest.param(
            b"image,x0,y0,x1,y1,class\ncat0.png,1,2,3,4,dog\n",
            r"boxes\.csv:2: .* class 'dog', but lies in",
            id="class",
        ),
        pytest.param(
            b"image,x0,y0,x1,y1,split\ncat0.png,1,2,3,4,all\n",
            r"boxes\.csv:2: split must be one of",
            id="split",
        ),
        pytest.param(
            b"image,x0,y0,x1,y1,split\ncat0.png,1,2,3,4,val\ncat0.png,1,2,3,4,test\n",
            r"boxes\.csv:3: image 'cat0\.png' is 'val' on an earlier line, 'test' here",
            id="two splits",
        ),
        pytest.param(
            b'image,x0,y0,x1,y1\n"cat0.png,1,2,3,4\n', r"boxes\.csv:\d: unexpected end", id="open quote"
        ),
        pytest.param(b"image,x0,y0,x1,y1\n\xff,1,2,3,4\n", r"boxes\.csv:2: not UTF-8", id="not text"),
    ],
)
def test_csv_defects_name_the_line(tmp_path: Path, csv: bytes, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read(write_tree(tmp_path, own_files(2)), csv)


def test_widths_have_no_last_pixel(tmp_path: Path) -> None:
    """With --corners inclusive a width of 9 came back as 10 from `wsol.export coco`."""
    write_tree(tmp_path, own_files(2))
    csv = b"image,x,y,width,height\ncat/cat0.png,1,1,9,8\n"
    assert read(tmp_path, csv).corners == "half-open"
    with pytest.raises(
        UserError, match="gives widths and heights, which --corners inclusive does not apply to"
    ):
        read(tmp_path, csv, corners="inclusive")


def test_names_that_several_images_have_need_a_path(tmp_path: Path) -> None:
    write_tree(tmp_path, {"cat/1.png": picture(form="PNG"), "dog/1.png": picture(form="PNG", seed=1)})
    with pytest.raises(UserError, match=r"boxes\.csv:2: '1\.png' names 2 images .*; write its path"):
        read(tmp_path, b"image,x0,y0,x1,y1\n1.png,1,2,3,4\n")


def test_layout_defects(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="does not look like images in class folders"):
        read(tmp_path / "empty", b"image,x0,y0,x1,y1\n")
    write_tree(tmp_path / "loose", {"a.png": picture(form="PNG"), "cat/b.png": picture(form="PNG")})
    with pytest.raises(
        UserError, match=r"image 'a\.png' .* lies in no class folder; expected <class>/<image>"
    ):
        read(tmp_path / "loose", b"image,x0,y0,x1,y1\n")


def test_masks_beside_the_images(tmp_path: Path) -> None:
    write_tree(tmp_path, {**own_files(2), "masks/cat/cat0.png": mask((20, 10), (1, 1, 4, 4))})
    manifest = read(tmp_path, box_lines(1), masks="masks")
    assert manifest.classes == CLASSES
    assert {s.image_id: s.masks for split in manifest.splits.values() for s in split if s.masks} == {
        "cat/cat0.png": ("masks/cat/cat0.png",)
    }


def test_a_folder_of_masks_that_is_not_there(tmp_path: Path) -> None:
    write_tree(tmp_path / "images", own_files(2))
    with pytest.raises(UserError, match=r"--masks '.*absent' does not exist"):
        read(tmp_path / "images", box_lines(1), masks=str(tmp_path / "absent"))


@pytest.mark.parametrize("masks", ["masks", "masks/", "./masks"])
def test_masks_beside_split_folders_leave_the_splits_as_they_are(tmp_path: Path, masks: str) -> None:
    """Once the folder of masks made classes of `train/cat` and `test/cat`, and splits of its own over both."""
    shape = mask((20, 10), (1, 1, 4, 4))
    write_tree(
        tmp_path, {**own_files(2, "train"), **own_files(2, "test"), "masks/test/cat/testcat0.png": shape}
    )
    manifest = read(tmp_path, b"image,x0,y0,x1,y1\ntestcat0.png,1,1,5,5\n", masks=masks)
    assert manifest.classes == CLASSES
    assert {r: {i.split("/")[0] for i in s.image_ids} for r, s in manifest.splits.items()} == {
        "train-weaksup": {"train"},
        "test": {"test"},
    }
    assert manifest.split("test")[0].masks == ("masks/test/cat/testcat0.png",)


def test_a_folder_beside_split_folders_is_refused(tmp_path: Path) -> None:
    write_tree(tmp_path, {**own_files(2, "train"), **own_files(2, "test"), **own_files(1)})
    with pytest.raises(UserError, match="folders test, train name splits, but 'cat' beside them"):
        read(tmp_path, b"image,x0,y0,x1,y1\n")


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    write_tree(tmp_path, {f"{c}/{i}.png": picture(form="PNG") for c in ("bus", "train") for i in range(2)})
    assert read(tmp_path, b"image,x0,y0,x1,y1\n").classes == ("bus", "train")


def test_masks_that_are_nowhere_are_an_error(tmp_path: Path) -> None:
    write_tree(tmp_path, own_files(2))
    with pytest.raises(UserError, match=r"the mask of 'cat/cat0.png' would be 'msaks/cat/cat0.png'"):
        read(tmp_path, box_lines(1), masks="msaks")


def test_prepare_refuses_boxes_over_the_edge_unless_told_to_clip(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    csv = box_lines(4, row="{c}/{c}{i}.png,{i},1,{j}0,9")  # x1 reaches 80 in images 20 wide
    write_tree(tmp_path / "own", {**own_files(), "boxes.csv": csv})
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"of 20x10 leaves its image; \d+ boxes are so"):
        prepare.main(["folder", "--source", "own", "--out", "birds"])
    assert not Path("birds").exists()
    prepare.main(["folder", "--source", "own", "--out", "birds", "--clip-boxes"])
    manifest = load_manifest("birds")
    assert manifest.dataset == "birds"
    assert manifest.split("test").boxes_xyxy[:, 2].max() == 20
    assert any("boxes were clipped to their image" in n for n in manifest.notes)


@given(st.text(alphabet="imagex0y1,\n\"'. /cat", max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_text_is_a_table_or_one_error(text: str) -> None:
    try:
        table = parse_box_csv(f"image,x0,y0,x1,y1\n{text}", "boxes.csv")
    except UserError as error:
        message = str(error)
    else:
        assert all(listed.line > 1 for listed in table.images.values())
        return
    assert message.startswith("boxes.csv:")


def test_a_table_named_with_boxes_may_lie_in_the_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the README writes it, `--source my_images --boxes boxes.csv`."""
    source = write_tree(tmp_path / "mine", own_files() | {"tables/truth.csv": box_lines(4)})
    monkeypatch.chdir(tmp_path)
    arguments = ["folder", "--source", "mine", "--out", "out", "--boxes"]
    prepare.main([*arguments, "tables/truth.csv"])  # what is below is refused although it is there
    inside = load_manifest("out")
    (tmp_path / "truth.csv").write_bytes(box_lines(4))
    prepare.main([*arguments, "truth.csv"])
    assert load_manifest("out").hash() == inside.hash()
    for name in ("absent.csv", "../mine/tables/truth.csv", str(source / "absent.csv")):
        with pytest.raises(UserError, match="does not exist, neither here nor in 'mine'"):
            prepare.main([*arguments, name])
