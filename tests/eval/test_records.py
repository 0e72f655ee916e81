"""Record stores: whole blocks, damage, continuation."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.maps.blocks import BLOCK
from eval.records.store import RecordIndex, RecordStore
from wsol.errors import UserError

CHANNEL = "resize224-minmax"
INDEX = RecordIndex("toy", "test", "abc", BLOCK + 3, (CHANNEL,), False, ())


def fill(store: RecordStore) -> None:
    for b in range(store.index.num_blocks):
        n = len(store.index.block_range(b))
        store.write(
            b,
            {
                "num_boxes": np.ones(n, np.int32),
                "resize224-minmax.largest_any": np.zeros((n, 256), np.float32),
            },
        )


def test_round_trip_and_the_missing_first_box_array(tmp_path: Path) -> None:
    store = RecordStore.create(tmp_path, INDEX)
    assert store.missing_blocks() == [0, 1]
    with pytest.raises(UserError, match="2 of 2 blocks"):
        RecordStore.open(tmp_path)
    fill(store)
    sizes = [len(b) for b in RecordStore.open(tmp_path).blocks()]
    assert sizes == [BLOCK, 3]
    with store.read(1) as block:
        np.testing.assert_array_equal(
            block.channel(CHANNEL).iou("largest", "first"), block.channel(CHANNEL).iou("largest", "any")
        )


@pytest.mark.parametrize("harm", ["truncate", "remove"])
def test_a_damaged_block_is_missing(tmp_path: Path, harm: str) -> None:
    store = RecordStore.create(tmp_path, INDEX)
    fill(store)
    path = store.path(0)
    data = path.read_bytes()
    path.unlink()
    if harm == "truncate":
        path.write_bytes(data[: len(data) // 2])
    assert RecordStore.create(tmp_path, INDEX).missing_blocks() == [0]


def test_a_flipped_bit_is_noticed_or_changes_nothing(tmp_path: Path) -> None:
    store = RecordStore.create(tmp_path, INDEX)
    fill(store)
    path = store.path(1)
    whole = path.read_bytes()
    noticed = 0
    for position in range(0, len(whole), 7):
        data = bytearray(whole)
        data[position] ^= 0x10
        path.write_bytes(data)
        if store.missing_blocks() == [1]:
            noticed += 1
            continue
        with store.read(1) as block:
            assert block.num_boxes.tolist() == [1, 1, 1]
            assert not block.channel("resize224-minmax").iou("largest", "any").any()
    assert noticed > len(whole) // 14


def test_other_maps_discard_the_old_blocks(tmp_path: Path) -> None:
    fill(RecordStore.create(tmp_path, INDEX))
    assert RecordStore.create(tmp_path, INDEX).missing_blocks() == []
    other = dataclasses.replace(INDEX, maps={"weights_sha256": "else"})
    assert RecordStore.create(tmp_path, other).missing_blocks() == [0, 1]


def test_a_block_of_the_wrong_length_is_refused(tmp_path: Path) -> None:
    store = RecordStore.create(tmp_path, INDEX)
    with pytest.raises(ValueError, match="expected 3"):
        store.write(1, {"num_boxes": np.ones(4, np.int32)})


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema": 99}'])
def test_a_broken_index_is_an_error_that_names_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(UserError, match=r"index\.json"):
        RecordStore.open(tmp_path)


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 20), st.integers(1, 400_000), st.floats(0, 1))
def test_float32_keeps_every_comparison(twentieths: int, union: int, near: float) -> None:
    """The claim at the head of eval.records.store: comparing in float32 agrees with the exact comparison."""
    threshold = twentieths / 20
    exact = round(threshold * union)
    for intersection in {exact - 1, exact, exact + 1, int(near * union)}:
        if 0 <= intersection <= union:
            iou = intersection / union
            assert (np.float32(iou) >= np.float32(threshold)) == (20 * intersection >= twentieths * union)
            assert (np.float32(iou) > np.float32(0.5)) == (2 * intersection > union)
