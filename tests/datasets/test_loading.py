from __future__ import annotations

import io
import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from wsol.errors import UserError
from wsol.loading import evaluation_batches, normalize_images, ordered_map
from wsol.machine import shared_memory
from wsol.manifest import Sample, Split
from wsol.views import EvalView


def _png(rgb: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(rgb).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def split_and_root(tmp_path: Path) -> tuple[Split, str]:
    """Five images of different sizes; image i is filled with the value 10 * i."""
    rows = []
    for i in range(5):
        rgb = np.full((8 + i, 12, 3), 10 * i, np.uint8)
        (tmp_path / f"{i}.png").write_bytes(_png(rgb))
        rows.append(Sample(f"id{i}", f"{i}.png", 0))
    return Split.from_samples(rows), str(tmp_path)


# --- views --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "size", "side", "offset"),
    [("resize", 224, 224, 0), ("center-crop", 224, 256, 16), ("center-crop", 64, 73, 4), ("resize", 1, 1, 0)],
)
def test_view_geometry(name: str, size: int, side: int, offset: int) -> None:
    view = EvalView(name, size)  # type: ignore[arg-type]
    assert (view.resized_side, view.crop_offset) == (side, offset)


def test_view_of_same_size_keeps_pixels_and_moves_channels_first() -> None:
    rgb = np.arange(2 * 2 * 3, dtype=np.uint8).reshape(2, 2, 3)
    out = EvalView("resize", 2).apply(rgb)
    assert out.shape == (3, 2, 2)
    assert out.flags.c_contiguous
    np.testing.assert_array_equal(out, rgb.transpose(2, 0, 1))


def test_center_crop_is_the_middle_of_the_resized_image() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    view = EvalView("center-crop", 14)  # 16 before the crop
    whole = EvalView("resize", 16).apply(rgb)
    np.testing.assert_array_equal(view.apply(rgb), whole[:, 1:15, 1:15])


def test_resize_averages_when_shrinking() -> None:
    """Antialiased: a fine black and white stripe becomes grey, not black or white."""
    rgb = np.zeros((32, 32, 3), np.uint8)
    rgb[:, ::2] = 255
    out = EvalView("resize", 4).apply(rgb)
    assert np.abs(out.astype(int) - 128).max() <= 8


def test_resize_agrees_with_torchvision() -> None:
    """An independent implementation, to one grey level."""
    from torchvision.transforms.v2 import functional as tv

    rgb = np.random.default_rng(1).integers(0, 256, (37, 61, 3), dtype=np.uint8)
    theirs = tv.resize(torch.from_numpy(rgb.transpose(2, 0, 1).copy()), [24, 24], antialias=True).numpy()
    ours = EvalView("resize", 24).apply(rgb)
    assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 1


def test_unknown_view_is_named() -> None:
    with pytest.raises(UserError, match="did you mean 'center-crop'"):
        EvalView("centre-crop", 224)  # type: ignore[arg-type]


# --- normalisation ------------------------------------------------------------------------------------------


def test_normalize_by_hand() -> None:
    images = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 3, 1, 1)
    out = normalize_images(images)
    assert out.dtype == torch.float32
    torch.testing.assert_close(
        out[0].flatten(), torch.tensor([-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225])
    )
    torch.testing.assert_close(out[1].flatten(), torch.tensor([0.515 / 0.229, 0.544 / 0.224, 0.594 / 0.225]))


def test_normalize_keeps_the_layout_and_its_input() -> None:
    images = torch.zeros(2, 3, 4, 4, dtype=torch.uint8).to(memory_format=torch.channels_last)
    out = normalize_images(images)
    assert out.is_contiguous(memory_format=torch.channels_last)
    assert int(images.sum()) == 0


def test_normalize_first_called_in_inference_mode_still_serves_training() -> None:
    from wsol.loading import _scale_and_shift

    _scale_and_shift.cache_clear()
    images = torch.zeros(1, 3, 2, 2, dtype=torch.uint8)
    with torch.inference_mode():
        normalize_images(images)
    weight = torch.ones(1, 3, 1, 1, requires_grad=True)
    (normalize_images(images) * weight).sum().backward()
    assert weight.grad is not None


# --- batches ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_in_order_with_every_view(split_and_root: tuple[Split, str], workers: int) -> None:
    split, root = split_and_root
    views = [EvalView("resize", 4), EvalView("center-crop", 6)]
    batches = list(evaluation_batches(split, root, views, batch_size=2, workers=workers))
    assert [b.indices.tolist() for b in batches] == [[0, 1], [2, 3], [4]]
    for batch in batches:
        assert batch.images["resize"].shape == (len(batch.indices), 3, 4, 4)
        assert batch.images["center-crop"].shape == (len(batch.indices), 3, 6, 6)
        for row, index in enumerate(batch.indices):
            assert set(batch.images["resize"][row].flatten().tolist()) == {10 * index}


