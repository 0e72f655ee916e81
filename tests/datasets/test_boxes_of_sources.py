"""What is done with boxes, names and files that tools write in their own way: units, edges, rotation, spelling, "
"masks."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from tests.helpers.dataset_trees import mask, picture, write_tree
from tests.helpers.layouts import LAYOUTS, Layout, coco, cub, folder, imagenet, yolo
from tests.helpers.oracles import oracle
from wsol import prepare
from wsol.datasets.boxes import BoxCounts, BoxError, BoxRules, fit_boxes, upright_to_stored
from wsol.datasets.image_names import ImageNames
from wsol.datasets.tables import read_box_table
from wsol.errors import UserError
from wsol.images import IMAGE_SUFFIXES, decode_rgb
from wsol.machine.distributed import World, world_from_environment
from wsol.manifest import Manifest, load_manifest


def run(layout: Layout, where: Path, *more: str) -> Manifest:
    write_tree(where / "source", layout.files)
    prepare.main([*layout.command, "--source", str(where / "source"), "--out", str(where / "m"), *more])
    return load_manifest(where / "m")


def findings(where: Path, check: str) -> list[str]:
    return [
        f["message"]
        for f in json.loads((where / "m" / "audit.json").read_text())["findings"]
        if f["check"] == check
    ]


class TestFit:
    @pytest.mark.parametrize(
        ("box", "clip", "expected", "counts"),
        [
            pytest.param((-0.4, 1, 5, 5), False, (0, 1, 5, 5), BoxCounts(rounded=1), id="left, rounded"),
            pytest.param((1, -0.99, 5, 5), False, (1, 0, 5, 5), BoxCounts(rounded=1), id="top, rounded"),
            pytest.param(
                (1, 1, 40.06, 30.5),
                False,
                (1, 1, 40, 30),
                BoxCounts(rounded=1),
                id="right and bottom, rounded",
            ),
            pytest.param(
                (-3, -3, 5, 5), True, (0, 0, 5, 5), BoxCounts(clipped=1), id="left and top, clipped"
            ),
            pytest.param(
                (1, 1, 90, 90), True, (1, 1, 40, 30), BoxCounts(clipped=1), id="right and bottom, clipped"
            ),
            pytest.param(
                (50, 1, 60, 9), True, (40, 1, 40, 9), BoxCounts(outside=1), id="outside, no area left"
            ),
            pytest.param((0, 0, 40, 30), False, (0, 0, 40, 30), BoxCounts(), id="the whole image"),
        ],
    )
    def test_edges(
        self, box: tuple[float, ...], clip: bool, expected: tuple[float, ...], counts: BoxCounts
    ) -> None:
        found = BoxCounts()
        fitted = fit_boxes(np.array([box], float), np.array([[40, 30]], np.int32), BoxRules(clip=clip), found)
        assert fitted.tolist() == [list(expected)]
        assert found == counts

    @pytest.mark.parametrize(
        ("box", "message"),
        [
            pytest.param((-1, 1, 5, 5), "leaves its image; 1 boxes are so", id="a whole pixel"),
            pytest.param((5, 1, 1, 5), "is not x0 <= x1", id="inverted"),
            pytest.param((40, 1, 50, 5), "lies wholly outside", id="outside"),
        ],
    )
    def test_refusals(self, box: tuple[float, ...], message: str) -> None:
        with pytest.raises(BoxError, match=message):
            fit_boxes(np.array([box], float), np.array([[40, 30]], np.int32), BoxRules(), BoxCounts())

    @pytest.mark.parametrize(
        ("units", "box"),
        [
            ("shares", (0.25, 0.2, 0.75, 0.8)),
            ("percent", (25, 20, 75, 80)),
            ("thousandths", (250, 200, 750, 800)),
        ],
    )
    def test_units(self, units: str, box: tuple[float, ...]) -> None:
        rules = BoxRules(units)  # type: ignore[arg-type]
        fitted = fit_boxes(np.array([box], float), np.array([[40, 30]], np.int32), rules, BoxCounts())
        np.testing.assert_allclose(fitted, [[10, 6, 30, 24]])
        with pytest.raises(BoxError, match="whose size is not known"):
            fit_boxes(np.array([box], float), np.zeros((1, 2), np.int32), rules, BoxCounts())

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_rotated_boxes_equal_pillows_rotation(self, orientation: int) -> None:
        """A box drawn on the upright image, found again in the stored pixels of an image that Pillow turns upright."""
        stored = np.zeros((6, 9), np.uint8)
        stored[1:3, 2:7] = 255
        image = Image.fromarray(stored)
        image.getexif()[0x0112] = orientation
        stream = io.BytesIO()
        image.save(stream, "PNG", exif=image.getexif())
        ys, xs = np.nonzero(np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(stream.getvalue())))))
        upright = np.array([[xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]], float)
        assert upright_to_stored(upright, orientation, (9, 6)).tolist() == [[2, 1, 7, 3]]


class TestUnitsOfADataset:
    def test_shares_of_widths_and_heights(self, tmp_path: Path) -> None:
        layout = folder("image,x,y,width,height", "{path},{fx0},{fy0},0.5,0.6")
        with pytest.raises(UserError, match="found 1 error"):
            run(layout, tmp_path)
        assert not (tmp_path / "m").exists()
        assert run(layout, tmp_path, "--box-units", "shares").split("test").boxes(0).tolist() == [
            [10, 6, 30, 24]
        ]

    def test_a_few_shares_among_pixels_are_a_warning(self, tmp_path: Path) -> None:
        layout = folder()
        lines = layout.files["boxes.csv"].split(b"\n")
        lines[1] = lines[1].rpartition(b".jpg,")[0] + b".jpg,0.2,0.2,0.7,0.8"
        layout.files["boxes.csv"] = b"\n".join(lines)
        run(layout, tmp_path)
        assert findings(tmp_path, "units") == [
            "1 box is inside the first pixel: are these shares of the image?"
        ]

    def test_percent_is_suspected_by_its_range(self, tmp_path: Path) -> None:
        files = {f"{c}/{i}.png": picture((400, 300), "PNG", seed=i) for c in ("a", "b") for i in range(12)}
        rows = [f"{p},{k},{k},{76 + k},{77 + k}" for k, p in enumerate(files)]
        files["boxes.csv"] = "\n".join(["image,x0,y0,x1,y1", *rows]).encode()
        run(Layout(("folder",), files, 0), tmp_path)
        assert findings(tmp_path, "units")[0].endswith("pass --box-units percent")


class TestExif:
    @pytest.mark.parametrize("frame", ["stored", "upright"])
    def test_boxes_in_either_frame(self, tmp_path: Path, frame: str) -> None:
        """Stored 40x30 with orientation 6: upright 30x40, where the stored box 10 6 30 24 is 6 10 24 30."""
        box = (10, 6, 30, 24) if frame == "stored" else (6, 10, 24, 30)
        layout = folder(row=f"{{path}},{','.join(map(str, box))}")
        for name in [n for n in layout.files if n.endswith(".jpg")]:
            image = Image.open(io.BytesIO(layout.files[name]))
            exif = image.getexif()
            exif[0x0112] = 6
            stream = io.BytesIO()
            image.save(stream, "JPEG", exif=exif)
            layout.files[name] = stream.getvalue()
        manifest = run(layout, tmp_path, "--boxes-in", frame)
        assert manifest.split("test").boxes(0).tolist() == [[10, 6, 30, 24]]
        assert any("rotation" in m for m in findings(tmp_path, "rotation"))


class TestNames:
    NAMES = ImageNames(["cat/IMG 1.JPG", "dog/a.b.png", "dog/für.jpg", "x/1.jpg", "y/1.jpg", "flat.jpeg"])

    @pytest.mark.parametrize(
        ("written", "path"),
        [
            ("cat%20/IMG%201.JPG".replace("%20/", "/"), "cat/IMG 1.JPG"),
            ("/home/me/data/cat/img 1.jpg", "cat/IMG 1.JPG"),
            ("..\\data\\dog\\a.b.png", "dog/a.b.png"),
            ("dog/a.b", "dog/a.b.png"),
            ("für.jpg", "dog/für.jpg"),
            ("dog/fu\u0308r.jpg", "dog/für.jpg"),
            ("file:///x/1.jpg", "x/1.jpg"),
            ("flat.png", "flat.jpeg"),
        ],
    )
    def test_spellings(self, written: str, path: str) -> None:
        assert self.NAMES.find(written) == path

    def test_what_stays_unclear_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"'1\.jpg' names 2 images"):
            self.NAMES.find("1.jpg")
        with pytest.raises(
            ValueError, match=r"no image under the source; the nearest name is 'dog/a\.b\.png'"
        ):
            self.NAMES.find("dog/a.c")
        with pytest.raises(ValueError, match="no image"):
            self.NAMES.find("cat/1.jpg")  # another folder than the files' own


class TestTables:
    @pytest.mark.parametrize(
        ("text", "boxes"),
        [
            pytest.param("image|left|top|right|bottom\na|1|2|3|4", [(1, 2, 3, 4)], id="bars"),
            pytest.param("label_name,bbox_x,bbox_y,bbox_width,bbox_height,image_name\nc,1,2,3,4,a", [(1, 2, 4, 6)],
                         id="makesense"),
            pytest.param("a.jpg,1,2,3,4,cat\nb.jpg,,,,,\n", [(1, 2, 3, 4)], id="retinanet, no header"),
            pytest.param("img\tx_center\ty_center\twidth\theight\na\t2,5\t4\t3\t4", [(1, 2, 4, 6)],
                         id="centres, decimal comma"),
            pytest.param('"File Name";"X Min";"Y Min";"X Max";"Y Max"\n"a;b";1;2;3;4', [(1, 2, 3, 4)], id="quoted"),
        ],
    )  # fmt: skip
    def test_dialects(self, text: str, boxes: list[tuple[float, ...]]) -> None:
        table = read_box_table(text, "t.csv")
        assert [b for _, row in table.rows for b in table.boxes(row)] == boxes


class TestCocoMasks:
    def test_they_live_with_their_manifest_and_changes_are_found(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        oracle("pycocotools")
        run(LAYOUTS["coco, masks"], tmp_path)
        file = next((tmp_path / "m" / "masks").rglob("test0.png"))
        (tmp_path / "m" / "masks.sha256").read_text()
        file.write_bytes(file.read_bytes() + b"x")
        with pytest.raises(UserError, match="found 1 error"):
            prepare.main(["coco", "--check", "--out", str(tmp_path / "m")])
        assert (
            "1 mask missing or not as written (masks.sha256): masks/test/mask/test0.png"
            in capsys.readouterr().out
        )
        file.unlink()
        with pytest.raises(UserError, match="errors"):
            prepare.main(["coco", "--check", "--out", str(tmp_path / "m")])

    def test_a_folder_of_somebody_elses_masks_is_left_alone(self, tmp_path: Path) -> None:
        oracle("pycocotools")
        write_tree(tmp_path / "m", {"masks/mine.png": b"x"})
        with pytest.raises(UserError, match="holds files that are not this dataset's masks"):
            run(LAYOUTS["coco, masks"], tmp_path)
        assert (tmp_path / "m" / "masks" / "mine.png").read_bytes() == b"x"

    def test_masks_of_the_manifest_before_are_removed(self, tmp_path: Path) -> None:
        oracle("pycocotools")
        run(LAYOUTS["coco, masks"], tmp_path)

        def renamed(data: dict[str, list[dict[str, object]]]) -> None:
            for image in data["images"]:
                image["file_name"] = f"new{image['id']}.jpg"

        other = coco(renamed, "--masks")
        for split in ("train", "test"):
            other.files.update({f"{split}/new{k}.jpg": picture((40, 30), seed=k) for k in range(1, 5)})
        run(other, tmp_path, "--force")
        assert {p.name[:3] for p in (tmp_path / "m" / "masks").rglob("*.png")} == {"new"}


class TestMaskFolders:
    @pytest.mark.parametrize("place", ["source/masks", "elsewhere"])
    def test_an_absolute_path(self, tmp_path: Path, place: str) -> None:
        layout = folder()
        masks = {
            f"{place}/{n[:-4]}.png": mask((40, 30), (10, 6, 30, 24))
            for n in layout.files
            if n.endswith(".jpg")
        }
        write_tree(tmp_path, masks)
        test = run(layout, tmp_path, "--masks", str(tmp_path / place)).split("test")
        assert all(
            (tmp_path / m).is_file() or (tmp_path / "source" / m).is_file() for (m,) in test.masks.values()
        )
        assert len(test.masks) == 4

    def test_kaggles_segmentations_beside_cub(self, tmp_path: Path) -> None:
        layout = cub()
        shape = mask((40, 30), (1, 1, 9, 9))
        names = [n.removeprefix("images/")[:-4] for n in layout.files if n.endswith(".jpg")]
        beside = {f"segmentations/{n}.png": shape for n in names}
        files = {**{f"CUB_200_2011/{n}": d for n, d in layout.files.items()}, **beside}
        manifest = run(Layout(layout.command, files, 4), tmp_path)
        assert manifest.split("test").masks[0] == ("segmentations/cat/test0.png",)
        assert manifest.split("test").path(0) == "CUB_200_2011/images/cat/test0.jpg"


class TestParquet:
    def test_images_without_a_class_are_counted(self, tmp_path: Path) -> None:
        pyarrow = pytest.importorskip("pyarrow")
        from pyarrow import parquet

        rows = [{"bytes": picture((40, 30), seed=k), "path": f"{k}.jpg"} for k in range(5)]
        (tmp_path / "source").mkdir()
        made = pyarrow.table({"image": rows, "label": ["cat", "dog", "cat", "dog", None]})
        parquet.write_table(made, tmp_path / "source" / "train-0.parquet")
        layout = Layout(("parquet", "--unpack-to", str(tmp_path / "unpacked")), {}, 0)
        assert "1 images of 'train' have no class and were left out" in run(layout, tmp_path).notes

    def test_a_broken_file_is_named(self, tmp_path: Path) -> None:
        pytest.importorskip("pyarrow")
        layout = Layout(
            ("parquet", "--unpack-to", str(tmp_path / "u")), {"train.parquet": b"PAR1 not really"}, 0
        )
        with pytest.raises(UserError, match=r"train\.parquet: row 1 cannot be read"):
            run(layout, tmp_path)
        assert not (tmp_path / "u").exists()


class TestResizedCub:
    def test_boxes_of_larger_images_are_refused_and_scaled(self, tmp_path: Path) -> None:
        layout = cub()
        text = layout.files["bounding_boxes.txt"].decode().splitlines()
        layout.files["bounding_boxes.txt"] = "\n".join(
            " ".join([r.split()[0], *(str(2 * float(v)) for v in r.split()[1:])]) for r in text
        ).encode()
        with pytest.raises(UserError, match=r"10 of 10 boxes reach over .* --box-scale"):
            run(layout, tmp_path)
        assert run(layout, tmp_path, "--box-scale", "0.5").split("test").boxes(0).tolist() == [
            [10, 6, 30, 24]
        ]


class TestMatches:
    def test_a_table_that_matches_nothing_is_an_error_with_one_name_of_each(self, tmp_path: Path) -> None:
        layout = imagenet("val/{w}/photo_{stem}.JPEG")
        with pytest.raises(
            UserError,
            match=r"the first image is called 'photo_.*', the first entry 'ILSVRC2012_val_00000001'",
        ):
            run(layout, tmp_path)

    def test_labels_without_boxes(self, tmp_path: Path) -> None:
        manifest = run(imagenet("val/{stem}.JPEG", csv="{stem},{w}"), tmp_path)
        assert manifest.split("test").labels.tolist() == [0, 1, 0, 1]
        assert not len(manifest.split("test").boxes_xyxy)

    def test_an_empty_label_folder_is_no_yolo(self, tmp_path: Path) -> None:
        layout = yolo("images/{split}/{name}")
        files = {n: d for n, d in layout.files.items() if "labels/" not in n}
        with pytest.raises(UserError, match=r"does not look like YOLO's layout: a text file of boxes"):
            run(Layout(layout.command, files, 0), tmp_path)

    def test_classes_that_no_box_shows_are_left_out_with_a_note(self, tmp_path: Path) -> None:
        manifest = run(yolo("images/{split}/{name}", card="names: [cat, dog, cow]\n"), tmp_path)
        assert manifest.classes == ("cat", "dog")
        assert "1 classes have no box anywhere and are left out: cow" in manifest.notes


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a/1.json": b'{"version": "5", "shapes": [], "imagePath": "1.jpg"}'}, r"looks like LabelMe's JSON: convert it"),  # noqa: E501
        ({"via.json": b'{"1.jpg": {"regions": [{"shape_attributes": {}}]}}'}, "looks like VIA's JSON: convert it"),
        ({"annotations.xml": b"<?xml version='1.0'?><annotations><image id='0'/></annotations>"}, "looks like CVAT's XML"),  # noqa: E501
        ({"train.tfrecord": b"x"}, "looks like TFRecord files: convert it"),
        ({"labels/train/1.txt": b""}, "looks like YOLO's layout: read with"),
        ({"x-annotations-bbox.csv": b"ImageID"}, "looks like OpenImages' CSV: read with"),
    ],
)  # fmt: skip
def test_an_unknown_layout_is_named(tmp_path: Path, files: dict[str, bytes], message: str) -> None:
    write_tree(tmp_path / "s", files)
    with pytest.raises(UserError, match=message):
        prepare.main(["folder", "--source", str(tmp_path / "s"), "--out", str(tmp_path / "m")])


class TestDamagedFiles:
    @pytest.mark.parametrize("ending", [".jpg", ".png", ".webp"])
    def test_cut_images_are_found_by_the_default_audit(
        self, tmp_path: Path, ending: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        layout = folder(ending=ending)
        name = f"test/cat/test0{ending}"
        layout.files[name] = layout.files[name][:-40]
        with pytest.raises(UserError, match="found 1 error"):
            run(layout, tmp_path)
        assert f"1 image cannot be read: image '{name}'" in capsys.readouterr().out
        if ending != ".webp":  # whose head is not read where its end is missing
            split = run(layout, tmp_path, "--force").split("test")  # still with the size that its boxes need
            assert (split.sizes_wh > 0).all()

    def test_data_after_the_end_is_no_damage(self, tmp_path: Path) -> None:
        layout = folder()
        for name in [n for n in layout.files if n.startswith("test/")]:
            layout.files[name] += b"trailing bytes"
        run(layout, tmp_path)
        assert findings(tmp_path, "unreadable") == []

    def test_files_that_are_not_read_are_counted(self, tmp_path: Path) -> None:
        layout = folder()
        layout.files.update({"test/cat/raw.HEIC": b"x", "elsewhere.jpg": picture((9, 9)), "notes.txt": b"x"})
        with pytest.raises(UserError, match=r"'elsewhere\.jpg' .* lies in no class folder"):
            run(layout, tmp_path)
        del layout.files["elsewhere.jpg"]
        (tmp_path / "source" / "elsewhere.jpg").unlink()
        run(layout, tmp_path)
        assert findings(tmp_path, "undecoded")[0].startswith(
            "1 image file is of a format that is not read here"
        )


@pytest.mark.parametrize("ending", IMAGE_SUFFIXES)
def test_every_ending_that_is_taken_for_an_image_is_one_that_pillow_decodes(ending: str) -> None:
    Image.init()
    if ending not in (
        ".mpo",
        ".avif",
        ".jp2",
        ".j2k",
        ".jpx",
    ):  # read as JPEG, or builds of Pillow may lack them
        assert Image.registered_extensions()[ending] in Image.OPEN


@pytest.mark.parametrize(
    ("array", "form", "value"),
    [
        pytest.param(np.full((4, 4), 0x8000, np.uint16), "PNG", 0x80, id="16-bit PNG"),
        pytest.param(np.full((4, 4), 0xFFFF, np.uint16), "TIFF", 0xFF, id="16-bit TIFF"),
        pytest.param(np.full((4, 4), 200, np.int32), "TIFF", None, id="32-bit TIFF of small numbers"),
        pytest.param(np.full((4, 4), 0.5, np.float32), "TIFF", None, id="floating point"),
    ],
)
def test_deep_pixels_are_scaled_by_their_format_or_refused(
    array: np.ndarray, form: str, value: int | None
) -> None:
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, form)
    if value is None:
        with pytest.raises(UserError, match="convert it to 8 bits"):
            decode_rgb(stream.getvalue(), "x")
    else:
        assert (decode_rgb(stream.getvalue(), "x") == value).all()


@pytest.mark.parametrize(
    ("rank", "size", "world"),
    [("", "", World()), ("", "2", World()), ("0", "1", World(0, 1, 0)), ("1", "2", World(1, 2, 0))],
)
def test_an_empty_rank_is_no_rank(
    monkeypatch: pytest.MonkeyPatch, rank: str, size: str, world: World
) -> None:
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", size)
    monkeypatch.setenv("LOCAL_RANK", "")
    assert world_from_environment() == world


def test_a_rank_that_is_no_number_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "first")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UserError, match="RANK='first'"):
        world_from_environment()
