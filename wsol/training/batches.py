"""Training batches: rows of a split, cropped and mirrored as told, as uint8, made ahead of the network's need."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import torch

from wsol.loading import ordered_map
from wsol.machine.shared_memory import require_shared_memory
from wsol.training.rng import Crops

if TYPE_CHECKING:
    import numpy.typing as npt

    from wsol.training.pixels import Decode, PixelFile

T = TypeVar("T")


@dataclass(frozen=True)
class BatchPlan:
    """One batch to make: `rows` int64 [n] of the split and a crop for each."""

    rows: npt.NDArray[np.int64]
    crops: Crops


@dataclass(frozen=True)
class Images:
    """Where a split's images come from: `pixels`, decoded already, or `decode`, which reads the files.

    Exactly one is given. `labels` int64 [N].
    """

    labels: npt.NDArray[np.int64]
    pixels: PixelFile | npt.NDArray[np.uint8] | None = None
    decode: Decode | None = None

    def __post_init__(self) -> None:
        if (self.pixels is None) == (self.decode is None):
            raise ValueError("exactly one of `pixels` and `decode` must be given")

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: npt.NDArray[np.int64]) -> Sequence[npt.NDArray[np.uint8]]:
        """Images [R, R, 3] of some rows."""
        if self.pixels is not None:
            return [self.pixels[row] for row in rows]
        assert self.decode is not None
        return list(self.decode(rows))


def crop_batch(
    images: Sequence[npt.NDArray[np.uint8]], crops: Crops, size: int, *, pin_memory: bool = False
) -> torch.Tensor:
    """Cut size x size from each image [R, R, 3], mirrored where told: uint8 [n, 3, size, size], channels_last."""
    out = torch.empty((len(images), size, size, 3), dtype=torch.uint8, pin_memory=pin_memory)
    target = out.numpy()
    for i, image in enumerate(images):
        y, x = crops.top_left[i]
        cut = image[y : y + size, x : x + size]
        target[i] = cut[:, ::-1] if crops.flip[i] else cut
    return out.permute(0, 3, 1, 2)  # [n, size, size, 3] -> [n, 3, size, size], the bytes stay where they are


def make_batches(
    images: Images, plans: Sequence[BatchPlan], size: int, *, workers: int = 0, pin_memory: bool = False
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Pairs of images (uint8 [n, 3, size, size], channels_last) and labels (int64 [n]), one per plan, in order.

    Decoded pixels are cut by a thread beside the network; files are read by `workers` processes.
    """
    if images.pixels is not None:
        job = _Cut(images, size, pin_memory)
        return ahead(job(plan) for plan in plans)
    if workers == 0:
        return ahead(ordered_map(_Cut(images, size, pin_memory), plans))
    require_shared_memory(max((len(plan.rows) for plan in plans), default=0) * 3 * size**2, workers)
    return ordered_map(_Cut(images, size, False), plans, workers=workers, pin_memory=pin_memory)


@dataclass(frozen=True)
class _Cut:
    images: Images
    size: int
    pin_memory: bool

    def __call__(self, plan: BatchPlan) -> tuple[torch.Tensor, torch.Tensor]:
        cut = crop_batch(self.images.take(plan.rows), plan.crops, self.size, pin_memory=self.pin_memory)
        return cut, torch.from_numpy(self.images.labels[plan.rows])


def ahead(items: Iterator[T], depth: int = 2) -> Iterator[T]:
    """The same items, made by a thread up to `depth` ahead of their use; its errors are raised here.

    The thread ends when the items do, or when the caller stops asking (the generator is closed).
    """
    ready: queue.Queue[tuple[bool, T | BaseException | None]] = queue.Queue(maxsize=depth)
    stop = threading.Event()

    def offer(entry: tuple[bool, T | BaseException | None]) -> bool:
        while not stop.is_set():
            try:
                ready.put(entry, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def work() -> None:
        try:
            for item in items:
                if not offer((True, item)):
                    return
            offer((False, None))
        except BaseException as error:  # handed to the caller, whatever it is
            offer((False, error))

    thread = threading.Thread(target=work, name="batches", daemon=True)
    thread.start()
    try:
        while True:
            more, item = ready.get()
            if more:
                yield item  # type: ignore[misc]
            elif item is None:
                return
            else:
                raise item  # type: ignore[misc]
    finally:
        stop.set()
        thread.join()


def plan_step(
    order: npt.NDArray[np.int64], crops: Crops, step: int, batch_size: int, part: int, parts: int
) -> BatchPlan:
    """The images of one of `parts` equal parts of one step's batch."""
    share = batch_size // parts
    start = step * batch_size + part * share
    where = slice(start, start + share)
    return BatchPlan(order[where], crops[where])
