"""From image files to batches of uint8 pixels, and from these to a network's input.

Everything here is deterministic: a batch depends on the split, the indices and the view, never on the number
of workers. Batches travel as uint8 (a quarter of the bytes of float32) and become float on the device.
"""

from __future__ import annotations

import functools
import hashlib
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader, get_worker_info

from wsol.errors import UserError
from wsol.files.roots import open_root
from wsol.images import UndecodableImage, decode_rgb
from wsol.machine.shared_memory import SHARED_MEMORY_FULL, require_shared_memory
from wsol.models.pixels import IMAGENET, Pixels

if TYPE_CHECKING:
    import numpy.typing as npt

    from wsol.manifest import Split
    from wsol.views import EvalView

T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class EvalBatch:
    """Framed images: `indices` int64 [n] into the split, `images` uint8 [n, 3, S, S], channels_last, by view name.

    `undecoded` says by position in the batch why an image could not be decoded; its pixels are 0.
    """

    indices: npt.NDArray[np.int64]
    images: dict[str, torch.Tensor]
    undecoded: dict[int, str] = field(default_factory=dict)


def normalize_images(images: torch.Tensor, pixels: Pixels = IMAGENET) -> torch.Tensor:
    """uint8 [N, 3, H, W] to float32 as a network wants it, (value / 255 - mean) / std, on the tensor's device.

    The memory layout (contiguous or channels_last) is kept.
    """
    scale, shift = _scale_and_shift(images.device, pixels.mean, pixels.std)
    return images.to(torch.float32).mul_(scale).add_(shift)


@functools.lru_cache(maxsize=16)
def _scale_and_shift(
    device: torch.device, mean: tuple[float, float, float], std: tuple[float, float, float]
) -> tuple[torch.Tensor, torch.Tensor]:
    """The affine map of `normalize_images`, [1, 3, 1, 1] each; kept: a copy to a GPU makes the host wait."""
    with torch.inference_mode(False):  # a later caller may train with them
        scale = torch.tensor([1 / (255 * s) for s in std]).view(1, 3, 1, 1)
        shift = torch.tensor([-m / s for m, s in zip(mean, std)]).view(1, 3, 1, 1)
        return scale.to(device), shift.to(device)


class ImageReader:
    """Reads and decodes the images of a split. Picklable and safe to fork, as `FileRoot` is."""

    def __init__(self, split: Split, root: str) -> None:
        self.split = split
        self.files = open_root(root)

    def read(self, index: int) -> npt.NDArray[np.uint8]:
        """The image at a row of the split, uint8 [H, W, 3]. A missing or corrupt file, or one of another size
        than the manifest states, is a `UserError`."""
        path = self.split.path(index)
        rgb = decode_rgb(self.files.read_bytes(path), path)
        width, height = (int(v) for v in self.split.sizes_wh[index])
        if width and rgb.shape[:2] != (height, width):
            raise UserError(
                f"image '{path}' is {rgb.shape[1]}x{rgb.shape[0]}, but the manifest states {width}x{height}: the file "
                "was replaced since the dataset was prepared; bring it back, or prepare the dataset again"
            )
        return rgb


def images_state(split: Split, root: str, *, masks: bool = False) -> str:
    """SHA-256 over size and time of change of every image of a split (of every mask), in its order."""
    files = open_root(root)
    digest = hashlib.sha256()
    for row in range(len(split)):
        if not masks:
            digest.update(repr(files.stamp(split.path(row))).encode())
            continue
        kept = (split.ignore_masks.get(row), split.part_masks.get(row))
        for path in (*split.masks.get(row, ()), *(p for p in kept if p)):
            digest.update(repr((row, files.stamp(path))).encode())
    return digest.hexdigest()


def evaluation_batches(
    split: Split,
    root: str,
    views: Sequence[EvalView],
    *,
    indices: Sequence[int] | npt.NDArray[np.int64] | None = None,
    batch_size: int,
    workers: int = 0,
    pin_memory: bool = False,
) -> Iterator[EvalBatch]:
    """Framed images of a split, in the order of `indices` (default: all); the last batch may be smaller.

    Each image is decoded once for all views. `workers` processes decode ahead; with 0 the caller does.
    `pin_memory` puts batches where a GPU copies them from while the caller goes on.
    No indices give no batches. A missing image raises `UserError` naming it; one that cannot be decoded is black and
    named in its batch's `undecoded`.
    """
    names = [view.name for view in views]
    if not names or len(set(names)) != len(names):
        raise ValueError(f"`views` must be one or more views of different names, got {names}")
    rows = np.arange(len(split)) if indices is None else np.asarray(indices, np.int64)
    require_shared_memory(min(batch_size, len(rows)) * sum(3 * view.size**2 for view in views), workers)
    job = _Frames(ImageReader(split, root), tuple(views))
    chunks = [rows[i : i + batch_size] for i in range(0, len(rows), batch_size)]
    found = ordered_map(job, chunks, workers=workers, pin_memory=pin_memory)
    return (EvalBatch(*batch) for batch in found)


