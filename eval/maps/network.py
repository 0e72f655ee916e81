"""Raw maps of a classifier by any map method, batch by batch."""

from __future__ import annotations

import copy
import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from eval.maps.batch import Ranks, RawBatch, ranks_from_logits
from eval.maps.blocks import BLOCK
from eval.maps.normalization import MapStatus
from wsol.cams.cell_centers import cell_centers
from wsol.cams.cells import CellCenters
from wsol.cams.extract import extract_maps
from wsol.cams.registry import CAM_OF_FINAL
from wsol.errors import UserError
from wsol.files.roots import open_root
from wsol.loading import EvalBatch, evaluation_batches, images_state, normalize_images
from wsol.views import EvalView
from wsol.wrapping import tell

if TYPE_CHECKING:
    import numpy.typing as npt

    from wsol.cams.map_method import LayerMap
    from wsol.manifest import Split
    from wsol.models import Classifier


_SAMPLED = 32
"""Images whose bytes the recipe of maps quotes."""


@dataclass(frozen=True)
class _Underway:
    """A batch whose maps and logits are on their way from the device; `arrived` is None where they are there."""

    rows: npt.NDArray[np.int64]
    maps: dict[str, tuple[torch.Tensor, ...]]
    logits: dict[str, torch.Tensor]
    undecoded: list[int]
    arrived: torch.cuda.Event | None


