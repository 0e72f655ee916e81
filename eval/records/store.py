"""Per-image records on disk: what was measured for each image, kept so that any threshold, protocol, interval or
comparison is re-aggregated without another forward pass.

A store is a folder: `index.json` (what was scored, by which recipe) and one `.npz` per block of 512 images, each
written by rename, so that a killed run leaves whole blocks only and continues with the missing ones. Arrays hold no
pickles.

Arrays of a block (n images; CH stands for a channel such as `resize224-minmax`):
    index int64 [n]                    position in the split
    label, predicted int32 [n]         predicted is -1 where nothing predicts
    top1, top5 int8 [n]                1, 0, or -1 where nothing predicts
    FRAME.predicted, .top1, .top5      the same of another view than the whole image, where it was classified
    num_boxes int32 [n]                ground-truth boxes; 0 means the image cannot be scored on boxes
    CH.largest_any, CH.all_any         float32 [n, 256]: best IoU at every level, over all ground-truth boxes
    CH.largest_first, CH.all_first     the same over the first box; absent where no image of the block has several
    CH.largest_box int16 [n, 256, 4]   the box of the largest contour at every level
    CH.max_level uint8 [n]             the map's largest 8-bit value
    CH.status uint8 [n]                eval.maps.normalization.MapStatus
    CH.hist_object, CH.hist_background int32 [n, bins]   score histograms inside and outside the mask, bins of 0.001;
                                       with bins of another step CH.hist_object_STEP and so on
    energy_object float32 [n], energy_parts float32 [n, P]   shares of the map's positive energy, NaN if undefined
    FORMULA_REGION, center_gaussian.FORMULA_REGION, area_REGION, dilated_area_REGION, disc_area_REGION float32 [n]
                                       measures without a threshold (eval.records.measures) of the map and of the centre
                                       Gaussian, REGION box or mask, and the region's share of the image: as it is,
                                       grown by the tolerance, and of the disc of the tolerance around a pixel
    part_value float32 [n, P]          the map's value on each part over its mean on the object, NaN if undefined

float32 holds an IoU a/b closely enough that comparing it with float32(threshold) agrees with the exact comparison
for thresholds that are multiples of 0.05 and unions under 400,000 pixels: a/b differs from k/20 by at least 1/(20 b).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from eval.boxes.frames import Frame
from eval.maps.blocks import BLOCK, block_path
from eval.protocols import Channel
from eval.records.block import RecordBlock
from wsol.errors import UserError
from wsol.files.arrays import DAMAGE, SealedArrays, intact, sealed_bytes
from wsol.files.atomic_write import write_durably
from wsol.files.seal import sealed, unsealed
from wsol.files.strict_json import read_json
from wsol.files.typed import check_types
from wsol.wrapping import tell

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

SCHEMA = 1
LEVELS = 256


_SHAPE = {
    "dataset": str,
    "split": str,
    "split_hash": str,
    "num_images": int,
    "channels": [str],
    "masks": bool,
    "part_names": [str],
    "maps": dict,
    "measures": [str],
}


@dataclass(frozen=True)
class RecordIndex:
    """What a store holds. Two stores with equal `fingerprint()` may be continued or merged."""

    dataset: str
    split: str
    split_hash: str
    num_images: int
    channels: tuple[str, ...]
    masks: bool
    part_names: tuple[str, ...]
    maps: dict[str, Any] = field(default_factory=dict)
    """Where the score maps came from: checkpoint hash, recipe, folder, or control."""
    measures: tuple[str, ...] = ()
    """What is recorded beside boxes: mask histograms, energy, values on parts. Empty in records of earlier versions."""

    @property
    def num_blocks(self) -> int:
        return -(-self.num_images // BLOCK)

    def block_range(self, block: int) -> range:
        """Positions of the split that a block holds."""
        return range(block * BLOCK, min((block + 1) * BLOCK, self.num_images))

    @property
    def block_sizes(self) -> list[int]:
        """Images of each block."""
        return [len(self.block_range(b)) for b in range(self.num_blocks)]

    def frame(self, channel: Channel) -> Frame:
        """The frame that a kind of score map was scored in. Where nothing states the network's input size (records of
        earlier versions, maps as files) a crop is that of an input of the frame's own size."""
        return Frame.of_channel(channel, self.maps.get("input_size"))

    def holds(self, channel: Channel) -> bool:
        """Whether the store has records of this kind of score map."""
        return str(channel) in self.channels

    def fingerprint(self) -> str:
        """SHA-256 over everything above; every block says it, so that another evaluation's block is not read."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


class Records(Protocol):
    """Records that can be read block by block: from disk, in memory, or computed."""

    @property
    def index(self) -> RecordIndex: ...

    def blocks(self) -> Iterator[RecordBlock]:
        """All blocks in order, one in memory at a time."""
        ...


class RecordsWithin:
    """Records of which only some images, `inside` [N], are scored on boxes."""

    def __init__(self, records: Records, inside: npt.NDArray[np.bool_]) -> None:
        self.index = records.index
        self._records, self._inside = records, inside

    def blocks(self) -> Iterator[RecordBlock]:
        for b, block in enumerate(self._records.blocks()):
            rows = self.index.block_range(b)
            yield block.scored_within(self._inside[rows.start : rows.stop])


class MemoryRecords:
    """Records of all images in memory: arrays as a block holds them, whole."""

    def __init__(self, index: RecordIndex, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        self.index = index
        self._arrays = arrays

    def blocks(self) -> Iterator[RecordBlock]:
        for b in range(self.index.num_blocks):
            rows = self.index.block_range(b)
            yield RecordBlock({name: a[rows.start : rows.stop] for name, a in self._arrays.items()})


class RecordStore:
    """A folder of records; `create` starts or continues one, `open` reads a finished one."""

    def __init__(self, folder: Path, index: RecordIndex) -> None:
        self.folder = folder
        self.index = index

    @classmethod
    def create(cls, folder: str | os.PathLike[str], index: RecordIndex) -> RecordStore:
        """Start a store, or continue one with the same fingerprint. Another one's blocks are discarded: they were
        measured on other maps, and mixing them would be a wrong number."""
        path = Path(folder)
        path.mkdir(parents=True, exist_ok=True)
        store = cls(path, index)
        text = json.dumps(sealed({"schema": SCHEMA, **asdict(index)}), indent=1)
        head = path / "index.json"
        try:
            there = cls._read_index(head)
            if there.fingerprint() == index.fingerprint():
                return store
            tell(f"note: {path}: made anew, for the records there are of {_other(there, index)}")
        except UserError as error:
            if head.exists():
                tell(f"note: made anew: {error}")
        for block in path.glob("block-*.npz"):
            block.unlink()  # before the index: the one after a kill here sees that they are another one's
        write_durably(head, text)
        return store

    @classmethod
    def open(cls, folder: str | os.PathLike[str]) -> RecordStore:
        """Open a finished store; an unfinished one is a `UserError` saying how much is missing."""
        path = Path(folder)
        store = cls(path, cls._read_index(path / "index.json"))
        there = sum(1 for _ in path.glob("block-*.npz"))  # counted first: an index may announce millions
        missing = store.index.num_blocks - there
        if missing > 0 or (missing := len(store.missing_blocks())):
            raise UserError(
                f"'{path}': {missing} of {store.index.num_blocks} blocks of records are missing or damaged; run "
                "eval.localize again, it continues where it stopped"
            )
        return store

    @classmethod
    def finished(cls, folder: str | os.PathLike[str], index: RecordIndex) -> bool:
        """Whether a folder holds every block of just these records."""
        try:
            return cls.open(folder).index.fingerprint() == index.fingerprint()
        except UserError:
            return False

    @staticmethod
    def _read_index(head: Path) -> RecordIndex:
        again = "run eval.localize again"
        try:
            data = read_json(head)
        except FileNotFoundError as error:
            raise UserError(f"no records at '{head.parent}'; run eval.localize first") from error
        except OSError as error:
            raise UserError(f"'{head}' cannot be read: {error.strerror}; {again}") from error
        data = check_types(data, {"schema": int}, f"'{head}'", again)
        if data["schema"] != SCHEMA:
            raise UserError(f"'{head}': another schema than {SCHEMA}; {again}")
        data = unsealed(data, f"'{head}'", again)
        del data["schema"]
        data.setdefault("measures", [])
        check_types(data, _SHAPE, f"'{head}'", again)
        lists = {k: tuple(data[k]) for k in ("channels", "part_names", "measures")}
        try:
            return RecordIndex(**{**data, **lists})
        except TypeError as error:
            raise UserError(f"'{head}' is damaged ({error}); {again}") from error

    def path(self, block: int) -> Path:
        return block_path(self.folder, block)

    def missing_blocks(self) -> list[int]:
        """Blocks that are not there, or whose bytes are damaged."""
        made_by = self.index.fingerprint()
        return [b for b in range(self.index.num_blocks) if not intact(self.path(b), made_by)]

    def write(self, block: int, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Write one whole block."""
        expected = len(self.index.block_range(block))
        for name, array in arrays.items():
            if len(array) != expected:
                raise ValueError(f"block {block}: '{name}' has {len(array)} rows, expected {expected}")
        write_durably(self.path(block), sealed_bytes(arrays, self.index.fingerprint()))

    def read(self, block: int) -> StoredBlock:
        """One block; arrays are decompressed when asked for."""
        return StoredBlock(self.path(block), self.index.fingerprint())

    def blocks(self) -> Iterator[RecordBlock]:
        for block in range(self.index.num_blocks):
            with self.read(block) as held:
                yield held


class StoredBlock(RecordBlock):
    """A block on disk, usable as a context manager that closes its file."""

    def __init__(self, path: Path, made_by: str) -> None:
        try:
            self._file = SealedArrays(path, made_by)
        except DAMAGE as error:
            raise UserError(
                f"'{path}' is no block of these records ({error}); run eval.localize again"
            ) from error
        super().__init__(self._file)

    def __enter__(self) -> StoredBlock:
        return self

    def __exit__(self, *exc: object) -> None:
        self._file.close()


def _other(there: RecordIndex, here: RecordIndex) -> str:
    """In what two stores differ, by name."""
    a, b = asdict(there), asdict(here)
    odd = [k for k in a if k != "maps" and a[k] != b[k]]
    odd += [k for k in {**a["maps"], **b["maps"]} if a["maps"].get(k) != b["maps"].get(k)]
    return f"another {', '.join(odd)}"
