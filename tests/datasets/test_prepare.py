"""From a dataset on disk to an audited manifest: the command, the cards, the columns, the picture."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.dataset_trees import mask, picture, row, tiny_files, toy, write_tree
from wsol import prepare
from wsol.contact_sheet import BOX_COLOUR, SheetLayout, draw_contact_sheet, draw_sample
from wsol.datasets import catalog
from wsol.datasets.boxes import BoxCounts, BoxRules, fit_split
from wsol.datasets.cards import known_cards, parse_card
from wsol.datasets.catalog import open_dataset
from wsol.datasets.holdout import holdout_indices
from wsol.datasets.split_builder import SplitBuilder
from wsol.errors import UserError
from wsol.files.roots import open_root
from wsol.manifest import Manifest, Split, load_manifest, read_head

PROJECT = Path(__file__).resolve().parents[2]


def _own(per_class: int) -> dict[str, bytes]:
    """Somebody's own images, all of them with a box."""
    names = [f"{c}/{i}.png" for c in ("ant", "bee") for i in range(per_class)]
    table = "".join(f"{name},1,1,5,5\n" for name in names)
    images = {name: picture((8, 8), "PNG", seed=k) for k, name in enumerate(names)}
    return {**images, "boxes.csv": f"image,x0,y0,x1,y1\n{table}".encode()}


