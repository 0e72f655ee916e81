"""Our own raw maps on disk: native CAM resolution, float32, with the recipe, re-scored without a forward pass.

A folder holds `maps.json` (what made them) and one .npz per block of 512 images with `FRAME` float32 [n, h, w],
`predicted`, `top1`, `top5` of the whole image, and `FRAME.top1` and so on of other views.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.maps.batch import Ranks, RawBatch
from eval.maps.blocks import BLOCK, block_path
from wsol.cams.cells import CellCenters
from wsol.errors import UserError
from wsol.files.arrays import DAMAGE, SealedArrays, intact, sealed_bytes
from wsol.files.atomic_write import write_durably
from wsol.files.seal import sealed, unsealed
from wsol.files.strict_json import read_json
from wsol.files.typed import check_types

if TYPE_CHECKING:
    import numpy.typing as npt

SCHEMA = 1
INDEX = "maps.json"


class StoredMaps:
    """Raw maps kept by an earlier run, or being kept by this one."""

    def __init__(self, folder: Path, head: Mapping[str, Any]) -> None:
        self.folder = folder
        self.head = dict(head)
        self.frames = tuple(head["maps"]["frames"])
        self.input_size: int | None = head["input_size"]
        self._identity = _identity(head)
        self.cells = CellCenters.from_dict(head["cells"]) if head.get("cells") else None

    @classmethod
    def create(cls, folder: Path, head: Mapping[str, Any]) -> StoredMaps:
        """Start or continue a store; maps of another recipe or split in the same folder are discarded."""
        folder.mkdir(parents=True, exist_ok=True)
        if not cls.continues(folder, head):
            index = folder / INDEX
            index.unlink(missing_ok=True)
            for block in folder.glob("block-*.npz"):
                block.unlink()
            write_durably(index, _text(head))
        return cls(folder, head)

    @staticmethod
    def continues(folder: Path, head: Mapping[str, Any]) -> bool:
        """Whether the maps in a folder are of just this recipe and split."""
        try:
            return _identity(_read_head(folder / INDEX)) == _identity(head)
        except UserError:
            return False

    @staticmethod
    def frames_at(folder: Path) -> set[str]:
        """The frames of the maps in a folder; none where there are no maps, or nobody can say."""
        try:
            return set(_read_head(folder / INDEX)["maps"]["frames"])
        except UserError:
            return set()

    @classmethod
    def open(cls, folder: Path, split_hash: str, num_images: int) -> StoredMaps:
        """Open a whole store made for this split."""
        head = _read_head(folder / INDEX)
        store = cls(folder, head)
        if head["split_hash"] != split_hash:
            raise UserError(
                f"the maps in '{folder}' were made for another list of images (dataset '{head.get('dataset')}', split "
                f"'{head.get('split')}'); name the manifest and split that they were made for"
            )
        missing = [b for b in range(-(-num_images // BLOCK)) if not store.has(b)]
        if missing:
            raise UserError(
                f"'{folder}': {len(missing)} blocks of maps are missing or damaged; run the network again"
            )
        return store

    def has(self, block: int) -> bool:
        return intact(block_path(self.folder, block), self._identity)

    def write(self, block: int, batches: list[RawBatch]) -> None:
        """Keep the raw maps of one whole block."""
        arrays: dict[str, npt.NDArray[Any]] = {
            name: np.concatenate([np.asarray(b.maps[name], np.float32) for b in batches])
            for name in self.frames
        }
        for name in Ranks._fields:
            arrays[name] = np.concatenate([getattr(b, name) for b in batches])
            for frame in batches[0].frame_ranks:
                ranks = [getattr(b.frame_ranks[frame], name) for b in batches]
                arrays[f"{frame}.{name}"] = np.concatenate(ranks)
        write_durably(block_path(self.folder, block), sealed_bytes(arrays, self._identity))

    def _block(self, block: int) -> SealedArrays:
        path = block_path(self.folder, block)
        try:
            return SealedArrays(path, self._identity)
        except DAMAGE as error:
            raise UserError(f"'{path}' is no block of these maps ({error}); run the network again") from error

    def describe(self) -> dict[str, Any]:
        return dict(self.head["maps"])

    def unusable(self, normalization: str, frame: str) -> str | None:
        return None if frame in self.frames else f"the stored maps hold no '{frame}' frame"

    def batches(self, rows: npt.NDArray[np.int64]) -> Iterator[RawBatch]:
        for block in np.unique(rows // BLOCK):
            inside = rows[rows // BLOCK == block]
            at = inside - block * BLOCK
            with closing(self._block(int(block))) as file:
                maps = {name: file[name][at] for name in self.frames}
                ranks = {
                    frame: Ranks(*(file[f"{prefix}{name}"][at] for name in Ranks._fields))
                    for frame, prefix in (("", ""), *((f, f"{f}.") for f in self.frames))
                    if f"{prefix}top1" in file
                }
            whole = ranks.pop("")
            yield RawBatch(inside, maps, np.zeros(len(inside), np.uint8), *whole, ranks)


_SHAPE = {
    "schema": int,
    "dataset": str,
    "split": str,
    "split_hash": str,
    "num_images": int,
    "input_size": (int, None),
    "maps": dict,
    "maps.frames": [str],
}


_CELLS = {
    f"cells.{axis}.{name}": kind
    for axis in "xy"
    for name, kind in (("start", float), ("step", float), ("cells", int), ("pixels", int))
}


def _read_head(index: Path) -> dict[str, Any]:
    again = "run the network again"
    try:
        head = unsealed(check_types(read_json(index), _SHAPE, f"'{index}'", again), f"'{index}'", again)
    except OSError as error:
        raise UserError(f"'{index}' is missing or cannot be read ({error.strerror}); {again}") from error
    if head["schema"] != SCHEMA:
        raise UserError(f"'{index}': schema {head['schema']}, expected {SCHEMA}; {again}")
    if head.setdefault("cells", None) is not None:
        check_types(head, _CELLS, f"'{index}'", again)
    return head


def _identity(head: Mapping[str, Any]) -> str:
    """SHA-256 over what made the maps; where their cells look follows from the rest."""
    text = json.dumps({**head, "schema": SCHEMA, "cells": None}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _text(head: Mapping[str, Any]) -> str:
    return json.dumps(sealed({"schema": SCHEMA, **head}), indent=1, sort_keys=True)
