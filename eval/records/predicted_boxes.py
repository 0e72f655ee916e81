"""Boxes as what is judged: COCO results JSON or a CSV, from any method, with or without scores and classes.

A box is in pixels of the stored image, with an exclusive end, and reaches the scored view as the box of a map that is 1
inside it would: truncated, its end at the last pixel at most. It has no threshold, so every rule for one gives the same
number. The rule `largest` takes an image's box of the highest score, `all` every box.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.boxes.frames import Frame, split_boxes
from eval.boxes.geometry import empty_prediction, inclusive_iou
from eval.maps.batch import unpredicted
from eval.maps.normalization import MapStatus
from eval.protocols import Channel
from eval.records.block import channel_array
from eval.records.judged import JudgedRecords, Work
from eval.records.store import LEVELS, RecordIndex, RecordStore
from wsol.datasets.tables import IMAGE_COLUMNS, column_name
from wsol.errors import UserError
from wsol.files.regular import read_text
from wsol.files.strict_json import load_json
from wsol.machine.distributed import wait_for_all
from wsol.manifest import split_hash

if TYPE_CHECKING:
    import numpy.typing as npt

    from eval.maps.source import MapSource
    from eval.records.wanted import Wanted
    from wsol.manifest import Manifest, Split

COLUMNS = ("image_id", "x0", "y0", "x1", "y1")


@dataclass(frozen=True)
class PredictedBox:
    """One box in pixels of the image, [x0, y0, x1, y1]; `label` is None where the file names no class."""

    xyxy: tuple[float, float, float, float]
    score: float
    label: int | None


def read_boxes(file: Path, classes: Sequence[str]) -> dict[str, list[PredictedBox]]:
    """Predicted boxes by image id, the highest score first.

    A CSV has the columns image_id (or another of `wsol.datasets.tables.IMAGE_COLUMNS`), x0, y0, x1, y1 (an exclusive
    end) and perhaps score (or probability) and class (a name, or its number from 0), as `eval.show --csv` writes.

    COCO results are a list of image_id or file_name, bbox (x, y, width, height), and perhaps score and category_id,
    which is the class's number from 1; in a file of `eval.export`, whose category_id is the true class,
    predicted_category_id is read instead. A .txt is the reference's localization.txt, `id,x0,y0,x1,y1`.

    Raises:
        UserError: a file that is neither, a box that is none, or a class that the dataset lacks, with its line.
    """
    text = read_text(file)
    readers = {".json": _coco_rows, ".txt": _localization_rows}
    rows = readers.get(file.suffix, _csv_rows)(text, file)
    found: dict[str, list[PredictedBox]] = {}
    numbers = {name: k for k, name in enumerate(classes)}
    for where, image_id, corners, score, said in rows:
        try:
            x0, y0, x1, y1, s = (float(v) for v in (*corners, score))
        except (TypeError, ValueError, OverflowError) as error:
            raise UserError(f"{where}: expected numbers, got {corners!r:.80}, score {score!r:.20}") from error
        if not np.isfinite([x0, y0, x1, y1, s]).all() or x1 < x0 or y1 < y0:
            raise UserError(
                f"{where}: {[x0, y0, x1, y1]} is not a box; expected x0 <= x1 and y0 <= y1 in pixels"
            )
        label = None if said is None else numbers.get(str(said), said if isinstance(said, int) else None)
        if said is not None and (label is None or not 0 <= label < len(classes)):
            raise UserError(f"{where}: class {said!r:.40} is none of the dataset's {len(classes)}")
        found.setdefault(image_id, []).append(PredictedBox((x0, y0, x1, y1), s, label))
    return {image_id: sorted(boxes, key=lambda b: -b.score) for image_id, boxes in found.items()}


Row = tuple[str, str, Sequence[Any], Any, Any]


def _csv_rows(text: str, file: Path) -> Iterator[Row]:
    reader = csv.DictReader(io.StringIO(text))
    try:
        names = list(reader.fieldnames or ())
        image = next(
            (n for c in ("imageid", *IMAGE_COLUMNS) for n in names if column_name(n) == c), COLUMNS[0]
        )
        missing = [c for c in (image, *COLUMNS[1:]) if c not in names]
        if missing:
            raise UserError(
                f"'{file}': column '{missing[0]}' is missing; expected {', '.join(COLUMNS)}, score, class"
            )
        methods: set[str] = set()
        for row in reader:
            methods |= {row.get("map_method") or ""}
            if len(methods) > 1:
                raise UserError(
                    f"{file}:{reader.line_num}: boxes of several map methods ({', '.join(sorted(methods))}); keep one"
                )
            if all(row[c] == "" for c in COLUMNS[1:]):
                continue  # an image without a box, as eval.show writes it
            said = row.get("class") or None
            named = int(said) if said is not None and said.isdecimal() and len(said) < 10 else said
            where = f"{file}:{reader.line_num}"
            score = row.get("score") or row.get("probability") or 1.0
            yield where, row[image] or "", [row[c] for c in COLUMNS[1:]], score, named
    except csv.Error as error:
        raise UserError(f"{file}:{reader.line_num + 1}: not readable as CSV: {error}") from error


def _localization_rows(text: str, file: Path) -> Iterator[Row]:
    for number, line in enumerate(text.splitlines(), 1):
        image_id, *corners = line.rsplit(",", 4)
        if line.strip():
            if len(corners) != 4:
                raise UserError(f"{file}:{number}: expected id,x0,y0,x1,y1, got {line!r:.60}")
            yield f"{file}:{number}", image_id, corners, 1.0, None


def _coco_rows(text: str, file: Path) -> Iterator[Row]:
    data = load_json(text, str(file))
    if not isinstance(data, list):
        raise UserError(f"'{file}': expected a list of COCO results, got {type(data).__name__}")
    exported = any(isinstance(entry, dict) and "predicted_category_id" in entry for entry in data)
    class_key = "predicted_category_id" if exported else "category_id"
    for number, entry in enumerate(data, 1):
        where = f"{file}: result {number}"
        box = entry.get("bbox") if isinstance(entry, dict) else None
        if not isinstance(box, list) or len(box) != 4 or not all(isinstance(v, (int, float)) for v in box):
            raise UserError(f"{where}: expected a mapping with bbox [x, y, width, height]")
        name = entry.get("file_name", entry.get("image_id"))
        if not isinstance(name, str):
            raise UserError(
                f"{where}: a number names no image here; give file_name, or an image id of the dataset"
            )
        category = entry.get(class_key)
        said = category - 1 if isinstance(category, int) else None
        x, y, w, h = box
        yield where, name, [x, y, x + w, y + h], entry.get("score", 1.0), said


@dataclass(frozen=True)
class JudgedBoxes:
    """Boxes of a file as what is judged."""

    manifest: Manifest
    file: Path
    boxes: Mapping[str, Sequence[PredictedBox]]
    """By image id, or by the image's path."""

    def _of(self, split: Split, row: int) -> Sequence[PredictedBox]:
        return self.boxes.get(split.image_ids[row]) or self.boxes.get(split.path(row)) or ()

    def covers(self, split: Split, role: str) -> bool:
        return all(self._of(split, row) for row in range(len(split)))

    def maps(self, split: Split, role: str, folder: Path, frame: Frame) -> MapSource | None:
        return None

    def records(self, split: Split, role: str, wanted: Wanted, work: Work) -> JudgedRecords:
        without = {c: _why_unusable(c) for c in wanted.channels}
        usable = [c for c in wanted.channels if without[c] is None]
        if not any(self._of(split, row) for row in range(len(split))):
            raise UserError(
                f"'{self.file}' has no box for any of the {len(split)} images of '{role}': expected image ids such as "
                f"'{split.image_ids[0]}', found such as '{next(iter(self.boxes), 'none')}'"
            )
        index = RecordIndex(
            self.manifest.dataset,
            role,
            split_hash(split),
            len(split),
            tuple(map(str, usable)),
            False,
            (),
            {
                "kind": "boxes",
                "file": str(self.file),
                "sha256": hashlib.sha256(self.file.read_bytes()).hexdigest(),
                "frames": ["resize"],
                "pixels": "boxes say nothing of single pixels",
                "not_computed": {str(c): reason for c, reason in without.items() if reason},
            },
        )
        folder = work.folder / "records" / role
        if work.world.first:
            if not RecordStore.finished(folder, index):
                work.discard_results()
            store = RecordStore.create(folder, index)
            for block in store.missing_blocks():
                store.write(block, self._arrays(split, np.asarray(index.block_range(block)), usable))
        wait_for_all(work.world)
        work.advance(len(split) // work.world.size)
        names = {*split.image_ids, *(split.path(row) for row in range(len(split)))}
        return JudgedRecords(RecordStore.open(folder), tuple(n for n in self.boxes if n not in names), True)

    def _arrays(
        self, split: Split, rows: npt.NDArray[np.int64], channels: Sequence[Channel]
    ) -> dict[str, npt.NDArray[Any]]:
        predicted = [self._of(split, row) for row in rows.tolist()]
        arrays: dict[str, npt.NDArray[Any]] = {
            "index": rows,
            "label": split.labels[rows],
            "num_boxes": np.diff(split.box_offsets)[rows].astype(np.int32),
            **dict(zip(("predicted", "top1", "top5"), self._ranks(predicted, split.labels[rows]))),
        }
        given = np.array([bool(boxes) for boxes in predicted])
        for c in channels:
            frame = Frame.of_channel(c)
            truth, offsets = split_boxes(split, rows, frame)
            iou = {f"{r}_{g}": np.zeros(len(rows)) for r in ("largest", "all") for g in ("any", "first")}
            first = np.zeros((len(rows), 4), np.int16)
            for i, row in enumerate(rows.tolist()):
                own = boxes_in_frame(predicted[i], split, row, frame)
                first[i] = own[0]
                true = truth[offsets[i] : offsets[i + 1]]
                if len(true):
                    pairs = inclusive_iou(own, true)
                    for rule, some in (("largest", pairs[:1]), ("all", pairs)):
                        iou[f"{rule}_any"][i], iou[f"{rule}_first"][i] = some.max(), some[:, 0].max()
            for name, values in iou.items():
                arrays[channel_array(c, name)] = np.repeat(values.astype(np.float32)[:, None], LEVELS, 1)
            arrays[channel_array(c, "largest_box")] = np.repeat(first[:, None], LEVELS, 1)
            arrays[channel_array(c, "max_level")] = np.full(len(rows), LEVELS - 1, np.uint8)
            arrays[channel_array(c, "status")] = np.where(given, 0, int(MapStatus.MISSING)).astype(np.uint8)
        return arrays

    def _ranks(
        self, predicted: Sequence[Sequence[PredictedBox]], labels: npt.NDArray[np.int32]
    ) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int8], npt.NDArray[np.int8]]:
        """Classes by their best box; nothing where the file names none."""
        if any(b.label is None for boxes in self.boxes.values() for b in boxes):
            return unpredicted(len(labels))
        ranked = [list(dict.fromkeys(int(b.label or 0) for b in boxes)) for boxes in predicted]
        best = np.array([r[0] if r else -1 for r in ranked], np.int32)
        top = [np.array([label in r[:k] for r, label in zip(ranked, labels)], np.int8) for k in (1, 5)]
        return best, top[0], top[1]


def _why_unusable(channel: Channel) -> str | None:
    if channel.frame != "resize" or channel.aligned:
        return "boxes are given in the whole image, and this protocol scores another view or drawing of a map"
    return None if channel.normalization == "minmax" else "boxes have no values to normalise"


def boxes_in_frame(
    boxes: Sequence[PredictedBox], split: Split, row: int, frame: Frame
) -> npt.NDArray[np.int64]:
    """An image's boxes in the frame [K, 4]; the one box of an empty map where it has none."""
    if not boxes:
        return empty_prediction()
    size = split.size_wh(row)
    if size is None:
        raise UserError(
            f"image '{split.image_ids[row]}': the manifest does not state its size, so its boxes cannot be scored"
        )
    corners = np.array([b.xyxy for b in boxes]) * frame.size / np.tile(np.array(size, np.float64), 2)
    return np.clip(np.trunc(corners), 0, frame.size - 1).astype(np.int64)
