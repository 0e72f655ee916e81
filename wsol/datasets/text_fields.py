"""Text files of datasets, line by line, with errors that name the file and the line."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence

from wsol.errors import UserError
from wsol.files.roots import FileRoot


def read_text(root: FileRoot, path: str) -> str:
    """A UTF-8 text file of a dataset; `UserError` names it when it is missing or not text."""
    data = root.read_bytes(path)
    return decode_text(data, f"{root.location}/{path}")


def decode_text(data: bytes, where: str) -> str:
    """UTF-8 text (a byte-order mark is dropped; UTF-16 needs one, as spreadsheets write it); otherwise a `UserError`
    naming the line that breaks it."""
    try:
        text = data.decode("utf-16" if data.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UserError(
            f"{where}:{line}: not UTF-8 text (byte {data[error.start]:#04x}); save it again as UTF-8"
        ) from error
    if "\0" in text:
        raise UserError(
            f"{where}:{text[: text.index(chr(0))].count(chr(10)) + 1}: holds a zero byte; not a text file"
        )
    return text


def numbered_lines(text: str) -> Iterator[tuple[int, str]]:
    """(line number, content) of every line that is not blank. Only newlines end a line, as editors count them."""
    for number, line in enumerate(text.split("\n"), 1):
        line = line.rstrip("\r")
        if line.strip():
            yield number, line


@contextlib.contextmanager
def at_line(where: str, line: int) -> Iterator[None]:
    """Turn a parser's ValueError into a `UserError` that names file and line."""
    try:
        yield
    except (ValueError, OverflowError) as error:
        raise UserError(f"{where}:{line}: {error}") from error


def split_fields(line: str, count: int, separator: str | None, form: str) -> list[str]:
    """Exactly `count` fields, or a ValueError that shows the expected form."""
    fields = line.split(separator)
    if len(fields) != count:
        raise ValueError(f"expected {count} fields '{form}', got {len(fields)}: {line!r:.80}")
    return fields


def to_int(text: str, what: str) -> int:
    """A plain decimal integer of sane size; `ValueError` otherwise (no underscores, no fractions)."""
    stripped = text.strip()
    digits = stripped[1:] if stripped[:1] == "-" else stripped
    if not (digits.isascii() and digits.isdigit()) or len(digits) > 12:
        raise ValueError(f"{what} must be an integer, got {text!r:.40}")
    return int(stripped)


def to_float(text: str, what: str) -> float:
    """A finite decimal number; `ValueError` otherwise."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value) or "_" in text:
        raise ValueError(f"{what} must be a finite number, got {text!r:.40}")
    return value


def to_box(fields: Sequence[str], order: str = "x0 y0 x1 y1") -> tuple[float, float, float, float]:
    """Four finite numbers as corners, with x0 <= x1 and y0 <= y1; `ValueError` otherwise. Whether they lie inside
    their image is for `wsol.datasets.boxes` to say."""
    if len(fields) != 4:
        raise ValueError(f"a box needs 4 numbers '{order}', got {len(fields)}")
    x0, y0, x1, y1 = (to_float(f, f"box coordinate {name}") for f, name in zip(fields, order.split()))
    if x0 > x1 or y0 > y1:
        raise ValueError(f"box {' '.join(fields)!r} is not x0 <= x1, y0 <= y1 (order {order})")
    return x0, y0, x1, y1
