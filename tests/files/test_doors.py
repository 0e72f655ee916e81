"""What each door refuses before anything is allocated or waited for."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from wsol.errors import UserError
from wsol.files.archives import unpack_tar
from wsol.files.regular import open_regular, read_bytes, read_text
from wsol.files.seal import sealed, unsealed
from wsol.files.strict_json import read_json
from wsol.files.strict_yaml import dump_yaml, load_yaml
from wsol.files.typed import check_types


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/dev/zero")
    for name, kind in (("pipe", "a pipe"), ("link", "a device or socket"), (".", "a folder")):
        with pytest.raises(UserError, match=f"is {kind}, not a file"):
            open_regular(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        open_regular(tmp_path / "absent")


def test_a_file_over_its_limit_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "sparse").open("wb") as stream:
        stream.truncate(1 << 40)
    with pytest.raises(UserError, match="more than the 1073741824 that are read"):
        read_bytes(tmp_path / "sparse")
    (tmp_path / "a").write_bytes(b"\xef\xbb\xbfabc")
    assert read_bytes(tmp_path / "a", 6) == b"\xef\xbb\xbfabc"
    assert read_text(tmp_path / "a") == "abc"
    with pytest.raises(UserError, match="holds 6 bytes, more than the 5"):
        read_bytes(tmp_path / "a", 5)
    (tmp_path / "b").write_bytes(b"a\nb\xff")
    with pytest.raises(UserError, match=":2: not UTF-8"):
        read_text(tmp_path / "b")


def test_json_nested_without_end(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[" * 100_000)
    with pytest.raises(UserError, match=r"a\.json: not readable as JSON: nested too deeply"):
        read_json(tmp_path / "a.json")


def test_yaml_is_written_as_it_can_be_read() -> None:
    twice = ["a"]
    data = {"x": twice, "y": twice}
    assert load_yaml(dump_yaml(data), "f") == data


@pytest.mark.parametrize("odd", [{"a": float("nan")}, {1: 2, "b": 3}, {"a": {1: 2, "b": 3}}])
def test_a_seal_never_fits_what_was_changed(odd: dict[object, object]) -> None:
    record = sealed({"a": 1, "b": [1.5, None, "x"]})
    assert unsealed(record, "f", "again") == {"a": 1, "b": [1.5, None, "x"]}
    with pytest.raises(UserError, match=r"f: was changed after it was written .*; again"):
        unsealed({**record, **odd}, "f", "again")  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("value", "kind", "fits"),
    [
        *((1, int, True), (True, int, False), (1.0, int, False), (10**30, int, False)),
        *((1, float, True), (float("nan"), float, False), (float("inf"), float, False), (True, float, False)),
        *(("a", str, True), (None, (str, None), True), (1, (str, None), False)),
        *((["a"], [str], True), (["a", 1], [str], False), ("a", [str], False), ({}, dict, True)),
    ],
)
def test_types(value: object, kind: object, fits: bool) -> None:
    record = {"a": {"b": value}}
    if fits:
        assert check_types(record, {"a.b": kind}, "f", "again") is record
    else:
        with pytest.raises(UserError, match=r"f: 'a\.b' must be .*; again"):
            check_types(record, {"a.b": kind}, "f", "again")


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, b"K", b"X"])
def test_tar_headers_that_announce_gigabytes(tmp_path: Path, kind: bytes) -> None:
    """A 3 GB pax header took 9 GB of memory. Here it is announced only, and refused unread."""
    header = tarfile.TarInfo("x")
    header.type, header.size = kind, 3 << 30
    (tmp_path / "a.tar").write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(10_240))
    with pytest.raises(UserError, match=r"a\.tar': a header announces 3221225472 bytes of names"):
        unpack_tar(tmp_path / "a.tar", tmp_path / "out")
    assert [p.name for p in tmp_path.iterdir()] == ["a.tar"]


def test_another_archive_of_the_same_name_and_size(tmp_path: Path) -> None:
    def pack(text: bytes, name: str) -> None:
        (tmp_path / name).write_bytes(text)
        with tarfile.open(tmp_path / "a.tar", "w") as tar:
            tar.add(tmp_path / name, name)

    pack(b"one", "f")
    unpack_tar(tmp_path / "a.tar", tmp_path / "out")
    assert unpack_tar(tmp_path / "a.tar", tmp_path / "out") == tmp_path / "out"
    pack(b"two", "f")
    with pytest.raises(UserError, match=r"was unpacked from another 'a\.tar'"):
        unpack_tar(tmp_path / "a.tar", tmp_path / "out")


def test_what_a_killed_unpacking_left_is_removed_by_the_next(tmp_path: Path) -> None:
    (tmp_path / ".out.0123.unfinished").mkdir()
    (tmp_path / ".out.0123.unfinished" / "half").write_text("x")
    (tmp_path / "f").write_text("x")
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.add(tmp_path / "f", "f")
    unpack_tar(tmp_path / "a.tar", tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tar", "f", "out"]
