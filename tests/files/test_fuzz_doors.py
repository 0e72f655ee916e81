"""A small share of benchmarks/fuzz_doors.py: doors read unbroken files and refuse broken ones in one line."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from benchmarks.anatomies import JPEG, PNG, TIFF, ZIP, Anatomy
from benchmarks.doors import Door
from benchmarks.doors.archives import archives
from benchmarks.doors.arrays_and_weights import arrays_and_weights
from benchmarks.doors.images import encoded, images
from benchmarks.doors.texts import texts
from benchmarks.fuzz_doors import make
from benchmarks.fuzz_inputs import zipped
from tests.helpers.dataset_trees import tiny_files
from tests.helpers.dummy_network import TINY
from wsol.errors import UserError
from wsol.models import NETWORKS


def read(door: Door, data: bytes, folder: Path) -> object:
    folder.mkdir()
    (folder / "x").write_bytes(data)
    return door.read(folder / "x")


@pytest.mark.filterwarnings("ignore")
def test_unbroken_files_are_read_and_broken_ones_are_read_or_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else every input would be refused by the first check, and the run would show nothing."""
    for package in ("h5py", "pyarrow"):
        pytest.importorskip(package)
    monkeypatch.setitem(NETWORKS, "tiny", TINY)
    messages = []
    for number, door in enumerate([*texts(), *arrays_and_weights(), *images(), *archives()]):
        if b"" not in door.seeds and "odd" not in door.name:
            read(door, door.seeds[0], tmp_path / f"whole{number}")
        for seed in range(3):
            try:
                read(door, make(door, seed), tmp_path / f"broken{number}-{seed}")
            except (UserError, OSError) as error:
                messages.append(str(error))
    assert len(messages) > 60
    assert not [m for m in messages if "\n" in m]


@pytest.mark.parametrize(("form", "name"), [(PNG, "PNG"), (JPEG, "JPEG"), (TIFF, "TIFF")])
def test_pieces_join_to_the_whole_and_fields_lie_inside(form: Anatomy, name: str) -> None:
    data = encoded(name)
    assert b"".join(form.pieces(data)) == data
    assert all(0 <= at <= len(data) - size for at, size, _ in form.fields(data))
    assert form.seal(data) == data
    assert len({form.mutate(data, random.Random(seed)) for seed in range(40)}) > 30


def test_a_zip_is_cut_at_its_own_headers() -> None:

    pieces = ZIP.pieces(zipped(tiny_files(1)))
    assert {p[:4] for p in pieces} == {b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"}