@dataclass(frozen=True)
class _Frames:
    """Work of one batch of `evaluation_batches`."""

    reader: ImageReader
    views: tuple[EvalView, ...]

    def __call__(
        self, rows: npt.NDArray[np.int64]
    ) -> tuple[npt.NDArray[np.int64], dict[str, torch.Tensor], dict[int, str]]:
        out = {v.name: np.zeros((len(rows), v.size, v.size, 3), np.uint8) for v in self.views}
        undecoded: dict[int, str] = {}
        for i, row in enumerate(rows):
            try:
                rgb = self.reader.read(int(row))
            except UndecodableImage as error:
                undecoded[i] = str(error)
                continue
            for view in self.views:
                out[view.name][i] = view.frame(rgb)
        # [n, S, S, 3] seen as [n, 3, S, S]: the bytes stay where they are
        return rows, {n: torch.from_numpy(stack).permute(0, 3, 1, 2) for n, stack in out.items()}, undecoded


def ordered_map(
    job: Callable[[T], R], items: Sequence[T], *, workers: int = 0, pin_memory: bool = False
) -> Iterator[R]:
    """`job(item)` for every item, in order, computed ahead by `workers` processes (0: here).

    With workers, the job and its results must be picklable; tensors in them travel through shared memory. A
    `UserError` raised by the job arrives as it was, not wrapped in the worker's traceback.
    """
    if not len(items):
        return
    if workers == 0 and not pin_memory:
        for item in items:
            yield job(item)
        return

    loader: DataLoader[R] = DataLoader(
        _Jobs(job, items),  # type: ignore[arg-type]
        batch_size=None,
        sampler=range(len(items)),
        num_workers=workers,
        pin_memory=pin_memory,
        prefetch_factor=2 if workers else None,
        collate_fn=_as_is,
        worker_init_fn=_leave_signals_to_the_parent,
        timeout=_LONGEST_WAIT_SECONDS if workers else 0,
    )
    with _worker_lost():
        results = iter(loader)
    while True:
        with _worker_lost():  # not around `yield`: what the caller does is not ours to explain
            found = next(results, _END)
        if found is _END:
            return
        if isinstance(found, _Failure):
            raise UserError(found.message)
        yield found


_END: Any = object()


@contextmanager
def _worker_lost() -> Iterator[None]:
    """A process killed from outside (by a host short of memory, say) in words."""
    try:
        yield
    except RuntimeError as error:
        if not says_worker_lost(error):
            raise
        if str(error).startswith("DataLoader timed out"):
            raise UserError(
                f"processes that read images gave nothing for {_LONGEST_WAIT_SECONDS} s: they were stopped, or the "
                "place of the images does not answer"
            ) from error
        raise UserError(WORKER_LOST) from error


_LONGEST_WAIT_SECONDS = 600
"""For one batch; a process that gives none for so long was stopped, or what it reads from does not answer."""
WORKER_LOST = (
    "a process that reads images was killed from outside; the usual reasons are too little memory or, in a "
    "container, too little shared memory (docker run --shm-size 8g). Fewer --workers need less of both"
)


def says_worker_lost(error: RuntimeError) -> bool:
    """Whether torch says so; its signal handler raises this wherever the main thread happens to be."""
    return str(error).startswith(("DataLoader worker", "DataLoader timed out"))


@dataclass(frozen=True)
class _Failure:
    message: str


def _leave_signals_to_the_parent(worker: int) -> None:
    """Ctrl-C reaches every process of a terminal's group; only the parent knows what is worth finishing."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _as_is(item: T) -> T:
    return item


def _shared(found: R) -> R:
    """In a worker: a result's tensors put into shared memory here, where a failure can be told. Done by the queue's own
    thread, a full /dev/shm would leave the parent waiting for ever."""
    if get_worker_info() is None:
        return found
    tensors = [found] if isinstance(found, torch.Tensor) else []
    if isinstance(found, tuple):
        tensors = [t for part in found for t in (part.values() if isinstance(part, dict) else (part,))]
    try:
        for tensor in tensors:
            if isinstance(tensor, torch.Tensor):
                tensor.share_memory_()
    except RuntimeError as error:
        raise UserError(SHARED_MEMORY_FULL) from error
    return found


class _Jobs(Generic[T, R]):
    """A map-style dataset of jobs; failures that a user can correct are returned as values."""

    def __init__(self, job: Callable[[T], R], items: Sequence[T]) -> None:
        self.job = job
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> R | _Failure:
        try:
            return _shared(self.job(self.items[index]))
        except UserError as error:
            return _Failure(str(error))