class TestCommand:
    @pytest.fixture
    def here(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        (tmp_path / "data_manifests").mkdir()
        write_tree(tmp_path / "tiny", tiny_files())
        monkeypatch.chdir(tmp_path)
        return tmp_path

    def test_prepares_checks_and_opens(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        prepare.main(["tiny-imagenet", "--source", "tiny", "--holdout", "2", "--force"])
        out = here / "data_manifests" / "tiny-imagenet"
        assert sorted(p.name for p in out.iterdir()) == [
            "audit.json",
            "contact_sheet.png",
            "manifest.yaml",
            "test.csv",
            "train-fullsup.csv",
            "train-weaksup.csv",
        ]
        head = read_head(out)
        assert head["source"] == "tiny"
        assert head["prepared_by"].startswith("python -m wsol.prepare tiny-imagenet --source tiny")
        assert json.loads((out / "audit.json").read_text())["splits"][2]["images"] == 2
        assert "train-fullsup" in capsys.readouterr().out
        manifest = open_dataset("tiny-imagenet")
        assert len(manifest.split("train-fullsup")) == 4
        assert manifest.hash() == open_dataset("data_manifests/tiny-imagenet").hash()
        assert open_dataset("tiny-imagenet", data_root="/moved").root == "/moved"
        (out / "manifest.yaml").write_text(
            (out / "manifest.yaml").read_text().replace("card: tiny-imagenet", "card: none")
        )
        prepare.main(["tiny-imagenet", "--check", "--out", str(out.rename(here / "x"))])
        (here / "tiny" / "val" / "images" / "val_0.JPEG").unlink()
        with pytest.raises(UserError, match=r"the audit of 'x' found 1 error, see above"):
            prepare.main(["tiny-imagenet", "--check", "--out", "x"])
        assert "error: test: 1 file is missing: val/images/val_0.JPEG" in capsys.readouterr().out

    def test_a_hold_out_counts_with_the_training_images(
        self, here: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        """Without --force, against a card of its own: 6 training images a class, of which 2 are held out."""
        card = "name: m\ntitle: Mini\nprepare: x\nnum_classes: 2\nexpected:\n"
        card += "  train-weaksup: {images_per_class: 6}\n  test: {images_per_class: 1}\n"
        (here / "m").mkdir()
        (here / "m" / "dataset.yaml").write_text(card)
        prepare.main(["tiny-imagenet", "--source", "tiny", "--holdout", "2", "--out", "m"])
        prepare.main(["tiny-imagenet", "--check", "--out", "m"])
        assert "error" not in capsys.readouterr().out
        (here / "m" / "dataset.yaml").write_text(card.replace("images_per_class: 6", "images_per_class: 7"))
        with pytest.raises(UserError, match="found 1 error"):
            prepare.main(["tiny-imagenet", "--check", "--out", "m"])
        assert (
            "error: train-weaksup: 12 images with those held out as train-fullsup, but 14 are expected"
            in capsys.readouterr().out
        )
        assert (here / "m" / "dataset.yaml").is_file()

    def test_errors_write_nothing(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        (here / "tiny" / "train" / "n01000000" / "images" / "n01000000_3.JPEG").write_bytes(b"not an image")
        with pytest.raises(UserError, match=r"the audit found \d errors, see above; no manifest was written"):
            prepare.main(["tiny-imagenet", "--source", "tiny", "--holdout", "2"])
        assert (
            "1 image cannot be read: image 'train/n01000000/images/n01000000_3.JPEG'"
            in capsys.readouterr().out
        )
        assert not (here / "data_manifests" / "tiny-imagenet").exists()

    def test_an_edited_manifest_is_noticed(self, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
        prepare.main(["tiny-imagenet", "--source", "tiny", "--out", "m", "--force"])
        file = here / "m" / "test.csv"
        file.write_text(file.read_text().replace("1 2 63 40", "1 2 63 41"))
        with pytest.raises(
            UserError, match="found 2 errors"
        ):  # the counts of the real dataset, against the card
            prepare.main(["tiny-imagenet", "--check", "--out", "m"])
        assert "warning: test: rows differ from those that were prepared" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            pytest.param(["tinyimagenet"], "did you mean 'tiny-imagenet'", id="unknown name"),
            pytest.param(["tiny-imagenet"], "--source is missing", id="no source"),
            pytest.param(
                ["tiny-imagenet", "--source", "nowhere"], "'nowhere' does not exist", id="no such source"
            ),
            pytest.param(["tiny-imagenet", "--check"], "no manifest at", id="nothing to check"),
        ],
    )
    def test_user_errors(self, here: Path, arguments: list[str], message: str) -> None:
        with pytest.raises(UserError, match=message):
            prepare.main(arguments)

    def test_catalog(self, here: Path) -> None:
        with pytest.raises(
            UserError, match=r"unknown dataset 'prats'; did you mean 'parts'\? Legal: coco, cub"
        ):
            open_dataset("prats")
        (here / "data_manifests" / "mine").mkdir()
        (here / "data_manifests" / "mine" / "dataset.yaml").write_text(
            "name: mine\ntitle: M\nprepare: do this\n"
        )
        with pytest.raises(UserError, match="'mine' is not prepared yet; run `do this` first"):
            open_dataset("mine")
        with pytest.raises(UserError, match=r"folder 'tiny' holds no manifest\.yaml"):
            open_dataset("tiny")

    @pytest.mark.parametrize(
        ("asked", "message"),
        [
            (
                "data_manifests/cub-boxes",
                r"^dataset 'cub-boxes' is not prepared yet; run `python -m wsol.prep",
            ),
            ("data_manifests/cub-boxs", r"^unknown dataset 'cub-boxs'; did you mean 'cub-boxes'\? Legal: "),
            (
                "mypets",
                r"^unknown dataset 'mypets'\. Legal: .* folder --source IMAGES --out data_manifests/myp",
            ),
            ("other/mypets", r"^unknown dataset 'other/mypets'\. Legal: .* --out other/mypets`$"),
        ],
    )
    def test_what_is_not_prepared(self, here: Path, asked: str, message: str) -> None:
        with pytest.raises(UserError, match=message):
            open_dataset(asked)

    def test_a_prepared_dataset_is_checked_by_its_name(
        self, here: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        write_tree(here / "own", _own(3))
        prepare.main(["folder", "--source", "own", "--out", "data_manifests/mypets"])
        for asked in ("mypets", "data_manifests/mypets"):
            capsys.readouterr()
            prepare.main([asked, "--check", "--verify", "pixels"])
            assert capsys.readouterr().out.startswith("mypets, 2 classes")
        with pytest.raises(UserError, match="unknown dataset layout 'mypats'"):
            prepare.main(["mypats", "--check"])

    def test_another_sources_manifest_is_not_replaced(
        self, here: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        for number, name in enumerate(("own", "pets v2.zip", "moved"), 3):
            write_tree(here / name, _own(number))
        again = ["folder", "--source", "own"]
        prepare.main(again)
        prepare.main([*again, "--seed", "1"])
        with pytest.raises(
            UserError, match=r"'data_manifests/folder' holds the manifest of 'own'; .*/pets-v2, or"
        ):
            prepare.main(["folder", "--source", "pets v2.zip"])
        assert len(load_manifest("data_manifests/folder").split("train-weaksup")) == 4
        assert "replaced" not in capsys.readouterr().out
        prepare.main(["folder", "--source", "pets v2.zip", "--force"])
        assert "replaced the manifest of 'own'" in capsys.readouterr().out
        (here / "pets v2.zip").rename(here / "gone")
        prepare.main(["folder", "--source", "moved"])  # as after moving a dataset
        assert len(load_manifest("data_manifests/folder").split("train-weaksup")) == 6
        prepare.main(
            ["folder", "--source", "own", "--out", "data_manifests/folder"]
        )  # the folder that was named
        assert "replaced the manifest of 'moved'" in capsys.readouterr().out

    def test_parts_is_made_once(self, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        made = []

        def make() -> Manifest:
            made.append(1)
            return toy(here, test=[row("a"), row("b", 1)], train_weaksup=[row("c")])

        monkeypatch.setattr(catalog, "make_parts", make)
        assert list(open_dataset("parts", roles=["test"]).splits) == ["test"]
        assert open_dataset("parts").root == str(here)
        assert open_dataset("parts", data_root=here / "tiny").root == str(here / "tiny")
        assert len(made) == 1
        assert load_manifest("data_manifests/parts").split("test").image_ids == ["a", "b"]

    def test_an_error_is_one_line(self) -> None:
        command = [sys.executable, "-m", "wsol.prepare", "tiny-imagenet", "--source", "/nowhere/at/all"]
        done = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith("error: '/nowhere/at/all' does not exist")
        assert done.stderr.count("\n") == 1

    def test_help_loads_no_heavy_library(self) -> None:
        code = (
            "import runpy, sys; sys.argv = ['wsol.prepare', '--help']\n"
            "try: runpy.run_module('wsol.prepare', run_name='__main__')\n"
            "except SystemExit as end: assert not end.code\n"
            "print('heavy:', sorted({'torch', 'numba', 'matplotlib', 'skimage'} & set(sys.modules)))"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=PROJECT)
        assert "wsol-metadata" in done.stdout, done.stderr
        assert "heavy: []" in done.stdout


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("[]", "expected a mapping", id="a list"),
        pytest.param("name: x\ntitle: y", "'prepare' must be a text", id="no prepare"),
        pytest.param("name: x\ntitle: y\nprepare: z\nfoo: 1", "unknown key 'foo'", id="unknown key"),
        pytest.param("name: x\ntitle: y\nprepare: z\nexpected: {tst: {}}", "unknown split 'tst'", id="split"),
        pytest.param(
            "name: x\ntitle: y\nprepare: z\nexpected: {test: {images: -1}}", "must be a count", id="count"
        ),
        pytest.param(
            "name: x\ntitle: y\nprepare: z\nexpected: {test: {boxs: 1}}", "unknown key 'boxs'", id="typo"
        ),
    ],
)
def test_card_defects(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        parse_card(text, "card")


def test_the_projects_own_cards_are_sound() -> None:
    cards = known_cards()
    assert {"tiny-imagenet", "cub-boxes", "parts"} <= set(cards)
    for folder, card in cards.items():
        assert card.name == folder
        name = card.prepare.split()[3]
        assert card.prepare.startswith("python -m wsol.prepare ")
        assert name in prepare.COMMANDS


class TestColumns:
    def test_builder_equals_rows(self) -> None:
        builder = SplitBuilder()
        builder.add("a", 1, boxes_xyxy=[(0, 1, 2, 3), (4, 5, 6, 7)], size_wh=(9, 8))
        builder.add("b", 0, path="x/b", masks=["m"], ignore_mask="i", parts=np.ones((2, 3)))
        first, second = builder.build()
        assert (first.path, first.label, first.size_wh) == ("a", 1, (9, 8))
        assert first.boxes_xyxy.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
        assert (second.path, second.masks, second.ignore_mask) == ("x/b", ("m",), "i")
        assert second.parts is not None

    def test_clip(self) -> None:
        split = Split.from_samples([row("a", boxes=((-2, 1, 12, 3),), size_wh=(10, 10)), row("b")])
        counts, unknown = BoxCounts(), np.zeros((2, 2), np.int32)
        clipped = fit_split(split, unknown, BoxRules(clip=True), counts)
        assert counts == BoxCounts(clipped=1)
        assert clipped.boxes_xyxy.tolist() == [[0, 1, 10, 3], [1, 1, 3, 3]]
        outside = Split.from_samples([row("a", boxes=((10, 1, 12, 3),), size_wh=(10, 10))])
        with pytest.raises(
            UserError, match="box 10 1 12 3 of image 'a' of 10x10 lies wholly outside its image"
        ):
            fit_split(outside, unknown[:1], BoxRules())
        counts = BoxCounts()
        assert fit_split(outside, unknown[:1], BoxRules(clip=True), counts).boxes_xyxy.tolist() == [
            [10, 1, 10, 3]
        ]
        assert counts == BoxCounts(outside=1)

    def test_holdout_keeps_the_larger_share_for_training(self) -> None:
        labels = np.array([0] * 10 + [1] * 3 + [2], np.int32)
        ids = [f"i{k}" for k in range(14)]
        held = holdout_indices(ids, labels, ["a", "b", "c"], 4, seed=1)
        assert np.bincount(labels[held], minlength=3).tolist() == [4, 1, 0]
        shuffled = np.random.default_rng(0).permutation(14)
        again = holdout_indices([ids[i] for i in shuffled], labels[shuffled], ["a", "b", "c"], 4, seed=1)
        assert {ids[i] for i in held} == {ids[shuffled[i]] for i in again}


class TestContactSheet:
    def test_a_box_lands_on_its_pixels(self, tmp_path: Path) -> None:
        """An image of 10x5 shown at 100 pixels: scale 10, so the box 2 1 6 4 has its corner at 20, 10."""
        write_tree(tmp_path, {"a.png": picture((10, 5), "PNG")})
        tile = np.asarray(draw_sample(row("a.png", boxes=((2, 1, 6, 4),)), open_root(tmp_path), side=100))
        green = (tile == BOX_COLOUR).all(-1)
        ys, xs = np.nonzero(green)
        assert (xs.min(), xs.max(), ys.min(), ys.max()) == (20, 60, 10, 40)
        assert (tile[60:] == 238).all()

    def test_boxes_of_a_large_image_that_is_absent_keep_their_place(self) -> None:
        """2000x1000 shown at 200 pixels: scale 0.1, however small the grey that stands in for the image."""
        sample = row("a.png", boxes=((200, 100, 1000, 500),), size_wh=(2000, 1000))
        ys, xs = np.nonzero((np.asarray(draw_sample(sample, None, side=200)) == BOX_COLOUR).all(-1))
        assert (xs.min(), xs.max(), ys.min(), ys.max()) == (20, 100, 10, 50)

    def test_masks_parts_and_a_missing_image(self, tmp_path: Path) -> None:
        write_tree(tmp_path, {"a.png": picture((8, 8), "PNG"), "m.png": mask((8, 8), (0, 0, 4, 8))})
        root = open_root(tmp_path)
        plain = np.asarray(draw_sample(row("a.png", boxes=()), root, side=80))
        tinted = np.asarray(draw_sample(row("a.png", boxes=(), masks=("m.png",)), root, side=80))
        assert (plain != tinted).any(-1)[:, :40].all()
        assert np.array_equal(plain[:, 40:], tinted[:, 40:])
        dotted = row("a.png", boxes=(), parts=np.array([[2, 2, 1], [6, 6, 0]]))
        different = (np.asarray(draw_sample(dotted, root, side=80)) != plain).any(-1)
        assert different[20, 20]
        assert not different[40:].any()
        assert draw_sample(row("gone.png"), root, side=80).size == (80, 80)

    def test_page(self, tmp_path: Path) -> None:
        manifest = toy(test=[row(f"{i}", i % 2, size_wh=(9, 9)) for i in range(5)], train_fullsup=[])
        layout = SheetLayout(tile=40, columns=2, per_split=3)
        sheet = draw_contact_sheet(manifest, None, layout=layout)
        assert sheet.size == (8 + 2 * 48, 30 + 30 + 2 * (40 + 30 + 8) + 8)
        again = draw_contact_sheet(manifest, None, layout=layout)
        assert sheet.tobytes() == again.tobytes()
        assert draw_contact_sheet(manifest, None, seed=1, layout=layout).tobytes() != sheet.tobytes()


def test_a_zip_is_prepared_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "tiny.zip", "w") as archive:
        for name, data in tiny_files().items():
            archive.writestr(f"tiny-imagenet-200/{name}", data)
    monkeypatch.chdir(tmp_path)
    prepare.main(["tiny-imagenet", "--source", "tiny.zip", "--out", "m", "--verify", "pixels", "--force"])
    manifest = load_manifest("m")
    assert manifest.root == str(tmp_path / "tiny.zip" / "tiny-imagenet-200")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m", "tiny.zip"]
