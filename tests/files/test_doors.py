"""What each door refuses before anything is allocated or waited for."""

from __future__ import annotations

import io
import json
import os
import random
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from eval.maps.map_stores import UnreadableMapError, open_store
from eval.maps.stored import StoredMaps
from eval.records.predicted_boxes import read_boxes
from eval.records.store import RecordIndex, RecordStore
from tests.datasets.test_read_coco import coco
from tests.helpers.dataset_trees import picture
from wsol.datasets.coco_json import parse_coco
from wsol.datasets.mask_files import changed_masks
from wsol.datasets.parquet import parquet_files, unpack_parquet
from wsol.errors import UserError
from wsol.files.archives import unpack_tar
from wsol.files.arrays import DAMAGE, NpzArrays, SealedArrays, intact, read_array, sealed_bytes
from wsol.files.regular import open_regular, read_bytes, read_text
from wsol.files.seal import sealed, unsealed
from wsol.files.strict_json import read_json
from wsol.files.strict_yaml import dump_yaml, load_yaml
from wsol.files.typed import check_types
from wsol.images import MAX_SIDE, decode_rgb
from wsol.models.checkpoint_files import read_checkpoint


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


def test_a_tar_member_passed_over_that_announces_more_than_there_is(tmp_path: Path) -> None:
    """The standard library reads on behind the end of the archive, block by block: for 10**17 bytes half a year."""
    header = tarfile.TarInfo(".")
    header.size = 10**17
    (tmp_path / "a.tar").write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(10_240))
    with pytest.raises(UserError, match="it ends before what its headers announce"):
        unpack_tar(tmp_path / "a.tar", tmp_path / "out")


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
    (tmp_path / ".out.0123456789abcdef.unfinished").mkdir()
    (tmp_path / ".out.0123456789abcdef.unfinished" / "half").write_text("x")
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


# --- found by benchmarks.fuzz_doors ----------------------------------------------------------------------------


def torch_file(legacy: bool = False) -> bytes:
    stream = io.BytesIO()
    torch.save({"a": torch.zeros(4, 5)}, stream, _use_new_zipfile_serialization=not legacy)
    return stream.getvalue()


def compressed(data: bytes) -> bytes:
    """The same archive, its members compressed, as torch.save never writes them."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name) + (bytes(100_000) if "/data/" in name else b""))
    return stream.getvalue()


def pickled(opcodes: bytes) -> bytes:
    """A file of torch.save with other opcodes in its pickle."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(torch_file())) as old, zipfile.ZipFile(stream, "w") as new:
        for name in old.namelist():
            new.writestr(name, opcodes if name.endswith("data.pkl") else old.read(name))
    return stream.getvalue()


def path_of_another_python() -> bytes:
    """A path beside weights as Python 3.13 spells it (up to 3.12 and from 3.14 on it is pathlib.PosixPath)."""
    return pickled(
        b"\x80\x02}q\x00X\x03\x00\x00\x00outq\x01cpathlib._local\nPosixPath\nX\x01\x00\x00\x00x\x85Rs."
    )


def on_two_disks() -> bytes:
    """An archive that says that it goes on on another disk, for which zipfile's own test raises."""
    data = bytearray(torch_file())
    end = data.rindex(b"PK\x05\x06")
    locator = b"PK\x06\x07" + bytes(12) + (2).to_bytes(4, "little")
    return bytes(data[:end] + locator + data[end:])


def instances(**changed: object) -> bytes:
    data = coco()
    data["annotations"][0] |= changed
    return json.dumps(data).encode()


def root_category(value: object) -> bytes:
    data = coco()
    data["categories"][0]["supercategory"] = value
    return json.dumps(data).encode()


def parquet(metadata: str = "{}", **columns: list[object]) -> bytes:
    import pyarrow
    from pyarrow import parquet as writer

    images: list[object] = [{"bytes": picture((8, 8)), "path": "a.jpg"}]
    table = pyarrow.table({"image": images, **columns}).replace_schema_metadata({"huggingface": metadata})
    stream = io.BytesIO()
    writer.write_table(table, stream)
    return stream.getvalue()


def wide_webp() -> bytes:
    """An animation of 24x17 pixels whose header states a canvas of 8,388,632x17: 20 s of processor time, 2 GB."""
    stream = io.BytesIO()
    frames = [Image.fromarray(np.full((17, 24, 3), v, np.uint8)) for v in (0, 255)]
    frames[0].save(stream, "WEBP", save_all=True, append_images=frames[1:])
    data = bytearray(stream.getvalue())
    data[24:27] = (8_388_631).to_bytes(3, "little")
    return bytes(data)


def two_headers() -> bytes:
    """A PNG with a second header that states 9,000x9,000; OpenCV allocated 4 GB for larger ones."""
    png = picture((8, 8), "PNG")
    head = bytearray(png[8:33])
    head[8:16] = (9_000).to_bytes(4, "big") * 2
    head[21:25] = zlib.crc32(head[4:21]).to_bytes(4, "big")
    return png[:33] + bytes(head) + png[33:]


