"""Raw maps from a classifier, in its forward pass, kept on disk at native resolution as they come."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.records import BLOCK
from eval.scoring import RawBatch, ranks_from_logits
from wsol.loading import EvalView, evaluation_batches, normalize_images

if TYPE_CHECKING:
    import numpy.typing as npt
    import torch

    from wsol.manifest import Split
    from wsol.models import Classifier


class NetworkMaps:
    """CAMs of the ground-truth class from one forward pass per view. The "resize" view's logits give the ranks."""

    def __init__(
        self,
        model: Classifier,
        split: Split,
        root: str,
        *,
        frames: Sequence[str],
        device: torch.device,
        description: dict[str, Any],
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
        self._description = description

    def describe(self) -> dict[str, Any]:
        return {
            **self._description,
            "kind": "network",
            "precision": self.precision,
            "frames": list(self.frames),
        }

    def unusable(self, normalization: str, frame: str) -> str | None:
        return None if frame in self.frames else f"frame '{frame}' was not asked for"

    def batches(self, rows: npt.NDArray[np.int64]) -> Iterator[RawBatch]:
        import torch

        from wsol.cams.cam import extract_cams

        views = [EvalView(name, self.model.spec.input_size) for name in self.frames]  # type: ignore[arg-type]
        half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.precision)
        for batch in evaluation_batches(
            self.split, self.root, views, indices=rows, batch_size=self.batch_size, workers=self.workers
        ):
            labels = torch.from_numpy(self.split.labels[batch.indices].astype(np.int64))
            maps: dict[str, npt.NDArray[np.floating]] = {}
            ranks = None
            for name in self.frames:
                images = batch.images[name].to(self.device, non_blocking=True)
                with torch.autocast(self.device.type, half) if half else nullcontext():
                    cams = extract_cams(self.model, normalize_images(images), labels)
                maps[name] = cams.maps.float().cpu().numpy()
                if ranks is None:
                    ranks = ranks_from_logits(
                        cams.logits.float().cpu().numpy(), self.split.labels[batch.indices]
                    )
            assert ranks is not None
            status = np.zeros(len(batch.indices), np.uint8)
            yield RawBatch(batch.indices, maps, status, *ranks)
