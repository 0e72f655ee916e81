"""The rows of a split as CSV text: one line an image. `wsol.manifest` says what the columns mean."""

from __future__ import annotations

import csv
import io
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from wsol.errors import UserError
from wsol.files.regular import open_regular
from wsol.files.roots import safe_relative
from wsol.split import Split

if TYPE_CHECKING:
    import numpy.typing as npt

COLUMNS = (
    "image_id",
    "path",
    "label",
    "width",
    "height",
    "boxes",
    "masks",
    "ignore_mask",
    "part_mask",
    "parts",
)
_REQUIRED = ("image_id", "label")


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def numbers(values: Iterable[float]) -> str:
    return " ".join(_number(v) for v in values)


def _csv_row(split: Split, i: int) -> list[str]:
    path = split.path(i)
    image_id = split.image_ids[i]
    w, h = split.sizes_wh[i].tolist()
    lo, hi = split.box_offsets[i : i + 2].tolist()
    masks = split.masks.get(i, ())
    parts = split.parts.get(i)
    row = [
        image_id,
        "" if path == image_id else path,
        str(int(split.labels[i])),
        str(w) if w else "",
        str(h) if h else "",
        "|".join(numbers(b) for b in split.boxes_xyxy[lo:hi].tolist()) if hi > lo else "",
        "|".join(masks),
        split.ignore_masks.get(i, ""),
        split.part_masks.get(i, ""),
        "|".join(numbers(p) for p in parts.tolist()) if parts is not None else "",
    ]
    for text in (image_id, path, *row[6:9]):
        # What the reader would refuse must never be written.
        if text and not (text.isprintable() or _is_one_line(text)):
            raise UserError(
                f"{text!r} of image {image_id!r} holds a control character or is not UTF-8: rename the file"
            )
        if text and not safe_relative(text):
            raise UserError(f"{text!r} of image '{image_id}' is not a relative path with '/' between folders")
    if not image_id or any("|" in m for m in masks):
        raise UserError(f"image '{image_id}': an empty id, or a mask path with '|', cannot be written")
    return row


def _is_one_line(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return not any(c < " " or c == "\x7f" for c in text)


class _LineSink:
    """The smallest file csv.writer accepts: hands each line on instead of keeping it."""

    line = ""

    def write(self, text: str) -> int:
        self.line = text
        return len(text)


def csv_lines(split: Split) -> Iterator[str]:
    """The file's lines, header first; a row that could not be read back is a `UserError`."""
    sink = _LineSink()
    writer = csv.writer(cast(Any, sink), lineterminator="\n")
    writer.writerow(COLUMNS)
    yield sink.line
    for i in range(len(split)):
        writer.writerow(_csv_row(split, i))
        yield sink.line


def read_rows(file: Path, num_parts: int) -> Split:
    """Read one split's file; every defect of a row is a `UserError` naming the file and the line."""
    ids: list[str] = []
    paths: list[str] = []
    differ = False
    # Flat arrays, not tuples: a million rows stay small, and a number too large fails on its own line.
    labels, sizes, flat = array("i"), array("i"), array("d")
    offsets = array("q", [0])
    masks: dict[int, tuple[str, ...]] = {}
    ignore: dict[int, str] = {}
    part_masks: dict[int, str] = {}
    parts: dict[int, npt.NDArray[np.float64]] = {}
    line = 1
    try:
        with io.TextIOWrapper(open_regular(file), encoding="utf-8", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            header = next(reader, None) or []
            at = _columns(header)
            width = len(header)
            whole = header == list(COLUMNS)
            for row in reader:
                line += 1
                if len(row) != width:
                    raise ValueError(f"expected {width} fields, got {len(row)}")
                if not whole:
                    row = [row[k] if k >= 0 else "" for k in at]
                image_id, path, label, w, h, boxes, mask, ignore_mask, part_mask, part = row
                _check_path(image_id)
                ids.append(image_id)
                if path and path != image_id:
                    _check_path(path)
                    differ = True
                    paths.append(path)
                else:
                    paths.append(image_id)
                labels.append(int(label))
                if w or h:
                    if not (w and h):
                        raise ValueError("width and height must both be given or both be empty")
                    sizes.append(int(w))
                    sizes.append(int(h))
                    if min(sizes[-2:]) <= 0:
                        raise ValueError(f"image size {w}x{h} is not positive")
                else:
                    sizes.append(0)
                    sizes.append(0)
                if boxes:
                    for box in boxes.split("|"):
                        values = box.split(" ")
                        if len(values) != 4:
                            raise ValueError(f"a box needs 4 numbers x0 y0 x1 y1, got {box!r:.60}")
                        flat.extend(map(float, values))
                offsets.append(len(flat) // 4)
                if mask or ignore_mask or part_mask or part:
                    i = len(ids) - 1
                    if mask:
                        masks[i] = tuple(mask.split("|"))
                        for piece in masks[i]:
                            _check_path(piece)
                    if ignore_mask:
                        _check_path(ignore_mask)
                        ignore[i] = ignore_mask
                    if part_mask:
                        _check_path(part_mask)
                        part_masks[i] = part_mask
                    if part:
                        parts[i] = _parse_parts(part, num_parts)
    except FileNotFoundError as error:
        raise UserError(
            f"'{file}' is listed in manifest.yaml but missing; prepare the dataset again"
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not UTF-8 text ({error.reason}, after line {line})") from error
    except csv.Error as error:  # raised by the row after the last whole one
        raise UserError(f"{file}:{line + 1}: {error}") from error
    except (ValueError, OverflowError) as error:
        raise UserError(f"{file}:{line}: {error}") from error
    return Split(
        ids,
        np.array(labels, np.int32),
        paths=paths if differ else None,
        sizes_wh=np.array(sizes, np.int32).reshape(-1, 2),
        boxes_xyxy=np.array(flat, np.float64).reshape(-1, 4),
        box_offsets=np.array(offsets, np.int64),
        masks=masks,
        ignore_masks=ignore,
        part_masks=part_masks,
        parts=parts,
    )


def _columns(header: list[str]) -> list[int]:
    if any(c not in header for c in _REQUIRED):
        raise ValueError(
            f"expected a header with at least {', '.join(_REQUIRED)}, got {', '.join(header)!r:.80}"
        )
    if len(set(header)) != len(header) or any(c not in COLUMNS for c in header):
        raise ValueError(f"columns must be some of {', '.join(COLUMNS)}; got {', '.join(header)!r:.80}")
    return [header.index(c) if c in header else -1 for c in COLUMNS]


def _check_path(path: str) -> None:
    if not safe_relative(path):
        raise ValueError(f"path {path!r:.80} is empty or leaves the dataset's root")
    if "\n" in path or "\r" in path:
        raise ValueError(f"path {path!r:.80} holds a line break")


def _parse_parts(text: str, count: int) -> npt.NDArray[np.float64]:
    points = [[float(v) for v in p.split(" ")] for p in text.split("|")]
    if len(points) != count or any(len(p) != 3 for p in points):
        raise ValueError(f"expected {count} parts of 'x y visible', got {text!r:.60}")
    found = np.array(points, np.float64).reshape(-1, 3)
    if not np.isfinite(found).all():
        raise ValueError(f"parts must be finite numbers, got {text!r:.60}")
    return found
