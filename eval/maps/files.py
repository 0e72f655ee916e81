"""Other people's score maps, already in [0, 1] or raw, found by image id.

Both namings in the wild are found (`val2/0/0.npy` and `val2/0/0.jpeg.npy` for `val2/0/0.jpeg`). A map of another size
than the frame is resized to it and counted. A map that is missing, unreadable, holds NaN or leaves [0, 1] is scored as
all zeros and counted: the denominator never shrinks. Where nearly all are so, the folder does not fit and is refused.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from eval.maps.batch import RawBatch, unpredicted
from eval.maps.blocks import BLOCK
from eval.maps.map_stores import UnreadableMapError, open_store
from eval.maps.normalization import NORMALIZATIONS, MapStatus
from wsol.errors import UserError

if TYPE_CHECKING:
    import numpy.typing as npt

    from eval.maps.predictions import Predictions
    from wsol.cams.cells import CellCenters
    from wsol.manifest import Split

SizePolicy = Literal["resize", "refuse"]
Values = Literal["normalized", "raw"]
_OVERSHOOT = 1e-3
"""How far values may leave [0, 1] by rounding, float16's included; they are clipped and counted."""
_ENOUGH = 0.1
"""The least share of images with a map, and of maps that can be scored, for a store to fit."""
_SAMPLED = 32
"""Maps that are looked at before scoring."""


def spellings(image_id: str) -> tuple[str, ...]:
    """Names under which an image's map may be stored, most specific first, without the map's own suffix."""
    stem = str(PurePosixPath(image_id).with_suffix("")) if PurePosixPath(image_id).suffix else image_id
    return (image_id, stem) if stem != image_id else (image_id,)


