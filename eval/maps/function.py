"""Maps of a function somebody wrote: images and classes in, score maps out."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from eval.maps.batch import Ranks, RawBatch, ranks_from_logits, unpredicted
from eval.maps.blocks import BLOCK
from eval.maps.normalization import MapStatus
from wsol.errors import UserError
from wsol.files.regular import file_sha256
from wsol.loading import evaluation_batches, images_state, normalize_images
from wsol.models.pixels import Pixels
from wsol.views import EvalView

if TYPE_CHECKING:
    import numpy.typing as npt

    from eval.boxes.frames import Frame
    from wsol.cams.cells import CellCenters
    from wsol.manifest import Manifest, Split

MapFunction = Callable[..., Any]
"""`f(images, class_ids)` or `f(images)`: float32 [N, 3, S, S] as `Pixels` says and int64 [N] to maps [N, h, w], raw and
of any range, or to (maps, logits [N, K]) where the K classes are the dataset's; tensors or arrays."""


def find_function(name: str) -> MapFunction:
    """The function that 'module:function' names. Raises `UserError` where there is none."""
    module, colon, function = name.partition(":")
    if not (module and colon and function):
        raise UserError(f"'{name}' names no function; expected module:function, such as mymaps:attention")
    try:
        found = getattr(importlib.import_module(module), function, None)
    except ImportError as error:
        raise UserError(
            f"module '{module}' of '{name}' cannot be imported from here: {error}; run in its folder, or install it"
        ) from error
    if not callable(found):
        raise UserError(f"module '{module}' has no function '{function}'")
    return found


def function_source(
    function: MapFunction,
    manifest: Manifest,
    pixels: Pixels,
    device: torch.device,
    batch_size: int,
    workers: int = 0,
) -> Callable[[Split, str, Sequence[Frame]], FunctionMaps]:
    """What gives a function's maps of a split in some frames. Raises `UserError` where the images are not known."""
    if manifest.root is None:
        raise UserError(f"dataset '{manifest.dataset}' does not say where its images are; give --data-root")
    root = manifest.root

    def source(split: Split, role: str, frames: Sequence[Frame]) -> FunctionMaps:
        # the class ranks come from the whole image, as in the reference
        ordered = list(dict.fromkeys(["resize", *sorted(f.name for f in frames)]))
        return FunctionMaps(
            function,
            split,
            root,
            frames=ordered,
            pixels=pixels,
            device=device,
            num_classes=len(manifest.classes),
            batch_size=batch_size,
            workers=workers,
        )

    return source


class FunctionMaps:
    """A function's maps of a split, one call a batch and view."""

    cells: CellCenters | None = None

    def __init__(
        self,
        function: MapFunction,
        split: Split,
        root: str,
        *,
        frames: Sequence[str],
        pixels: Pixels,
        device: torch.device,
        num_classes: int,
        batch_size: int = 16,
        workers: int = 0,
    ) -> None:
        self.function = function
        self.split = split
        self.root = root
        self.frames = tuple(frames)
        self.pixels = pixels
        self.device = device
        self.num_classes = num_classes
        self.batch_size = max(b for b in range(1, min(batch_size, BLOCK) + 1) if BLOCK % b == 0)
        self.workers = workers
        self.input_size: int | None = pixels.size
        self._takes_classes = len(inspect.signature(function).parameters) > 1

    def describe(self) -> dict[str, Any]:
        return {
            "kind": "function",
            **about_function(self.function),
            "pixels": self.pixels.to_dict(),
            "images_sha256": images_state(self.split, self.root),
            "frames": list(self.frames),
        }

    def unusable(self, normalization: str, frame: str) -> str | None:
        return None if frame in self.frames else f"frame '{frame}' was not asked for"

    def batches(self, rows: npt.NDArray[np.int64]) -> Iterator[RawBatch]:
        views = [EvalView(n, self.pixels.size, self.pixels.interpolation) for n in self.frames]  # type: ignore[arg-type]
        found = evaluation_batches(
            self.split, self.root, views, indices=rows, batch_size=self.batch_size, workers=self.workers
        )
        for batch in found:
            labels = self.split.labels[batch.indices]
            maps: dict[str, npt.NDArray[np.floating]] = {}
            ranks: dict[str, Ranks] = {}
            undecoded = list(batch.undecoded)
            for name, images in batch.images.items():
                maps[name], logits = self._called(images.to(self.device), labels)
                maps[name][undecoded] = np.nan  # no map and no rank: a miss in every measure
                if logits is None:
                    ranks[name] = unpredicted(len(labels))
                else:
                    logits[undecoded] = np.nan
                    ranks[name] = ranks_from_logits(logits, labels)
            status = np.zeros(len(labels), np.uint8)
            status[undecoded] = MapStatus.UNREADABLE
            whole = ranks.pop(self.frames[0])
            yield RawBatch(batch.indices, maps, status, *whole, ranks)

    def _called(
        self, images: torch.Tensor, labels: npt.NDArray[np.int32]
    ) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating] | None]:
        """The function's maps and logits of one batch, checked."""
        given = normalize_images(images, self.pixels)
        class_ids = torch.from_numpy(labels.astype(np.int64)).to(self.device)
        found = self.function(given, class_ids) if self._takes_classes else self.function(given)
        maps, logits = found if isinstance(found, tuple) else (found, None)
        arrays = [None if a is None else _array(a) for a in (maps, logits)]
        n = len(labels)
        for what, array, dimensions in (("maps", arrays[0], 3), ("logits", arrays[1], 2)):
            if array is None and what == "logits":
                continue
            if array is None or array.ndim != dimensions or len(array) != n or not array.size:
                expected = f"[{n}, h, w]" if what == "maps" else f"[{n}, {self.num_classes}]"
                got = "None" if array is None else list(array.shape)
                raise UserError(f"the map function gave {what} of shape {got}, expected {expected}")
        if arrays[1] is not None and arrays[1].shape[1] != self.num_classes:
            raise UserError(
                f"the map function gave {arrays[1].shape[1]} logits, but the dataset has {self.num_classes} classes"
            )
        assert arrays[0] is not None
        return arrays[0], arrays[1]


def _array(found: Any) -> npt.NDArray[np.floating]:
    """A tensor or array as float32 of its own."""
    plain = found.detach().float().cpu().numpy() if isinstance(found, torch.Tensor) else found
    try:
        return np.array(plain, np.float32)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"the map function gave {type(found).__name__}, expected a tensor or array"
        ) from error


def about_function(function: MapFunction) -> dict[str, Any]:
    """What provenance says of a function: its name and the checksum of the file that it is written in."""
    file = inspect.getsourcefile(inspect.unwrap(function)) if inspect.isroutine(function) else None
    name = (
        f"{getattr(function, '__module__', '')}:{getattr(function, '__qualname__', type(function).__name__)}"
    )
    known = file is not None and Path(file).is_file()
    return {"function": name, "source_sha256": file_sha256(file) if known and file else None}