class NetworkMaps:
    """Maps of the ground-truth class, one forward pass a view. The first view's logits give the ranks of the image.

    `wanted` are the map methods, each at its layer; several share the passes, and `each` gives the maps of them all.
    `outputs` are the network's outputs of the dataset's labels, where they are not the labels themselves (a network of
    1,000 classes on some of them); ranks are among all of the network's outputs.
    """

    def __init__(
        self,
        model: Classifier,
        split: Split,
        root: str,
        *,
        frames: Sequence[str],
        device: torch.device,
        description: dict[str, Any],
        wanted: Sequence[LayerMap] = (CAM_OF_FINAL,),
        outputs: Sequence[int] | None = None,
        batch_size: int = 64,
        workers: int = 0,
        precision: str = "fp32",
    ) -> None:
        self.model = model
        self.split = split
        self.root = root
        self.frames = tuple(frames)
        self.input_size: int | None = model.spec.input_size
        self.device = device
        self.batch_size = max(b for b in range(1, min(batch_size, BLOCK) + 1) if BLOCK % b == 0)
        self.workers = workers
        self.precision = precision
        self.wanted = tuple(wanted)
        for one in self.wanted:
            one.check(model)
        classes = model.spec.num_classes
        self.outputs = np.arange(classes) if outputs is None else np.asarray(outputs, np.int64)
        self._label_of = np.full(
            classes, -1, np.int32
        )  # of an output; -1 where it is no class of the dataset
        labels = np.flatnonzero(self.outputs >= 0)
        self._label_of[self.outputs[labels]] = labels
        self._description = description
        self._images_sha256: str | None = None
        self._cells: CellCenters | None = None

    @property
    def cells(self) -> CellCenters | None:
        if self._cells is None:
            self._cells = cell_centers(self.model, self.wanted[0].layer)
        return self._cells

    def describe(self) -> dict[str, Any]:
        if self._images_sha256 is None:
            self._images_sha256 = self._sample_digest()
        return {
            **self._description,
            "kind": "network",
            "images_sha256": self._images_sha256,
            "precision": self.precision,
            **(
                {"tf32": torch.backends.cudnn.allow_tf32}
                if self.device.type == "cuda" and self.precision == "fp32"
                else {}
            ),
            "frames": list(self.frames),
            # maps from before every view had ranks of its own are made anew
            **({"ranks": list(self.frames)} if len(self.frames) > 1 else {}),
            # absent for CAM: maps and records of CAM from before there were others stay valid
            **({} if self.wanted == (CAM_OF_FINAL,) else {"map": [w.describe() for w in self.wanted]}),
        }

    def _of_labels(self, ranks: Ranks) -> Ranks:
        """The same with the predicted output as the dataset's label."""
        return ranks._replace(predicted=self._label_of[ranks.predicted])

    def joined(self, others: Sequence[NetworkMaps]) -> NetworkMaps:
        """The same with the others' map methods beside its own."""
        found = copy.copy(self)
        found.wanted = tuple(w for source in (self, *others) for w in source.wanted)
        return found

    def _sample_digest(self) -> str:
        """SHA-256 of size and time of change of every image, and of the bytes of a few spread over the split: another
        one where images were replaced (blurred, cropped, blackened)."""
        files = open_root(self.root)
        digest = hashlib.sha256(images_state(self.split, self.root).encode())
        for row in np.unique(np.linspace(0, len(self.split) - 1, _SAMPLED).astype(np.int64)):
            digest.update(files.read_bytes(self.split.path(int(row))))
        return digest.hexdigest()

    def unusable(self, normalization: str, frame: str) -> str | None:
        return None if frame in self.frames else f"frame '{frame}' was not asked for"

    def images(self, rows: npt.NDArray[np.int64]) -> Iterator[EvalBatch]:
        """Framed images of some rows, in order, `batch_size` at a time."""
        spec = self.model.spec
        views = [EvalView(name, spec.input_size, spec.input.interpolation) for name in self.frames]  # type: ignore[arg-type]
        return evaluation_batches(
            self.split,
            self.root,
            views,
            indices=rows,
            batch_size=self.batch_size,
            workers=self.workers,
            pin_memory=self.device.type == "cuda",
        )

    def batches(self, rows: npt.NDArray[np.int64]) -> Iterator[RawBatch]:
        for (batch,) in self.each(rows):
            yield batch

    def each(self, rows: npt.NDArray[np.int64]) -> Iterator[tuple[RawBatch, ...]]:
        """As `batches`, with one batch for each of the `wanted`. `UserError` where memory does not suffice."""
        try:
            yield from self._each(rows)
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error):
                less = f"start again with --batch-size {self.batch_size // 4 or 1}, or "
                raise UserError(
                    f"out of memory ({self.device.type}) with {self.batch_size} images at a time; "
                    f"{less if self.batch_size > 1 else ''}free memory of other programs. Whole blocks of {BLOCK} "
                    "images that were scored are kept"
                ) from error
            raise

    def _each(self, rows: npt.NDArray[np.int64]) -> Iterator[tuple[RawBatch, ...]]:
        underway: deque[_Underway] = deque()
        # A GPU is given the next batch before the last one's results are read, so that it never waits for the host.
        ahead = 1 if self.device.type == "cuda" else 0
        undecoded: dict[str, str] = {}
        for batch in self.images(rows):
            undecoded |= {self.split.image_ids[batch.indices[i]]: why for i, why in batch.undecoded.items()}
            if len(undecoded) == len(rows) == min(len(self.split), BLOCK):
                raise UserError(
                    f"none of {len(rows)} images can be decoded; {next(iter(undecoded.values()))}"
                )
            underway.append(self._begin(batch))
            if len(underway) > ahead:
                yield self._finish(underway.popleft())
        while underway:
            yield self._finish(underway.popleft())
        for image_id, why in undecoded.items():
            tell(f"warning: '{image_id}' counts as a miss: {why}")

    def _begin(self, batch: EvalBatch) -> _Underway:
        cuda = self.device.type == "cuda"  # elsewhere a copy that does not wait could be read too early
        half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.precision)
        outputs = torch.from_numpy(self.outputs[self.split.labels[batch.indices]])
        maps: dict[str, tuple[torch.Tensor, ...]] = {}
        logits: dict[str, torch.Tensor] = {}
        for name in self.frames:
            images = batch.images[name].to(self.device, non_blocking=cuda)
            with torch.autocast(self.device.type, half) if half else nullcontext():
                found = extract_maps(
                    self.model, normalize_images(images, self.model.spec.input), outputs, self.wanted
                )
            maps[name] = tuple(m.float().to("cpu", non_blocking=cuda) for m in found.maps)
            logits[name] = found.logits.float().to("cpu", non_blocking=cuda)
        arrived = None
        if cuda:
            arrived = torch.cuda.Event()
            arrived.record(torch.cuda.current_stream(self.device))
        return _Underway(batch.indices, maps, logits, list(batch.undecoded), arrived)

    def _finish(self, underway: _Underway) -> tuple[RawBatch, ...]:
        if underway.arrived is not None:
            underway.arrived.synchronize()
        outputs = self.outputs[self.split.labels[underway.rows]]
        logits = {name: z.numpy() for name, z in underway.logits.items()}
        maps = [{name: m[i].numpy() for name, m in underway.maps.items()} for i in range(len(self.wanted))]
        for array in (*logits.values(), *(m for of_one in maps for m in of_one.values())):
            array[underway.undecoded] = np.nan  # no map and no rank: a miss in every measure
        ranks = {name: self._of_labels(ranks_from_logits(z, outputs)) for name, z in logits.items()}
        whole = ranks.pop(self.frames[0])
        status = np.zeros(len(underway.rows), np.uint8)
        status[underway.undecoded] = MapStatus.UNREADABLE
        return tuple(RawBatch(underway.rows, of_one, status, *whole, ranks) for of_one in maps)