class ScoreMapFiles:
    """Maps of the whole image ("resize" frame) from any store of `eval.maps.map_stores`."""

    frames = ("resize",)
    input_size: int | None = None
    cells: CellCenters | None = None

    def __init__(
        self,
        location: str | os.PathLike[str],
        split: Split,
        *,
        values: Values = "normalized",
        size_policy: SizePolicy = "resize",
        frame_sizes: Sequence[int] = (224,),
        predictions: Predictions | None = None,
    ) -> None:
        self.location = Path(location)
        self.split = split
        self.values = values
        self.size_policy = size_policy
        self.frame_sizes = tuple(frame_sizes)
        self.predictions = predictions
        self._store = open_store(self.location)
        self._state: str | None = None
        short = Counter(spellings(image_id)[-1] for image_id in split.image_ids)
        self._shared = {name for name, images in short.items() if images > 1}

    def _names_of(self, image_id: str) -> tuple[str, ...]:
        """Names under which this image's map may be stored: not one that another image could claim as well."""
        own, *others = spellings(image_id)
        return (own, *(name for name in others if name not in self._shared))

    def describe(self) -> dict[str, Any]:
        if self._state is None:
            self._state = self._digest()
        return {
            "kind": "files",
            "state": self._state,
            "values": self.values,
            "size_policy": self.size_policy,
            "frames": ["resize"],
            # absent where it is the published one: records of earlier versions stay valid
            **({} if self.frame_sizes == (224,) else {"frame_sizes": list(self.frame_sizes)}),
            **({"predictions_sha256": self.predictions.sha256} if self.predictions else {}),
        }

    def _digest(self) -> str:
        """SHA-256 over the sizes and times of the images' maps: changed, new or removed ones give another."""
        digest = hashlib.sha256()
        for image_id in self.split.image_ids:
            stamps = (self._store.stamp(name) for name in self._names_of(image_id))
            digest.update(repr(next((s for s in stamps if s is not None), None)).encode())
        return digest.hexdigest()

    def unusable(self, normalization: str, frame: str) -> str | None:
        if frame != "resize":
            return f"score maps from files show the whole image, and this protocol needs the '{frame}' frame"
        if self.values == "normalized" and not NORMALIZATIONS[normalization].affine_invariant:
            return (
                f"'{normalization}' normalisation needs raw maps, and these are taken as already normalised to [0, 1] "
                "(say --map-values raw if they are not)"
            )
        return None

    def missing_and_surplus(self) -> tuple[list[str], list[str]]:
        """Image ids without a map, and map names that belong to no image of the split."""
        names = set(self._store.names())
        missing: list[str] = []
        used: set[str] = set()
        for image_id in self.split.image_ids:
            name = next((s for s in self._names_of(image_id) if s in names), None)
            if name is None:
                missing.append(image_id)
            else:
                used.add(name)
        return missing, sorted(names - used)

    def batches(self, rows: npt.NDArray[np.int64], batch_size: int = 64) -> Iterator[RawBatch]:
        if BLOCK % batch_size:
            raise ValueError(f"batch_size must divide {BLOCK}")
        for start in range(0, len(rows), batch_size):
            some = rows[start : start + batch_size]
            maps: list[npt.NDArray[np.floating] | None] = []
            status = np.zeros(len(some), np.uint8)
            for i, row in enumerate(some):
                m, found = self._map(self.split.image_ids[int(row)])
                maps.append(m)
                status[i] = int(found)
            found_ranks = (
                self.predictions.ranks(self.split, some) if self.predictions else unpredicted(len(some))
            )
            yield RawBatch(some, {"resize": maps}, status, *found_ranks)

    def require_fit(self) -> None:
        """Refuse maps of which nearly none can be scored, with what was expected and what was found.

        Raises `UserError` where under a tenth of the images have a map, or under a tenth of some of those can be used.
        """
        missing, surplus = self.missing_and_surplus()
        total = len(self.split)
        if total and total - len(missing) < _ENOUGH * total:
            own = self._names_of(missing[0])
            expected = " or ".join(f"'{name}'" for name in own)
            found = f"found some such as '{surplus[0]}'" if surplus else "and nothing else is there"
            raise UserError(
                f"'{self.location}' holds a score map for {total - len(missing)} of {total} images: expected names "
                f"like {expected}, {found}; name maps by image id, and check --split and --dataset"
            )
        absent = set(missing)
        there = [image_id for image_id in self.split.image_ids if image_id not in absent]
        picked = np.unique(np.linspace(0, len(there) - 1, min(_SAMPLED, len(there))).astype(np.int64))
        bad: list[tuple[MapStatus, str]] = []
        for i in picked:
            _, status, reason = self._read(there[int(i)])
            if status in (MapStatus.UNREADABLE, MapStatus.OUT_OF_RANGE):
                bad.append((status, f"that of '{there[int(i)]}' {reason}"))
        if bad and len(picked) - len(bad) < _ENOUGH * len(picked):
            status, example = bad[0]
            way = (
                "say --map-values raw if they are raw activations" if status == MapStatus.OUT_OF_RANGE else ""
            )
            raise UserError(
                f"'{self.location}': {len(bad)} of {len(picked)} maps looked at cannot be scored; {example}"
                f"{'; ' + way if way else ''}"
            )

    def _map(self, image_id: str) -> tuple[npt.NDArray[np.floating] | None, MapStatus]:
        m, status, _ = self._read(image_id)
        if m is not None and (m.shape[0] != m.shape[1] or m.shape[0] not in self.frame_sizes):
            if self.size_policy == "refuse":
                expected = " or ".join(f"{side}x{side}" for side in self.frame_sizes)
                raise UserError(
                    f"{self.location}: the map of '{image_id}' has size {m.shape[1]}x{m.shape[0]}, expected "
                    f"{expected}; --map-size resize would resize it"
                )
            status |= MapStatus.RESIZED
        return m, status

    def _read(self, image_id: str) -> tuple[npt.NDArray[np.floating] | None, MapStatus, str]:
        """A map as it is to be scored, or None; its status, and why it cannot be scored."""
        try:
            found = (self._store.read(name) for name in self._names_of(image_id))
            m = next((m for m in found if m is not None), None)
        except UnreadableMapError as error:
            return None, MapStatus.UNREADABLE, f"cannot be read: {error}"
        if m is None:
            return None, MapStatus.MISSING, "is missing"
        m = _squeezed(m)
        if m.ndim != 2 or m.dtype.kind not in "bfiu" or m.size == 0:
            shape = "x".join(map(str, m.shape))
            return (
                None,
                MapStatus.UNREADABLE,
                f"is {shape or 'a single value'} of {m.dtype}, expected height x width",
            )
        if self.values == "normalized" and m.dtype in (np.uint8, np.uint16):
            m = m / float(np.iinfo(m.dtype).max)
        elif m.dtype.kind == "b":
            m = m.astype(np.float64)
        if not np.isfinite(m).all():
            return None, MapStatus.NAN, "holds NaN or infinity"
        if self.values == "normalized":
            low, high = float(m.min()), float(m.max())
            if low < -_OVERSHOOT or high > 1 + _OVERSHOOT:
                return None, MapStatus.OUT_OF_RANGE, f"has values from {low:g} to {high:g}, expected [0, 1]"
            if low < 0 or high > 1:
                return np.clip(m, 0, 1), MapStatus.CLIPPED, ""
        return m, MapStatus.OK, ""


def _squeezed(m: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """[1, h, w], [1, 1, h, w] and [h, w, 1] as [h, w]."""
    while m.ndim > 2 and m.shape[0] == 1:
        m = m[0]
    while m.ndim > 2 and m.shape[-1] == 1:
        m = m[..., 0]
    return m
