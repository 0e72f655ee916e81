"""Score maps of a network or from files are judged: their records are made where they are not there."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.boxes.frames import Frame
from eval.maps.stored import StoredMaps
from eval.protocols import Channel
from eval.records.fill import measure
from eval.records.judged import JudgedRecords, Work
from eval.records.scorer import Scorer
from eval.records.store import RecordIndex, RecordStore
from eval.records.wanted import Wanted
from wsol.errors import UserError
from wsol.files.atomic_write import remove_unfinished
from wsol.loading import images_state
from wsol.machine.distributed import agree_on, wait_for_all
from wsol.manifest import split_hash

if TYPE_CHECKING:
    from eval.maps.source import MapSource
    from wsol.manifest import Manifest, Split


@dataclass(frozen=True)
class JudgedMaps:
    """Score maps of a network or from files. `source` gives those of a split in some frames; `keep` stores raw maps in
    the results' folder as they are made; `covered` as `covers`."""

    manifest: Manifest
    source: Callable[[Split, str, Sequence[Frame]], MapSource]
    keep: bool
    covered: Callable[[Split, str], bool] = lambda split, role: True
    shared: bool = False

    def covers(self, split: Split, role: str) -> bool:
        return self.covered(split, role)

    def maps(self, split: Split, role: str, folder: Path, frame: Frame) -> MapSource | None:
        if self.keep:
            return StoredMaps.open(folder / "maps" / role, split_hash(split), len(split))
        return self.source(split, role, [frame])

    def records(self, split: Split, role: str, wanted: Wanted, work: Work) -> JudgedRecords:
        records, maps = work.folder / "records" / role, work.folder / "maps" / role
        source = self._source(split, role, wanted, maps)
        unusable = {c: _why_unusable(source, c) for c in wanted.channels}
        usable = wanted.only(c for c in wanted.channels if unusable[c] is None)
        if not usable.channels and not wanted.thresholds_only:
            reasons = sorted({str(reason) for reason in unusable.values()})
            raise UserError("none of the protocols can be scored: " + "; ".join(reasons))
        scorer = Scorer.for_manifest(
            self.manifest, split, usable, input_size=source.input_size, cells=source.cells
        )
        index = RecordIndex(
            self.manifest.dataset,
            role,
            split_hash(split),
            len(split),
            tuple(str(c) for c in usable.channels),
            scorer.masks,
            self.manifest.part_names if scorer.num_parts else (),
            {
                **source.describe(),
                "not_computed": {str(c): r for c, r in unusable.items() if r},
                **self._masks_state(split, scorer),
                **_input_size(source, usable),
            },
            scorer.measures,
        )
        agree_on(work.world, {"records": dataclasses.asdict(index)})
        if work.world.first:
            remove_unfinished(records)
            remove_unfinished(maps)
            if not RecordStore.finished(records, index):
                work.discard_results()
        else:
            wait_for_all(work.world)  # the first process starts or clears the stores
        store = RecordStore.create(records, index)
        kept = StoredMaps.create(maps, self._head(source, split, role)) if self.keep else None
        if work.world.first:
            wait_for_all(work.world)
        measure(
            store,
            scorer,
            source,
            keep=kept,
            rank=work.world.rank,
            world=work.world.size,
            threads=work.threads,
            advance=work.advance,
        )
        surplus = source.missing_and_surplus()[1] if hasattr(source, "missing_and_surplus") else []
        return JudgedRecords(store, tuple(surplus), self.shared)

    def _masks_state(self, split: Split, scorer: Scorer) -> dict[str, str]:
        if not scorer.masks or self.manifest.root is None:
            return {}
        return {"masks_sha256": images_state(split, self.manifest.root, masks=True)}

    def kept_maps(
        self, split: Split, role: str, wanted: Wanted, folder: Path
    ) -> tuple[MapSource, StoredMaps]:
        """The maps of a split, and the store in which `records` keeps and looks for them."""
        place = folder / "maps" / role
        source = self._source(split, role, wanted, place)
        return source, StoredMaps.create(place, self._head(source, split, role))

    def _source(self, split: Split, role: str, wanted: Wanted, maps: Path) -> MapSource:
        frames = {f.name: f for f in wanted.frames()}
        source = self.source(split, role, wanted.frames())
        there = StoredMaps.frames_at(maps) if self.keep else set()
        if there <= set(frames):
            return source
        # maps kept of more frames than asked for now are continued, not discarded
        more = [Frame.of(name, wanted.channels[0].frame_size) for name in sorted(there - set(frames))]
        wider = self.source(split, role, [*wanted.frames(), *more])
        return wider if StoredMaps.continues(maps, self._head(wider, split, role)) else source

    def _head(self, source: MapSource, split: Split, role: str) -> dict[str, Any]:
        return {
            "dataset": self.manifest.dataset,
            "split": role,
            "split_hash": split_hash(split),
            "num_images": len(split),
            "input_size": source.input_size,
            "cells": source.cells.to_dict() if source.cells else None,
            "maps": source.describe(),
        }


def _input_size(source: MapSource, wanted: Wanted) -> dict[str, int]:
    """The network's input size, where frames depend on it: those of crops do."""
    crops = any(c.frame != "resize" for c in wanted.channels)
    return {"input_size": source.input_size} if crops and source.input_size else {}


def _why_unusable(source: MapSource, channel: Channel) -> str | None:
    """Why maps of a source cannot be scored as a channel asks; None when they can."""
    if channel.aligned and source.cells is None:
        return "where the cells of these maps look is not known, so they cannot be aligned"
    return source.unusable(channel.normalization, channel.frame)
