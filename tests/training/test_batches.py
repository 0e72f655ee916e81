"""Which images a step sees, cut how, from files or from the pixel cache."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from wsol.errors import UserError
from wsol.loading import evaluation_batches
from wsol.manifest import load_manifest
from wsol.methods import CutMix
from wsol.training.batches import BatchPlan, Images, ahead, crop_batch, make_batches, plan_step
from wsol.training.data import first_classes
from wsol.training.pixels import Decode, PixelFile, make_pixels, pixel_file
from wsol.training.rng import Crops, epoch_crops, epoch_order, method_generator
from wsol.views import EvalView

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


# --- random numbers -------------------------------------------------------------------------------------------------


def test_order_visits_every_image_and_changes_with_epoch_and_seed() -> None:
    orders = [epoch_order(seed, epoch, 50) for seed in (0, 1) for epoch in (0, 1)]
    for order in orders:
        assert sorted(order.tolist()) == list(range(50))
    assert len({tuple(order.tolist()) for order in orders}) == 4
    np.testing.assert_array_equal(epoch_order(0, 1, 50), orders[1])


def test_crops_reach_both_ends_and_flip_half() -> None:
    crops = epoch_crops(0, 0, 4000, 40, 32)
    assert crops.top_left.min() == 0
    assert crops.top_left.max() == 8
    assert abs(crops.flip.mean() - 0.5) < 0.05


def test_parts_share_a_step_without_loss_or_overlap() -> None:
    order, crops = np.arange(24) * 10, epoch_crops(0, 0, 24, 40, 32)
    parts = [plan_step(order, crops, 1, 12, part, 3) for part in range(3)]
    assert np.concatenate([p.rows for p in parts]).tolist() == [10 * i for i in range(12, 24)]
    np.testing.assert_array_equal(np.concatenate([p.crops.flip for p in parts]), crops.flip[12:])


def test_method_draws_depend_on_step_and_part_alone() -> None:
    def draw(step: int, part: int) -> object:
        return CutMix().draw(8, (32, 32), method_generator(0, step, part)).boxes_xyxy

    assert draw(3, 1) == draw(3, 1)
    assert len({draw(step, part) for step in range(3) for part in range(3)}) == 9


# --- batches ------------------------------------------------------------------------------------------------


def test_crop_and_flip_by_hand() -> None:
    image = np.arange(3 * 4 * 3, dtype=np.uint8).reshape(3, 4, 3)
    crops = Crops(np.array([[0, 1], [0, 1], [1, 2]]), np.array([False, True, False]))
    out = crop_batch([image, image, image], crops, 2)
    assert out.shape == (3, 3, 2, 2)
    assert out[0, 0].tolist() == [[3, 6], [15, 18]]  # channel 0 of columns 1, 2 of rows 0, 1
    assert out[1, 0].tolist() == [[6, 3], [18, 15]]
    assert out[2, 0].tolist() == [[18, 21], [30, 33]]
    assert out.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("workers", [0, 2])
def test_cached_and_read_images_give_the_same_batches(manifest: Path, workers: int) -> None:
    loaded = load_manifest(manifest)
    split, root = loaded.split("train-weaksup"), str(loaded.root)
    file = pixel_file(split, root, 36)
    make_pixels(file, split, root, 36, workers=0)
    labels = split.labels.astype(np.int64)
    from wsol.loading import ImageReader

    read = Images(labels, decode=Decode(ImageReader(split, root), 36))
    cached = Images(labels, pixels=PixelFile(file, len(split), 36))
    order, crops = epoch_order(0, 0, 24), epoch_crops(0, 0, 24, 36, 32)
    plans = [plan_step(order, crops, step, 8, 0, 1) for step in range(3)]
    pairs = list(zip(make_batches(read, plans, 32, workers=workers), make_batches(cached, plans, 32)))
    assert len(pairs) == 3
    for (images_a, labels_a), (images_b, labels_b) in pairs:
        assert torch.equal(images_a, images_b)
        assert torch.equal(labels_a, labels_b)


def test_uncropped_pixels_are_what_evaluation_sees(manifest: Path) -> None:
    loaded = load_manifest(manifest)
    split, root = loaded.split("train-fullsup"), str(loaded.root)
    file = pixel_file(split, root, 32)
    make_pixels(file, split, root, 32, workers=0)
    images = Images(split.labels.astype(np.int64), pixels=PixelFile(file, len(split), 32))
    whole = Crops(np.zeros((len(split), 2), np.int64), np.zeros(len(split), bool))
    ((ours, _),) = make_batches(images, [BatchPlan(np.arange(len(split)), whole)], 32)
    (theirs,) = evaluation_batches(split, root, [EvalView("resize", 32)], batch_size=100)
    assert torch.equal(ours, theirs.images["resize"])


def test_cache_file_follows_the_data(manifest: Path, tmp_path: Path) -> None:
    split = load_manifest(manifest).split("train-weaksup")
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    names = {
        pixel_file(split, str(tmp_path / "a"), 36),
        pixel_file(split, str(tmp_path / "b"), 36),
        pixel_file(split, str(tmp_path / "a"), 40),
        pixel_file(first_classes(split, 2), str(tmp_path / "a"), 36),
    }
    assert len(names) == 4


def test_images_replaced_in_place_are_decoded_anew(manifest: Path) -> None:
    """Same names, same list, other pictures: once they were trained on as if nothing had happened."""
    loaded = load_manifest(manifest)
    split, root = loaded.split("train-weaksup"), Path(loaded.root or "")
    before = pixel_file(split, str(root), 32)
    file = root / split.path(3)
    negative = 255 - np.asarray(Image.open(file).convert("RGB"))
    Image.fromarray(negative).save(file)
    os.utime(file, ns=(1, 1))
    assert pixel_file(split, str(root), 32) != before


@pytest.mark.parametrize("damage", ["cut", "flip", "flip a checksum"])
def test_a_damaged_cache_is_never_trained_on(manifest: Path, damage: str) -> None:
    loaded = load_manifest(manifest)
    split, root = loaded.split("train-weaksup"), str(loaded.root)
    file = pixel_file(split, root, 32)
    make_pixels(file, split, root, 32, workers=0)
    opened, size = PixelFile(file, len(split), 32), 32 * 32 * 3
    whole = file.read_bytes()
    at = {"cut": 5 * size + 7, "flip": 5 * size + 7, "flip a checksum": len(split) * size + 5}[damage]
    changed = whole[:at] if damage == "cut" else whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :]
    file.write_bytes(changed)  # in place, under the open file
    if damage != "flip":
        with pytest.raises(ValueError, match="is not whole"):
            PixelFile(file, len(split), 32)
    if damage != "flip a checksum":
        opened[4]
        with pytest.raises(UserError, match=r"were cut or changed since they were written \(row 5\); delete"):
            opened[5]


def test_ahead_keeps_order_and_passes_errors() -> None:
    def items() -> object:
        yield from (1, 2, 3)
        raise UserError("broken")

    found = []
    with pytest.raises(UserError, match="broken"):
        for item in ahead(items()):  # type: ignore[arg-type]
            found.append(item)
    assert found == [1, 2, 3]


def test_ahead_ends_its_thread_when_the_caller_stops() -> None:
    before = threading.active_count()
    items = ahead(iter(range(1000)))
    assert next(items) == 0
    items.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before
