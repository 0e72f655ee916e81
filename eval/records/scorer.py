"""From raw maps of a batch of images to their per-image records (eval.records.store)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.boxes.best_iou import best_iou_of_versions
from eval.boxes.frames import Frame, split_boxes
from eval.maps.aligned import drawn
from eval.maps.batch import RawBatch
from eval.maps.normalization import MapStatus, normalize, score_levels
from eval.protocols import Channel
from eval.records.block import channel_array, histogram_name
from eval.records.energy import energy_shares, value_ratios
from eval.records.histograms import histogram_edges, score_histograms
from eval.records.measures import Region
from eval.records.threshold_free import RankedMap, measure_region, names_of
from eval.records.truth import ImageTruth, object_region, read_truth, visible_part_points
from eval.records.wanted import Wanted
from wsol.errors import UserError
from wsol.files.roots import open_root

if TYPE_CHECKING:
    import numpy.typing as npt

    from wsol.cams.cells import CellCenters
    from wsol.files.roots import FileRoot
    from wsol.manifest import Manifest, Split

    Arrays = dict[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class _FrameMaps:
    """A batch's maps in a frame: `large` [n, H, W], zeros where none was given, and its true boxes."""

    frame: Frame
    aligned: bool
    large: npt.NDArray[np.float64]
    given: npt.NDArray[np.bool_]
    boxes: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]

    def show(self, channel: Channel) -> bool:
        """Whether these are the maps that a kind of score map is made of."""
        mine = (self.frame.name, self.frame.size, self.aligned)
        return mine == (channel.frame, channel.frame_size, channel.aligned)


_Drawing = tuple[Frame, bool]
"""A frame, and whether each cell is drawn where it looks."""


