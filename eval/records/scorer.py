"""From raw maps of a batch of images to their per-image records (eval.records.store)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from eval.boxes.best_iou import best_iou_per_level_batch
from eval.boxes.frames import Frame, split_boxes
from eval.maps.aligned import upsample_aligned
from eval.maps.batch import RawBatch
from eval.maps.normalization import normalize, score_levels, upsample
from eval.protocols import Channel
from eval.records.block import channel_array
from eval.records.histograms import histogram_edges, score_histograms
from wsol.errors import UserError
from wsol.images import decode_grey, open_root

if TYPE_CHECKING:
    import numpy.typing as npt

    from wsol.cams.cell_centers import CellCenters
    from wsol.images import FileRoot
    from wsol.manifest import Manifest, Split

MASK_STEP = 0.001


@dataclass(frozen=True)
class Scorer:
    """Measures batches: 8-bit maps per channel, best IoU at every level, mask histograms, energy shares.

    Threads may share one; each call uses the thread it is made in.
    """

    split: Split
    channels: tuple[Channel, ...]
    input_size: int | None = None
    files: FileRoot | None = None
    masks: bool = False
    num_parts: int = 0
    cells: CellCenters | None = None
    """Where the maps' cells look, for channels that are aligned."""
    _frames: dict[tuple[str, int], Frame] = field(default_factory=dict, repr=False)

    @classmethod
    def for_manifest(
        cls,
        manifest: Manifest,
        split: Split,
        channels: Sequence[Channel],
        *,
        input_size: int | None = None,
        cells: CellCenters | None = None,
    ) -> Scorer:
        """A scorer that also measures masks and parts where the manifest has them and its files are at hand."""
        masks = bool(split.masks) and len(split.masks) == len(split)
        part_masks = masks and len(split.part_masks) == len(split)
        files = open_root(manifest.root) if masks and manifest.root else None
        return cls(
            split,
            tuple(channels),
            input_size,
            files,
            masks and files is not None,
            len(manifest.part_names) if part_masks and files is not None else 0,
            cells,
        )

    def frame(self, channel: Channel) -> Frame:
        key = (channel.frame, channel.frame_size)
        if key not in self._frames:
            self._frames[key] = Frame.of(channel.frame, channel.frame_size, self.input_size)
        return self._frames[key]

    def score(self, batch: RawBatch) -> dict[str, npt.NDArray[Any]]:
        """The record arrays of a batch."""
        rows = batch.rows
        counts = np.diff(self.split.box_offsets)[rows]
        arrays: dict[str, npt.NDArray[Any]] = {
            "index": rows.astype(np.int64),
            "label": self.split.labels[rows],
            "predicted": batch.predicted,
            "top1": batch.top1,
            "top5": batch.top5,
            "num_boxes": counts.astype(np.int32),
        }
        for view, ranks in batch.frame_ranks.items():
            arrays.update({channel_array(view, name): a for name, a in ranks._asdict().items()})
        grouped: dict[tuple[str, int, bool], list[Channel]] = {}
        for channel in self.channels:
            grouped.setdefault((channel.frame, channel.frame_size, channel.aligned), []).append(channel)
        for channels in grouped.values():
            self._score_frame(batch, channels, arrays)
        return arrays

    def _score_frame(
        self, batch: RawBatch, channels: Sequence[Channel], arrays: dict[str, npt.NDArray[Any]]
    ) -> None:
        frame = self.frame(channels[0])
        n = len(batch.rows)
        boxes, offsets = split_boxes(self.split, batch.rows, frame)
        raw = batch.maps[frame.name]
        large = np.zeros((n, *frame.size_hw))
        given = np.zeros(n, bool)
        for i, m in enumerate(raw):
            if m is not None:
                large[i], given[i] = self._drawn(m, frame, channels[0].aligned), True
        several = bool((np.diff(offsets) > 1).any())
        for c in channels:
            levels, found = score_levels(large, c.normalization, c.fraction)
            best = best_iou_per_level_batch(levels, boxes, offsets, num_threads=1)
            kept = (
                ("largest_any", "all_any", "largest_first", "all_first")
                if several
                else ("largest_any", "all_any")
            )
            for name in kept:
                arrays[channel_array(c, name)] = getattr(best, name).astype(np.float32)
            arrays[channel_array(c, "largest_box")] = best.largest_box.astype(np.int16)
            arrays[channel_array(c, "max_level")] = levels.reshape(n, -1).max(1)
            arrays[channel_array(c, "status")] = batch.status | np.where(given, found, 0).astype(np.uint8)
        if self.masks and frame.name == "resize":
            self._score_masks(batch, frame, channels, large, given, arrays)

    def _drawn(self, m: npt.NDArray[np.floating], frame: Frame, aligned: bool) -> npt.NDArray[np.float64]:
        """A raw map in the frame."""
        if not aligned:
            return upsample(m, frame.size_hw)
        assert self.cells is not None
        return upsample_aligned(m, frame.size_hw, self.cells)

    def _score_masks(
        self,
        batch: RawBatch,
        frame: Frame,
        channels: Sequence[Channel],
        large: npt.NDArray[np.float64],
        given: npt.NDArray[np.bool_],
        arrays: dict[str, npt.NDArray[Any]],
    ) -> None:
        n = len(batch.rows)
        edges = histogram_edges(MASK_STEP)
        hists = {c: np.zeros((2, n, len(edges) - 1), np.int32) for c in channels}
        energy = np.full((n, 1 + self.num_parts), np.nan, np.float32)
        for i in range(n):
            mask, ignore, parts = self._annotations(int(batch.rows[i]), frame)
            if given[i]:
                energy[i] = energy_shares(large[i], mask, parts, self.num_parts)
            for c in channels:
                m, _ = normalize(large[i], c.normalization, c.fraction)
                found = score_histograms(m, mask, ignore, edges)
                hists[c][0, i], hists[c][1, i] = found
        for c, (inside, outside) in hists.items():
            arrays[channel_array(c, "hist_object")], arrays[channel_array(c, "hist_background")] = (
                inside,
                outside,
            )
        if channels[0].aligned and "energy_object" in arrays:
            return  # energy is that of the map as it is drawn without alignment, where both are scored
        arrays["energy_object"] = energy[:, 0]
        if self.num_parts:
            arrays["energy_parts"] = energy[:, 1:]

    def _annotations(
        self, row: int, frame: Frame
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_] | None, npt.NDArray[np.uint8] | None]:
        assert self.files is not None

        def grey(path: str) -> npt.NDArray[np.uint8]:
            return decode_grey(self.files.read_bytes(path), path)  # type: ignore[union-attr]

        mask = np.zeros(frame.size_hw, bool)
        for path in self.split.masks[row]:
            mask |= frame.mask(grey(path))
        ignore = None
        if row in self.split.ignore_masks:
            ignore = frame.mask(grey(self.split.ignore_masks[row])) & ~mask
        parts = None
        if self.num_parts:
            parts = np.asarray(
                cv2.resize(
                    grey(self.split.part_masks[row]),
                    (frame.size, frame.size),
                    interpolation=cv2.INTER_NEAREST,
                ),
                np.uint8,
            )
        return mask, ignore, parts