def maps(file: Path) -> object:
    """All maps of a store; a map in a picture lies in a folder."""
    store = open_store(file.parent if file.suffix == ".png" else file)
    try:
        return [store.read(name) for name in store.names()]
    except UnreadableMapError as error:
        raise UserError(str(error)) from error


def unpack(file: Path) -> object:
    return unpack_parquet(parquet_files(file), file.parent / "out")


def boxes(file: Path) -> object:
    return read_boxes(file, ("cat", "dog"))


def kept_maps(file: Path) -> object:
    head = {"dataset": "d", "split": "s", "split_hash": "", "num_images": 1, "input_size": 8, "schema": 1}
    maps = {"frames": ["resize"]}
    cells = json.loads(file.read_text())
    (file.parent / "maps.json").write_text(json.dumps(sealed({**head, "maps": maps, "cells": cells})))
    return StoredMaps.open(file.parent, "", 1)


def endless_index() -> bytes:
    """Records of 2^31 images, of which no block is there: opening them took more than 20 s."""
    index = RecordIndex("d", "s", "", 1 << 31, (), False, ())
    return json.dumps(sealed({"schema": 1, **asdict(index)})).encode()


def coco_text(file: Path) -> object:
    return parse_coco(file.read_text(), file.name)


BOX = {"image_id": "a", "bbox": [10**400, 1, 2, 3]}
BOX_CSV = b"image_id,x0,y0,x1,y1,class\n"


@pytest.mark.parametrize(
    ("name", "data", "read", "message"),
    [
        ("a.png", two_headers, maps, "announces an array of 9000x9000"),
        ("a.webp", wide_webp, lambda f: decode_rgb(f.read_bytes(), "a"), f"more than .* {MAX_SIDE} a side"),
        ("a.pt", lambda: pickled(b"\x80\x02R."), maps, "cannot be read as tensors"),
        ("a.pth", lambda: compressed(torch_file()), read_checkpoint, "its members announce"),
        ("a.pth", on_two_disks, read_checkpoint, "cannot be read"),
        ("a.pth", lambda: torch_file(legacy=True)[:-90], read_checkpoint, "cannot be read"),
        ("a.pth", lambda: torch_file(legacy=True)[:-2], read_checkpoint, "cannot be read"),
        ("a.json", lambda: instances(bbox=[1, 1, 10**400, 1]), coco_text, "must not be endless"),
        ("a.json", lambda: json.dumps([BOX]).encode(), boxes, "expected numbers"),
        ("a.csv", lambda: BOX_CSV + b"a,1,2,3\r4", boxes, r"a\.csv:2: not readable as CSV"),
        ("a.csv", lambda: b"a\rb," + BOX_CSV, boxes, r"a\.csv:1: not readable as CSV"),
        ("a.csv", lambda: BOX_CSV + "a,1,2,3,4,\u00b2".encode(), boxes, "is none of the dataset's 2"),
        ("a.csv", lambda: BOX_CSV + b"a,1,2,3,4," + b"9" * 5000, boxes, "is none of the dataset's 2"),
        ("a.parquet", lambda: parquet(label=[1], bbox=[{"x": 1}]), unpack, "must hold four numbers a box"),
        (
            "a.parquet",
            lambda: parquet(label=[1], bbox=[[None, 1, 2, 3]]),
            unpack,
            "must hold four numbers a box",
        ),
        ("a.parquet", lambda: parquet(label=[[1]]), unpack, "'label' must be a number or a text"),
        ("x.json", lambda: b'{"y": {}}', kept_maps, r"entry 'cells\.x\.start' is missing"),
        (
            "index.json",
            endless_index,
            lambda f: RecordStore.open(f.parent),
            "4194304 of 4194304 blocks of records are",
        ),
        ("masks.sha256", lambda: b"\xff", lambda f: changed_masks(f.parent), "not UTF-8"),
    ],
)
def test_what_fuzzing_found_is_refused(
    tmp_path: Path, name: str, data: Callable[[], bytes], read: Callable[[Path], object], message: str
) -> None:
    (tmp_path / name).write_bytes(data())
    with pytest.raises(UserError, match=message) as raised:
        read(tmp_path / name)
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 1000


@pytest.mark.parametrize(
    ("name", "data", "read"),
    [
        ("a.json", lambda: root_category({"a": [1]}), coco_text),
        ("a.pth", path_of_another_python, read_checkpoint),
        ("a.parquet", lambda: parquet("[" * 100_000, label=[1]), unpack),
    ],
)
def test_what_fuzzing_found_is_read(
    tmp_path: Path, name: str, data: Callable[[], bytes], read: Callable[[Path], object]
) -> None:
    (tmp_path / name).write_bytes(data())
    assert read(tmp_path / name)


def test_names_of_a_damaged_hdf5_cannot_be_listed(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["g/x"] = np.zeros((2, 2))
    data = (tmp_path / "a.h5").read_bytes()
    (tmp_path / "a.h5").write_bytes(data.replace(b"TREE", b"TREX"))
    with pytest.raises(UserError, match="its names cannot be listed"):
        maps(tmp_path / "a.h5")
