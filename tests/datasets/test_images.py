"""Files and pixels: roots that stay inside themselves, decoding by the stated policy."""

from __future__ import annotations

import io
import os
import pickle
import struct
import warnings
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from wsol import images
from wsol.errors import UserError
from wsol.files.roots import RATIO_FLOOR_BYTES, FileRoot, open_root, safe_relative
from wsol.images import decode_grey, decode_rgb, exif_orientation, image_size_wh


def encode(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)  # type: ignore[arg-type]
    return stream.getvalue()


def flat(mode: str, colour: object, size: tuple[int, int] = (3, 2)) -> Image.Image:
    return Image.new(mode, size, colour)  # type: ignore[arg-type]


@pytest.fixture(params=["folder", "zip", "inner"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> FileRoot:
    files = {"a.txt": b"A", "deep/b.bin": b"\x00\x01", "deep/er/c": b""}
    if request.param == "folder":
        for name, data in files.items():
            (tmp_path / "d" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "d" / name).write_bytes(data)
        return open_root(tmp_path / "d")
    prefix = "top/level/" if request.param == "inner" else ""
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
        archive.writestr("other.txt" if prefix else "zz/", b"")
        for name, data in files.items():
            archive.writestr(prefix + name, data)
    return open_root(tmp_path / "d.zip" / prefix)


class TestRoot:
    def test_the_three_kinds_agree(self, root: FileRoot) -> None:
        assert sorted(root.names()) == ["a.txt", "deep/b.bin", "deep/er/c"]
        assert sorted(root.names("deep")) == ["deep/b.bin", "deep/er/c"]
        assert root.read_bytes("deep/b.bin") == b"\x00\x01"
        assert root.exists("a.txt")
        assert not root.exists("deep")
        assert not root.exists("deep/")
        assert not root.exists("nothing")
        assert root.subfolder("deep").read_bytes("er/c") == b""
        assert sorted(root.subfolder("deep").names()) == ["b.bin", "er/c"]

    def test_missing_file_is_named_with_its_root(self, root: FileRoot) -> None:
        with pytest.raises(UserError, match=r"'deep/x\.jpg' is missing .*--data-root"):
            root.read_bytes("deep/x.jpg")

    @pytest.mark.parametrize("path", ["../a.txt", "/etc/hostname", "deep/../../a", "a\\b", "", "a\0b"])
    def test_never_leaves_itself(self, root: FileRoot, path: str) -> None:
        with pytest.raises(UserError, match="leaves its dataset"):
            root.read_bytes(path)
        assert not root.exists(path)

    def test_location_opens_the_same_root(self, root: FileRoot) -> None:
        assert sorted(open_root(root.location).names()) == sorted(root.names())

    def test_survives_pickling(self, root: FileRoot) -> None:
        root.read_bytes("a.txt")
        assert pickle.loads(pickle.dumps(root)).read_bytes("a.txt") == b"A"

    def test_threads_share_a_root(self, root: FileRoot) -> None:
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(lambda _: root.read_bytes("deep/b.bin"), range(200))) == {b"\x00\x01"}

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
    def test_a_forked_reader_does_not_disturb_its_parent(self, tmp_path: Path) -> None:
        payloads = {f"{i}": bytes([i]) * 5000 for i in range(40)}
        with zipfile.ZipFile(tmp_path / "f.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, data in payloads.items():
                archive.writestr(name, data)
        root = open_root(tmp_path / "f.zip")

        def read_all() -> bool:
            return all(root.read_bytes(n) == d for _ in range(10) for n, d in payloads.items())

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            os._exit(0 if read_all() else 1)
        assert read_all()
        assert os.waitpid(child, 0)[1] == 0


class TestOpenRoot:
    @pytest.mark.parametrize(
        ("make", "message"),
        [
            pytest.param(lambda p: p / "nowhere", "does not exist", id="nothing there"),
            pytest.param(lambda p: p / "x.tar", "a folder or a .zip archive was expected", id="a tar"),
            pytest.param(lambda p: p / "junk.zip", "not a readable zip archive", id="not a zip"),
            pytest.param(lambda p: p / "cut.zip", "not a readable zip archive", id="cut zip"),
            pytest.param(lambda p: p / "ok.zip" / "no", "holds no folder 'no'", id="no such inner folder"),
        ],
    )
    def test_refusals(self, tmp_path: Path, make: object, message: str) -> None:
        (tmp_path / "x.tar").write_bytes(b"")
        (tmp_path / "junk.zip").write_bytes(b"PK\x05\x06 junk")
        with zipfile.ZipFile(tmp_path / "ok.zip", "w") as archive:
            archive.writestr("yes/a", "a")
        (tmp_path / "cut.zip").write_bytes((tmp_path / "ok.zip").read_bytes()[:-10])
        with pytest.raises(UserError, match=message):
            open_root(make(tmp_path))  # type: ignore[operator]

    @pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "a\\..\\evil"])
    def test_a_zip_that_escapes_is_refused(self, tmp_path: Path, name: str) -> None:
        with zipfile.ZipFile(tmp_path / "e.zip", "w") as archive:
            info = zipfile.ZipInfo("x")
            info.filename = name
            archive.writestr(info, "evil")
        with pytest.raises(UserError, match="outside its folder"):
            open_root(tmp_path / "e.zip")

    def test_a_zip_with_a_link_is_refused(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "l.zip", "w") as archive:
            info = zipfile.ZipInfo("link")
            info.external_attr = 0o120777 << 16
            archive.writestr(info, "/etc/hostname")
        with pytest.raises(UserError, match="symbolic link"):
            open_root(tmp_path / "l.zip")

    def test_a_name_held_twice_is_refused(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
            archive.writestr("a", "1")
            with pytest.warns(UserWarning, match="Duplicate name"):
                archive.writestr("a", "2")
        with pytest.raises(UserError, match="more than once"):
            open_root(tmp_path / "t.zip")

    def test_a_bomb_is_refused_unread(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("zeros.png", b"\0" * (RATIO_FLOOR_BYTES + 1))
        with pytest.raises(UserError, match=r"zeros\.png would expand \d+ times"):
            open_root(tmp_path / "b.zip").read_bytes("zeros.png")

    def test_damaged_member_is_named(self, tmp_path: Path) -> None:
        with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
            archive.writestr("a.txt", b"payload payload")
        data = bytearray((tmp_path / "d.zip").read_bytes())
        data[data.index(b"payload")] ^= 0xFF
        (tmp_path / "d.zip").write_bytes(data)
        with pytest.raises(UserError, match=r"member 'a\.txt' cannot be read"):
            open_root(tmp_path / "d.zip").read_bytes("a.txt")


@given(st.text(alphabet="./\\ab\0", max_size=8))
def test_safe_relative_agrees_with_resolving_the_path(path: str) -> None:
    base = "/base/dir"
    plain = path and "\\" not in path and "\0" not in path and not path.startswith("/")
    prefixes = [
        os.path.normpath("/".join((base, *path.split("/")[:k]))) for k in range(1, path.count("/") + 2)
    ]
    inside = all(p == base or p.startswith(base + "/") for p in prefixes) if plain else False
    assert safe_relative(path) <= bool(inside)
    if plain and ".." not in path:
        assert safe_relative(path)


class TestDecode:
    @pytest.mark.parametrize(
        ("data", "pixel"),
        [
            pytest.param(encode(flat("RGB", (10, 20, 30))), [10, 20, 30], id="rgb"),
            pytest.param(encode(flat("L", 7)), [7, 7, 7], id="grey repeated"),
            pytest.param(encode(flat("1", 1)), [255, 255, 255], id="1-bit"),
            pytest.param(encode(flat("LA", (9, 0))), [9, 9, 9], id="grey, alpha dropped"),
            pytest.param(encode(flat("RGBA", (10, 20, 30, 0))), [10, 20, 30], id="alpha dropped"),
            pytest.param(encode(flat("RGB", (10, 20, 30)).quantize(4)), [10, 20, 30], id="palette"),
            pytest.param(encode(flat("I;16", 0x1234)), [0x12] * 3, id="16-bit grey keeps the high byte"),
            pytest.param(encode(flat("CMYK", (0, 0, 0, 0)), "JPEG"), [255, 255, 255], id="cmyk white"),
            pytest.param(encode(flat("CMYK", (0, 0, 0, 255)), "JPEG"), [0, 0, 0], id="cmyk black"),
            pytest.param(encode(flat("RGB", (0, 0, 255)), "BMP"), [0, 0, 255], id="bmp"),
        ],
    )
    def test_rgb_modes(self, data: bytes, pixel: list[int]) -> None:
        out = decode_rgb(data, "x")
        assert out.shape == (2, 3, 3)
        assert out.dtype == np.uint8
        assert out[1, 2].tolist() == pixel

    def test_palette_with_transparency_keeps_its_colours(self) -> None:
        image = flat("RGB", (10, 20, 30)).quantize(4)
        assert decode_rgb(encode(image, transparency=0), "x")[0, 0].tolist() == [10, 20, 30]

    @pytest.mark.parametrize(
        ("data", "value"),
        [
            pytest.param(encode(flat("1", 1)), 255, id="1-bit mask"),
            pytest.param(encode(flat("L", 1)), 1, id="mask of ones stays one"),
            pytest.param(encode(flat("I;16", 3)), 1, id="small 16-bit instance stays foreground"),
            pytest.param(encode(flat("I;16", 0xFF00)), 0xFF, id="16-bit"),
            pytest.param(encode(flat("RGB", (255, 255, 255))), 255, id="rgb"),
        ],
    )
    def test_grey_modes(self, data: bytes, value: int) -> None:
        out = decode_grey(data, "x")
        assert out.shape == (2, 3)
        assert out.dtype == np.uint8
        assert (out == value).all()

    def test_exif_orientation_is_reported_and_not_applied(self) -> None:
        exif = Image.Exif()
        exif[images.EXIF_ORIENTATION_TAG] = 6
        data = encode(flat("RGB", (1, 2, 3), (5, 2)), "JPEG", exif=exif)
        assert decode_rgb(data, "x").shape == (2, 5, 3)
        assert image_size_wh(data, "x") == (5, 2)
        assert exif_orientation(data, "x") == 6
        assert exif_orientation(encode(flat("L", 0)), "x") == 1

    def test_equals_pillow_on_noise(self) -> None:
        noise = np.random.default_rng(0).integers(0, 256, (17, 23, 3), np.uint8)
        data = encode(Image.fromarray(noise), "JPEG", quality=80)
        assert np.array_equal(decode_rgb(data, "x"), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            pytest.param(b"", "is empty", id="empty"),
            pytest.param(b"<html>404</html>", "not a readable image", id="an error page"),
            pytest.param(
                encode(
                    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)), "JPEG"
                )[:900],
                "truncated or corrupt",
                id="truncated jpeg",
            ),
            pytest.param(encode(flat("L", 3, (64, 64)))[:-30], "truncated or corrupt", id="truncated png"),
            pytest.param(encode(flat("F", 0.5), "TIFF"), "floating-point", id="float tiff"),
        ],
    )
    def test_refusals_name_the_image(self, data: bytes, message: str) -> None:
        with pytest.raises(UserError, match=message) as caught:
            decode_rgb(data, "birds/1.jpg")
        assert "birds/1.jpg" in str(caught.value)

    def test_a_huge_canvas_is_refused_undecoded(self) -> None:
        data = bytearray(encode(flat("L", 0)))
        data[16:24] = struct.pack(">II", 40000, 40000)
        import zlib

        data[29:33] = struct.pack(">I", zlib.crc32(bytes(data[12:29])))
        with pytest.raises(UserError, match="pixels; not decoded"):
            decode_rgb(bytes(data), "x")

    @given(st.data())
    @settings(max_examples=200, deadline=None)
    def test_broken_bytes_give_pixels_or_one_error(self, data: st.DataObject) -> None:
        form = data.draw(st.sampled_from(["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"]))
        good = bytearray(encode(flat("RGB", (9, 8, 7), (9, 7)), form))
        for at in data.draw(st.lists(st.integers(0, len(good) - 1), max_size=6)):
            good[at] = data.draw(st.integers(0, 255))
        broken = bytes(good[: data.draw(st.integers(0, len(good)))])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                assert decode_rgb(broken, "the image").ndim == 3
            except UserError as error:
                message = str(error)
            else:
                return
        assert "the image" in message