def energy_shares(
    m: npt.NDArray[np.float64],
    mask: npt.NDArray[np.bool_],
    parts: npt.NDArray[np.uint8] | None,
    num_parts: int,
) -> npt.NDArray[np.float32]:
    """Shares of the map's positive part, [1 + P]: inside the mask, then inside each part (ids 1..P).

    NaN throughout where the map has no positive value: a share of nothing is undefined.
    """
    shares = np.full(1 + num_parts, np.nan, np.float32)
    positive = np.maximum(m, 0)
    total = positive.sum()
    if not np.isfinite(total) or total <= 0:
        return shares
    shares[0] = positive[mask].sum() / total
    if parts is not None:
        sums = np.bincount(parts.ravel(), weights=positive.ravel(), minlength=num_parts + 1)
        shares[1:] = sums[1 : num_parts + 1] / total
    return shares


def join(batches: Sequence[dict[str, npt.NDArray[Any]]]) -> dict[str, npt.NDArray[Any]]:
    """One block from its batches, in order. A first-box array that a batch left out equals its any-box one."""
    names = dict.fromkeys(name for batch in batches for name in batch)
    return {
        name: np.concatenate([b[name] if name in b else b[name.replace("_first", "_any")] for b in batches])
        for name in names
    }


def require_boxes_or_masks(split: Split, what: str) -> None:
    """Refuse to score a split that has neither boxes nor masks."""
    if not len(split.boxes_xyxy) and not split.masks:
        raise UserError(
            f"{what} has neither boxes nor masks, so there is nothing to score score maps against"
        )
