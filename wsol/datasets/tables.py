"""Tables of images and boxes as tools write them: delimiters, spellings of columns, forms of boxes.

A header's cells are compared without case, spaces, underscores and a leading `bbox`: `XMin`, `x_min` and
`bbox_xmin` are one column. A corner of one spelling goes with the other corner, or the size, of another
(`Xmin;Ymin;Width;Height`), where no further column holds a position. Commas, semicolons, tabs and bars
separate; where they are semicolons or tabs, a comma may be the decimal sign.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from wsol.datasets.boxes import Box
from wsol.datasets.text_fields import to_float
from wsol.errors import UserError

IMAGE_COLUMNS = (
    *("image", "imageid", "imagename", "path", "imagepath", "file", "filename", "filepath", "img"),
    *("imgname", "imagefile"),
)
CLASS_COLUMNS = ("class", "label", "classname", "labelname", "category", "species")
SPLIT_COLUMNS = ("split", "subset")
CORNER_COLUMNS = (
    ("x0", "y0", "x1", "y1"),
    ("x1", "y1", "x2", "y2"),
    ("xmin", "ymin", "xmax", "ymax"),
    ("left", "top", "right", "bottom"),
)
SIZE_COLUMNS = (
    ("x", "y", "width", "height"),
    ("x", "y", "w", "h"),
    ("left", "top", "width", "height"),
)
CENTRE_COLUMNS = (
    ("xcenter", "ycenter", "width", "height"),
    ("centerx", "centery", "width", "height"),
    ("cx", "cy", "width", "height"),
    ("xc", "yc", "w", "h"),
    ("cx", "cy", "w", "h"),
)
_BOX_NAMES = frozenset(c for form in (*CORNER_COLUMNS, *SIZE_COLUMNS, *CENTRE_COLUMNS) for c in form)
_POSITIONS = _BOX_NAMES - {"width", "height", "w", "h"}
_STARTS = tuple(form[:2] for form in (*CORNER_COLUMNS, ("x", "y")))
_ENDS = tuple(form[2:] for form in CORNER_COLUMNS if form[2:] != ("x1", "y1"))
_SIZES = (("width", "height"), ("w", "h"))
_HEADERLESS = ("image", "x1", "y1", "x2", "y2", "class")
"""keras-retinanet's CSV, which has no header."""


@dataclass(frozen=True)
class BoxForm:
    """Which columns hold a box, and what they mean: corners, corner and size, or centre and size."""

    columns: tuple[str, ...]
    kind: str

    def box(self, cells: Sequence[str]) -> Box:
        """Four cells as corners. Raises ValueError for anything but finite numbers and sizes of 0 or more."""
        a, b, c, d = (to_float(cell, f"box {name}") for cell, name in zip(cells, self.columns))
        if self.kind == "corners":
            return a, b, c, d
        if min(c, d) < 0:
            raise ValueError(f"box '{' '.join(cells)}' ({' '.join(self.columns)}) has a negative size")
        if self.kind == "centre":
            a, b = a - c / 2, b - d / 2
        return a, b, a + c, b + d


@dataclass(frozen=True)
class BoxTable:
    """A table with at least an image column; `rows` are its cells by line number. `form` is
    None where it has no box."""

    header: tuple[str, ...]
    rows: tuple[tuple[int, tuple[str, ...]], ...]
    image: int
    form: BoxForm | None
    label: int | None
    split: int | None

    def boxes(self, row: Sequence[str]) -> list[Box]:
        """The box of a row, or none where its cells are empty."""
        if self.form is None:
            return []
        cells = [row[self.header.index(c)] for c in self.form.columns]
        return [self.form.box(cells)] if any(cells) else []


def read_box_table(text: str, where: str, *, boxes_needed: bool = True) -> BoxTable:
    """Read a table; every defect is a `UserError` naming file and line."""
    line = 1
    try:
        lines = _rows(text, where)
        line, first = next(lines, (1, ()))
        header = tuple(column_name(c) for c in first)
        rows: list[tuple[int, tuple[str, ...]]] = []
        if _is_headerless(first):
            header, rows = _HEADERLESS, [(line, first)]
        form = _box_form(header)
        image = next((header.index(c) for c in IMAGE_COLUMNS if c in header), None)
        if image is None or (boxes_needed and form is None) or len(set(header)) != len(header):
            raise ValueError(
                f"expected a header with an image column ({', '.join(IMAGE_COLUMNS)}) and box columns "
                f"({' or '.join(','.join(f) for f in (*CORNER_COLUMNS, *SIZE_COLUMNS, *CENTRE_COLUMNS))}), "
                f"got {','.join(first)!r:.80}"
            )
        for line, row in lines:
            if len(row) != len(header):
                raise ValueError(f"expected {len(header)} fields, got {len(row)}")
            rows.append((line, row))
    except ValueError as error:
        raise UserError(f"{where}:{line}: {error}") from error
    label = next((header.index(c) for c in CLASS_COLUMNS if c in header), None)
    split = next((header.index(c) for c in SPLIT_COLUMNS if c in header), None)
    return BoxTable(header, tuple(rows), image, form, label, split)


def column_name(cell: str) -> str:
    """The spelling that columns are compared in.

    >>> [column_name(c) for c in ("XMin", " bbox_x1", "Image Name", "box", "bbox-height")]
    ['xmin', 'x1', 'imagename', 'box', 'height']
    """
    name = re.sub(r"[^a-z0-9]", "", cell.lower())
    for prefix in ("bbox", "box"):
        if name.removeprefix(prefix) in _BOX_NAMES:
            return name.removeprefix(prefix)
    return name


def _box_form(header: Sequence[str]) -> BoxForm | None:
    for kind, forms in (("corners", CORNER_COLUMNS), ("centre", CENTRE_COLUMNS), ("size", SIZE_COLUMNS)):
        for columns in forms:
            if all(c in header for c in columns):
                return BoxForm(columns, kind)
    for kind, seconds in (("corners", _ENDS), ("size", _SIZES)):
        for columns in (first + second for first in _STARTS for second in seconds):
            if all(c in header for c in columns) and _POSITIONS.intersection(header) <= set(columns):
                return BoxForm(columns, kind)
    return None


def _is_headerless(row: Sequence[str]) -> bool:
    return len(row) == len(_HEADERLESS) and all(re.fullmatch(r"-?\d+(\.\d*)?|", c) for c in row[1:5])


def _rows(text: str, where: str) -> Iterator[tuple[int, tuple[str, ...]]]:
    """(line number, cells) of every row that is not blank."""
    head = re.sub(r'"[^"]*"', "", text[:10_000].lstrip("\r\n").split("\n", 1)[0])
    separator = max(",;\t|", key=head.count)
    decimal_comma = separator in ";\t"
    reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=separator)
    while True:
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise UserError(f"{where}:{max(reader.line_num, 1)}: {error}") from error
        if row is None:
            return
        cells = [c.strip() for c in row]
        if decimal_comma:
            cells = [c.replace(",", ".") if re.fullmatch(r"-?\d+,\d+", c) else c for c in cells]
        if any(cells):
            yield reader.line_num, tuple(cells)
