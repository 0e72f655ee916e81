"""What each door refuses before anything is allocated or waited for."""

from __future__ import annotations

import io
import os
import random
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from wsol.errors import UserError
from wsol.files.archives import unpack_tar
from wsol.files.arrays import DAMAGE, NpzArrays, SealedArrays, intact, read_array, sealed_bytes
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


@pytest.mark.parametrize(
    "array", [np.arange(6.0).reshape(2, 3).T, np.zeros((0, 4), "f2"), np.array(3, ">i4")]
)
def test_arrays_come_back_as_they_were(tmp_path: Path, array: np.ndarray) -> None:
    stream = io.BytesIO()
    np.save(stream, array)
    found = read_array(io.BytesIO(stream.getvalue()))
    assert (found.shape, found.dtype) == (array.shape, array.dtype)
    np.testing.assert_array_equal(found, array)
    np.savez_compressed(tmp_path / "a.npz", x=array, **{"b/c": array})
    np.testing.assert_array_equal(NpzArrays(tmp_path / "a.npz")["b/c"], array)


def npy_header(shape: str, kind: str = "<f4") -> bytes:
    text = f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()


@pytest.mark.parametrize(
    ("header", "message"),
    [
        (npy_header("(30000, 30000)"), "announces an array of 30000x30000, more than 134217728 bytes"),
        (npy_header("(9223372036854775807, 4)"), "announces an array"),
        (npy_header("(-1, 5)"), "announces an array"),
        (npy_header("(4,)"), "cut short: 0 of 16 bytes"),
        (npy_header("(4,)", "|O"), "not numbers"),
        (npy_header("(4,)", "|S0"), "not numbers"),
    ],
)
def test_headers_that_announce_too_much(tmp_path: Path, header: bytes, message: str) -> None:
    """An .npz of 3.5 MB took 10 GB."""
    with pytest.raises(ValueError, match=message):
        read_array(io.BytesIO(header))
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x.npy", header)
    with pytest.raises(ValueError, match=message):
        NpzArrays(tmp_path / "a.npz")["x"]


def test_any_flipped_bit_of_a_block_is_noticed(tmp_path: Path) -> None:
    """Two of 1,600 once made arrays vanish from a block that was called intact."""
    arrays = {"a": np.arange(300.0), "b": np.ones((3, 2), np.int8)}
    file, chance = tmp_path / "block.npz", random.Random(0)
    whole = sealed_bytes(arrays, "me")
    file.write_bytes(whole)
    assert intact(file, "me")
    assert not intact(file, "somebody else")
    assert not intact(tmp_path / "absent", "me")
    unnoticed = 0
    for _ in range(300):
        at, bit = chance.randrange(len(whole)), 1 << chance.randrange(8)
        file.write_bytes(whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :])
        if not intact(file, "me"):
            continue
        unnoticed += 1  # a time or a flag that nobody reads: then the values are what they were
        block = SealedArrays(file, "me")
        assert set(block) == set(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(block[name], array)
    assert unnoticed < 150


def test_a_block_without_its_seal_is_no_block(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=np.zeros(3))
    with pytest.raises(DAMAGE):
        SealedArrays(tmp_path / "a.npz", "me")