def test_batches_of_chosen_rows(split_and_root: tuple[Split, str]) -> None:
    split, root = split_and_root
    found = list(evaluation_batches(split, root, [EvalView("resize", 4)], indices=[3, 0, 3], batch_size=8))
    assert [b.indices.tolist() for b in found] == [[3, 0, 3]]
    assert found[0].images["resize"][:, 0, 0, 0].tolist() == [30, 0, 30]


def test_no_rows_no_batches(split_and_root: tuple[Split, str]) -> None:
    split, root = split_and_root
    assert list(evaluation_batches(split, root, [EvalView("resize", 4)], indices=[], batch_size=8)) == []


@pytest.mark.parametrize("names", [[], ["resize", "resize"]])
def test_views_must_differ(split_and_root: tuple[Split, str], names: list[str]) -> None:
    split, root = split_and_root
    with pytest.raises(ValueError, match="different names"):
        evaluation_batches(split, root, [EvalView(n, 4) for n in names], batch_size=2)  # type: ignore[arg-type]


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        ("missing", "3.png.*missing"),
        ("empty", "3.png.*empty"),
        ("cut", "3.png.*(truncated|corrupt)"),
        ("text", "3.png.*not a readable image"),
    ],
)
def test_bad_image_is_one_clear_error(
    split_and_root: tuple[Split, str], damage: str, message: str, workers: int
) -> None:
    split, root = split_and_root
    file = Path(root) / "3.png"
    content = {"empty": b"", "cut": file.read_bytes()[:50], "text": b"hello"}.get(damage)
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
        batches = list(
            evaluation_batches(split, root, [EvalView("resize", 4)], batch_size=2, workers=workers)
        )
        (said,) = [why for batch in batches for why in batch.undecoded.values()]
        assert re.search(message, said)
        assert batches[1].undecoded.keys() == {1}
        assert not batches[1].images["resize"][1].any()
        return
    with pytest.raises(UserError, match=message) as caught:
        list(evaluation_batches(split, root, [EvalView("resize", 4)], batch_size=2, workers=workers))
    assert "Traceback" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_zip_is_read_by_several_workers(split_and_root: tuple[Split, str], tmp_path: Path) -> None:
    import zipfile

    split, root = split_and_root
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for i in range(5):
            archive.write(Path(root) / f"{i}.png", f"{i}.png")
    views = [EvalView("resize", 4)]
    found = list(evaluation_batches(split, str(tmp_path / "all.zip"), views, batch_size=1, workers=2))
    assert [int(b.images["resize"].max()) for b in found] == [0, 10, 20, 30, 40]


def _square(x: int) -> int:
    return x * x


@pytest.mark.parametrize("workers", [0, 2])
def test_ordered_map(workers: int) -> None:
    assert list(ordered_map(_square, list(range(7)), workers=workers)) == [0, 1, 4, 9, 16, 25, 36]


def _killed_at_three(number: int) -> int:
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_a_killed_worker_is_one_clear_error() -> None:
    """As the kernel ends one when memory runs out."""
    with pytest.raises(UserError, match=r"process that reads images was killed .* --workers"):
        list(ordered_map(_killed_at_three, range(6), workers=2))


def test_what_the_caller_does_meanwhile_is_not_explained_as_a_killed_worker() -> None:
    with pytest.raises(RuntimeError, match="DataLoader worker of mine"):
        for _ in ordered_map(abs, range(3), workers=1):
            raise RuntimeError("DataLoader worker of mine")


def test_too_little_shared_memory_is_seen_before_the_work(
    split_and_root: tuple[Split, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Docker's 64 MB: once the parent slept for ever."""
    split, root = split_and_root
    monkeypatch.setattr(shared_memory, "free_shared_memory", lambda: 64 << 20)
    views = [EvalView("resize", 2000)]
    with pytest.raises(
        UserError, match=r"4 --workers need about .* /dev/shm has 64 MB free; .*--shm-size 8g"
    ):
        next(evaluation_batches(split, root, views, batch_size=4, workers=4))
    next(evaluation_batches(split, root, [EvalView("resize", 8)], batch_size=4, workers=1))


def test_shared_memory_that_fills_later_is_one_line(
    split_and_root: tuple[Split, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(tensor: torch.Tensor) -> torch.Tensor:
        raise RuntimeError(
            "unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)"
        )

    monkeypatch.setattr(torch.Tensor, "share_memory_", full)
    split, root = split_and_root
    with pytest.raises(UserError, match=r"shared memory \(/dev/shm\) is full"):
        list(evaluation_batches(split, root, [EvalView("resize", 8)], batch_size=4, workers=1))