def test_postscript_is_not_handed_to_an_interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow gives EPS to `gs`: PostScript of a dataset would have run there."""
    called = tmp_path / "called"
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch '{called}'\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 30 30\nshowpage\n%%EOF"
    with pytest.raises(UserError, match="not a readable image"):
        decode_rgb(eps, "x.jpg")
    assert not called.exists()


def test_links_that_lead_back_are_refused_at_once(tmp_path: Path) -> None:
    """Two of them made 2^40 paths."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "1.png").write_bytes(b"")
    for name in ("loop1", "loop2"):
        (tmp_path / "a" / name).symlink_to(tmp_path)
    with pytest.raises(UserError, match="leads by links to a folder that holds it; remove the link"):
        list(open_root(tmp_path).names())


def test_links_that_branch_and_branch_are_refused(tmp_path: Path) -> None:
    for i in range(12):
        (tmp_path / str(i)).mkdir()
        for name in ("a", "b"):
            (tmp_path / str(i) / name).symlink_to(tmp_path / str(i + 1))
    with pytest.raises(UserError, match="leads by links to a folder that 100 paths reach"):
        list(open_root(tmp_path / "0").names())


def test_a_folder_linked_twice_is_listed_twice(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "1.png").write_bytes(b"")
    (tmp_path / "root").mkdir()
    for name in ("train", "val"):
        (tmp_path / "root" / name).symlink_to(tmp_path / "real")
    assert list(open_root(tmp_path / "root").names()) == ["train/1.png", "val/1.png"]


def test_a_pipe_in_an_images_place_is_one_line(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "1.png")
    with pytest.raises(UserError, match=r"1\.png. is a pipe, not a file"):
        open_root(tmp_path).read_bytes("1.png")


def test_a_replaced_file_has_another_stamp(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"abc")
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("1.png", b"abc")
    folder, packed = open_root(tmp_path), open_root(tmp_path / "a.zip")
    assert (folder.stamp("2.png"), folder.stamp("../x"), packed.stamp("2.png")) == (None, None, None)
    before = folder.stamp("1.png"), packed.stamp("1.png")
    (tmp_path / "1.png").write_bytes(b"abd")
    os.utime(tmp_path / "1.png", ns=(0, 1))
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("1.png", b"abd")
    assert folder.stamp("1.png") != before[0]
    assert open_root(tmp_path / "b.zip").stamp("1.png") != before[1]