@dataclass(frozen=True)
class Scorer:
    """Measures batches: 8-bit maps per kind of score map, best IoU at every level, mask histograms, energy and parts.

    `masks`: every image has masks and their files are at hand. `num_parts`: parts of the dataset, 0 where they are not
    annotated; `part_masks`: every image has a mask of its parts; `cells`: where the maps' cells look, for kinds of map
    that are aligned. Threads may share one; each call uses the thread it is made in.
    """

    split: Split
    wanted: Wanted
    input_size: int | None = None
    files: FileRoot | None = None
    masks: bool = False
    num_parts: int = 0
    part_masks: bool = False
    cells: CellCenters | None = None

    @classmethod
    def for_manifest(
        cls,
        manifest: Manifest,
        split: Split,
        wanted: Wanted,
        *,
        input_size: int | None = None,
        cells: CellCenters | None = None,
    ) -> Scorer:
        """A scorer that also measures masks and parts where the manifest has them and its files are at hand."""
        if wanted.thresholds_only:
            return cls(split, wanted, input_size, cells=cells)
        files = open_root(manifest.root) if split.masks and manifest.root else None
        masks = files is not None and len(split.masks) == len(split)
        return cls(
            split,
            wanted,
            input_size,
            files,
            masks,
            len(manifest.part_names) if split.parts or split.part_masks else 0,
            masks and len(split.part_masks) == len(split),
            cells,
        )

    @property
    def measures(self) -> tuple[str, ...]:
        """Names of what is recorded beside the boxes."""
        found = [channel_array(c, histogram_name("object", step)) for c, step in self._histograms]
        measured = self._measured is not None
        found += ["energy_object"] if self.masks and measured else []
        found += ["part_value"] if self.num_parts and measured else []
        if measured and not self.wanted.thresholds_only:
            found += names_of("box")
            found += names_of("mask") if self.masks else ()
        return tuple(found)

    @property
    def _histograms(self) -> tuple[tuple[Channel, float], ...]:
        return self.wanted.histograms if self.masks else ()

    @property
    def _drawings(self) -> tuple[_Drawing, ...]:
        """The ways in which raw maps are drawn, each once."""
        found = ((Frame.of_channel(c, self.input_size), c.aligned) for c in self.wanted.channels)
        return tuple(dict.fromkeys(found))

    @property
    def _measured(self) -> _Drawing | None:
        """Where measures of the map as such are taken: the first frame that shows the whole image, not aligned where
        there is a choice."""
        whole = [d for d in self._drawings if d[0].name == "resize"]
        return min(whole, key=lambda d: d[1]) if whole else None

    def score(self, batch: RawBatch) -> Arrays:
        """The record arrays of a batch."""
        rows = batch.rows
        arrays: Arrays = {
            "index": rows.astype(np.int64),
            "label": self.split.labels[rows],
            "predicted": batch.predicted,
            "top1": batch.top1,
            "top5": batch.top5,
            "num_boxes": np.diff(self.split.box_offsets)[rows].astype(np.int32),
        }
        for view, ranks in batch.frame_ranks.items():
            arrays.update({channel_array(view, name): a for name, a in ranks._asdict().items()})
        for drawing in self._drawings:
            maps = self._drawn(batch, drawing)
            self._score_boxes(batch, maps, arrays)
            if maps.frame.name == "resize":
                self._score_pixels(batch, maps, arrays)
        return arrays

    def _drawn(self, batch: RawBatch, drawing: _Drawing) -> _FrameMaps:
        frame, aligned = drawing
        n = len(batch.rows)
        boxes, offsets = split_boxes(self.split, batch.rows, frame)
        large = np.zeros((n, *frame.size_hw))
        given = np.zeros(n, bool)
        for i, m in enumerate(batch.maps[frame.name]):
            if m is not None:
                large[i], given[i] = drawn(m, frame.size_hw, self.cells if aligned else None), True
        return _FrameMaps(frame, aligned, large, given, boxes, offsets)

    def _score_boxes(self, batch: RawBatch, maps: _FrameMaps, arrays: Arrays) -> None:
        channels = [c for c in self.wanted.channels if maps.show(c)]
        scored = [score_levels(maps.large, c.normalization, c.fraction) for c in channels]
        versions = np.stack([levels for levels, _ in scored])
        several = bool((np.diff(maps.offsets) > 1).any())
        names = ("largest_any", "all_any", *(("largest_first", "all_first") if several else ()))
        for c, (levels, found), best in zip(
            channels, scored, best_iou_of_versions(versions, maps.boxes, maps.offsets)
        ):
            for name in names:
                arrays[channel_array(c, name)] = getattr(best, name).astype(np.float32)
            arrays[channel_array(c, "largest_box")] = best.largest_box.astype(np.int16)
            arrays[channel_array(c, "max_level")] = levels.reshape(len(levels), -1).max(1)
            # a photograph that cannot be read has a map of NaN, which is no fault of the map
            judged = maps.given & ((batch.status & MapStatus.UNREADABLE) == 0)
            arrays[channel_array(c, "status")] = batch.status | np.where(judged, found, 0).astype(np.uint8)

    def _score_pixels(self, batch: RawBatch, maps: _FrameMaps, arrays: Arrays) -> None:
        """What is measured on pixels: mask histograms, and in one frame the measures of the map as such."""
        frame = maps.frame
        mine = [(c, step) for c, step in self._histograms if maps.show(c)]
        measured = (frame, maps.aligned) == self._measured and not self.wanted.thresholds_only
        if not mine and not measured:
            return
        truths = [self._truth(row, frame) for row in batch.rows.tolist()]
        for c, step in mine:
            pairs = []
            for i, truth in enumerate(truths):
                assert truth.mask is not None  # every image has one, else there are no histograms
                score, _ = normalize(maps.large[i], c.normalization, c.fraction)
                pairs.append(score_histograms(score, truth.mask, truth.ignore, histogram_edges(step)))
            for k, place in enumerate(("object", "background")):
                arrays[channel_array(c, histogram_name(place, step))] = np.stack([p[k] for p in pairs])
        if measured:
            self._measure_maps(batch, maps, truths, arrays)

    def _truth(self, row: int, frame: Frame) -> ImageTruth:
        if self.files is None:
            return ImageTruth(None, None, None)
        return read_truth(self.split, row, self.files, frame)

    def _measure_maps(
        self, batch: RawBatch, maps: _FrameMaps, truths: Sequence[ImageTruth], arrays: Arrays
    ) -> None:
        """Measures without a threshold, shares of energy, and values on parts."""
        frame, n = maps.frame, len(truths)
        energy_parts = self.num_parts if self.part_masks else 0
        energy = np.full((n, 1 + energy_parts), np.nan, np.float32)
        values = np.full((n, self.num_parts), np.nan, np.float32)
        regions: tuple[Region, ...] = ("box", "mask") if self.masks else ("box",)
        free: dict[Region, list[list[float]]] = {region: [] for region in regions}
        for i, truth in enumerate(truths):
            large = maps.large[i]
            boxes = maps.boxes[maps.offsets[i] : maps.offsets[i + 1]]
            ranked = RankedMap.of(large) if maps.given[i] else None
            for region in regions:
                where = object_region(
                    truth if region == "mask" else ImageTruth(None, None, None), boxes, frame
                )
                free[region].append(measure_region(ranked, where))
            if truth.mask is not None and self.masks and maps.given[i]:
                energy[i] = energy_shares(
                    large, truth.mask, truth.parts if energy_parts else None, energy_parts
                )
            if self.num_parts and maps.given[i]:
                score, status = normalize(large, "minmax")
                points = visible_part_points(self.split, int(batch.rows[i]), self.num_parts, frame.size)
                if not status:
                    values[i] = value_ratios(score, object_region(truth, boxes, frame), points, truth.parts)
        for region, rows in free.items():
            found = np.asarray(rows, np.float32)
            arrays.update({name: found[:, k] for k, name in enumerate(names_of(region))})
        if self.masks:
            arrays["energy_object"] = energy[:, 0]
            if energy_parts:
                arrays["energy_parts"] = energy[:, 1:]
        if self.num_parts:
            arrays["part_value"] = values


def join(batches: Sequence[Arrays]) -> Arrays:
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
