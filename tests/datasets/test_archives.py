"""Unpacking: complete or not at all, and nothing outside the folder."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from wsol.errors import UserError
from wsol.files import archives
from wsol.files.archives import is_tar, unpack_tar


def tar(path: Path, members: dict[str, bytes], mode: str = "w", **fields: object) -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for key, value in fields.items():
                setattr(info, key, value)
            archive.addfile(info, io.BytesIO(data))
    return path


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz"])
def test_unpacks_every_compression(tmp_path: Path, mode: str) -> None:
    out = unpack_tar(tar(tmp_path / "a.tar", {"./d/x": b"1", "y": b""}, mode), tmp_path / "out")
    assert (out / "d" / "x").read_bytes() == b"1"
    assert sorted(p.name for p in out.iterdir()) == [".unpacked-from", "d", "y"]


def test_nested_tars_become_folders(tmp_path: Path) -> None:
    inner = {
        n: tar(tmp_path / n, {f"{n[:-4]}_{i}.JPEG": bytes([i]) for i in range(3)})
        for n in ("n1.tar", "n2.tar")
    }
    outer = tar(tmp_path / "train.tar", {n: p.read_bytes() for n, p in inner.items()})
    out = unpack_tar(outer, tmp_path / "out", nested=True)
    files = sorted(p.relative_to(out).as_posix() for p in out.rglob("*.JPEG"))
    assert files == [f"n{k}/n{k}_{i}.JPEG" for k in (1, 2) for i in range(3)]
    assert (out / "n2" / "n2_2.JPEG").read_bytes() == b"\x02"
    assert not list(out.rglob("*.tar"))


@pytest.mark.parametrize(
    ("members", "fields", "message"),
    [
        pytest.param({"../evil": b""}, {}, "outside its folder", id="escape"),
        pytest.param({"/evil": b""}, {}, "outside its folder", id="absolute"),
        pytest.param({"a/../../evil": b""}, {}, "outside its folder", id="escape inside"),
        pytest.param(
            {"l": b""}, {"type": tarfile.SYMTYPE, "linkname": "/etc"}, "holds a link", id="symbolic link"
        ),
        pytest.param({"l": b""}, {"type": tarfile.LNKTYPE, "linkname": "x"}, "holds a link", id="hard link"),
        pytest.param({"p": b""}, {"type": tarfile.FIFOTYPE}, "neither a file nor a folder", id="pipe"),
        pytest.param({"d": b""}, {"type": tarfile.CHRTYPE}, "neither a file nor a folder", id="device"),
    ],
)
def test_refused_and_nothing_left(
    tmp_path: Path, members: dict[str, bytes], fields: dict[str, object], message: str
) -> None:
    archive = tar(tmp_path / "a.tar", {"good": b"x"} | members, **fields)
    with pytest.raises(UserError, match=message):
        unpack_tar(archive, tmp_path / "deep" / "out")
    assert list((tmp_path / "deep").iterdir()) == []
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tar", "deep"]


def test_a_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "FREE_BYTES", 1000)
    archive = tar(tmp_path / "b.tgz", {"zeros": b"\0" * 1_000_000}, "w:gz")
    with pytest.raises(UserError, match="like a bomb"):
        unpack_tar(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("cut", [0, 3, 100, 600, 1500])
def test_damaged_archives_leave_nothing(tmp_path: Path, cut: int) -> None:
    whole = tar(tmp_path / "a.tgz", {"x": bytes(range(256)) * 40, "y": b"1"}, "w:gz").read_bytes()
    (tmp_path / "a.tgz").write_bytes(whole[: min(cut, len(whole) - 20)])
    with pytest.raises(UserError, match=r"a\.tgz' is not a readable tar archive|cut short"):
        unpack_tar(tmp_path / "a.tgz", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_unpacked_before_is_taken_as_it_is(tmp_path: Path) -> None:
    archive = tar(tmp_path / "a.tar", {"x": b"1"})
    out = unpack_tar(archive, tmp_path / "out")
    (out / "x").write_bytes(b"kept")
    assert (unpack_tar(archive, out) / "x").read_bytes() == b"kept"
    other = tar(tmp_path / "b.tar", {"x": b"1"})
    with pytest.raises(UserError, match="holds something else than"):
        unpack_tar(other, out)
    with pytest.raises(UserError, match="does not exist"):
        unpack_tar(tmp_path / "c.tar", out)


def test_is_tar() -> None:
    assert [is_tar(Path(n)) for n in ("a.tgz", "A.TAR.GZ", "a.tar", "a.zip", "tar")] == [
        True,
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        pytest.param(["x", "x"], "holds 'x' more than once", id="a name twice"),
        pytest.param(["x", "x/y"], "not a readable tar archive", id="a file used as a folder"),
        pytest.param(["n" * 300], "not a readable tar archive", id="a name too long for the disk"),
    ],
)
def test_names_that_no_folder_could_hold(tmp_path: Path, names: list[str], message: str) -> None:
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name))
    with pytest.raises(UserError, match=message):
        unpack_tar(tmp_path / "a.tar", tmp_path / "out")
    assert not (tmp_path / "out").exists()
