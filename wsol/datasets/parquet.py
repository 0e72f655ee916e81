"""Parquet files as Hugging Face's hub distributes image datasets: unpacked once to class folders,
then read like any others.

    *train-*.parquet, *validation-*.parquet, *test-*.parquet      (the split is the first word of the name that is one)
    image     struct of `bytes` and `path`, or the bytes
    label     a whole number (names in the file's `huggingface` metadata) or a text
    bbox      four numbers, or a list of four numbers (optional)

Needs pyarrow (`pip install 'wsol-eval[parquet]'`). Nothing in a Parquet file is executed.
"""

from __future__ import annotations

import csv
import dataclasses
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from wsol.datasets.folder import SPLIT_NAMES, read_folder
from wsol.datasets.image_names import clean_name
from wsol.datasets.options import Unpacked, progress_bars
from wsol.errors import UserError
from wsol.files.archives import Progress
from wsol.files.regular import read_text
from wsol.files.roots import open_root
from wsol.files.strict_json import load_json
from wsol.manifest import Corners, Manifest

LABELS = ("label", "labels", "fine_label", "class", "class_name")
BOXES = ("bbox", "bboxes", "box", "boxes")
_BATCH = 64
_MARKER = ".unpacked-from"
_FOLDER_OF = {"train-weaksup": "train", "train-fullsup": "val", "test": "test"}
_LEFT_OUT = "left-out.txt"
BoxOrder = Literal["xywh", "xyxy"]


@dataclass(frozen=True)
class ParquetRow:
    """One image: its split's name, its encoded bytes, the name and class that the file gives it,
    and its boxes as written."""

    split: str
    data: bytes
    name: str
    label: str | None
    boxes: list[list[float]]


Place = Callable[[ParquetRow], str | None]
"""The folder of an image below the unpacked one, or None for an image that is left out."""


def left_out(folder: Path) -> tuple[str, ...]:
    """What the manifest says of the images that were not unpacked."""
    file = folder / _LEFT_OUT
    return tuple(read_text(file).splitlines()) if file.is_file() else ()


def parquet_files(source: Path) -> list[Path]:
    """The Parquet files of a folder and of those in it, or the file itself; empty where there are none."""
    if source.is_file():
        return [source] if source.suffix == ".parquet" else []
    # not every folder below: an ImageNet in class folders has a million files
    return sorted([*source.glob("*.parquet"), *source.glob("*/*.parquet")])


def split_name(file: Path) -> str:
    """The split that a file's name says, 'train' where it says none.

    >>> split_name(Path("data/validation-00000-of-00014.parquet")), split_name(Path("0000.parquet"))
    ('validation', 'train')
    """
    words = re.split(r"[^a-z]+", f"{file.parent.name}/{file.stem}".lower())
    return next((w for w in reversed(words) if w in SPLIT_NAMES), "train")


def read_rows(file: Path) -> Iterator[ParquetRow]:
    """The rows of one file, in order; defects are a `UserError` naming the file and the row."""
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise UserError("Parquet files need pyarrow: pip install 'wsol-eval[parquet]'") from error

    number = 0
    try:
        with parquet.ParquetFile(file) as opened:
            names = opened.schema_arrow.names
            label = next((n for n in LABELS if n in names), None)
            box = next((n for n in BOXES if n in names), None)
            if "image" not in names:
                raise UserError(f"{file}: no column 'image'; the columns are {', '.join(names)}")
            classes = _class_names(opened.schema_arrow.metadata or {}, label)
            columns = [n for n in ("image", label, box) if n is not None]
            for batch in opened.iter_batches(batch_size=_BATCH, columns=columns):
                for entry in batch.to_pylist():
                    number += 1
                    yield _row(entry, file, number, label, box, classes)
    except (pyarrow.ArrowException, OSError, ValueError, TypeError) as error:
        raise UserError(
            f"{file}: row {number + 1} cannot be read ({error}); download the file again"
        ) from error


def _row(
    entry: dict[str, Any], file: Path, number: int, label: str | None, box: str | None, classes: list[str]
) -> ParquetRow:
    image = entry["image"]
    data, path = (image.get("bytes"), image.get("path")) if isinstance(image, dict) else (image, None)
    if not isinstance(data, bytes):
        raise UserError(
            f"{file}: row {number} holds no image bytes; only files with embedded images are read"
        )
    value = entry.get(label) if label is not None else None
    if not isinstance(value, int | str | None):
        raise UserError(f"{file}: row {number}: '{label}' must be a number or a text, got {value!r:.60}")
    if isinstance(value, int) and classes:
        value = classes[value] if 0 <= value < len(classes) else None
    boxes = entry.get(box) if box is not None else None
    boxes = (
        boxes
        if isinstance(boxes, list) and boxes and isinstance(boxes[0], list)
        else [boxes]
        if boxes
        else []
    )
    if not all(
        isinstance(b, list) and len(b) == 4 and all(isinstance(v, int | float) for v in b) for b in boxes
    ):
        raise UserError(f"{file}: row {number}: '{box}' must hold four numbers a box, got {boxes!r:.60}")
    name = (
        clean_name(path if isinstance(path, str) else "").rpartition("/")[2]
        or f"{file.stem}_{number:07d}{_ending(data)}"
    )
    return ParquetRow(split_name(file), data, name, None if value is None else str(value), boxes)


def _class_names(metadata: dict[bytes, bytes], label: str | None) -> list[str]:
    """The names of a ClassLabel column, from the description that Hugging Face's `datasets` writes into its files."""
    try:
        text = metadata.get(b"huggingface", b"{}").decode()
        names = load_json(text, "huggingface")["info"]["features"][label]["names"]
    except (UserError, ValueError, KeyError, TypeError):
        return []
    return [str(n) for n in names] if isinstance(names, list) else []


def _ending(data: bytes) -> str:
    return ".png" if data.startswith(b"\x89PNG") else ".jpg"


def unpack_parquet(
    files: list[Path], into: Path, order: BoxOrder = "xywh", progress: Progress | None = None
) -> Path:
    """Unpack files to `into/<split>/<class>/<image>` with a boxes.csv; `into` appears complete or not at all.

    A folder that the same files were unpacked to before is taken as it is. Images without a class are counted in
    `into/left-out.txt`.
    """

    def place(row: ParquetRow) -> str | None:
        return None if row.label is None else f"{_FOLDER_OF[SPLIT_NAMES[row.split]]}/{_as_folder(row.label)}"

    return _unpack(files, into, place, order, progress)


def unpack_imagenet(source: Path, into: Path, progress: Progress | None = None) -> Path | None:
    """Unpack ImageNet's Parquet files to `into/{train,val}/<wnid>/`; None where the source holds none.

    Classes come from the wnid that the names end with. Kaggle's tables beside the files are copied.
    """
    files = parquet_files(source)
    if not files:
        return None

    def place(row: ParquetRow) -> str | None:
        found = re.search(r"_(n\d{8})\.[A-Za-z]+$", row.name)
        if found is None or row.split == "test":
            return None
        return f"{'train' if SPLIT_NAMES[row.split] == 'train-weaksup' else 'val'}/{found[1]}"

    _unpack(files, into, place, "xywh", progress)
    for table in (source if source.is_dir() else source.parent).glob("LOC_*"):
        shutil.copyfile(table, into / table.name)
    return into


def _unpack(files: list[Path], into: Path, place: Place, order: BoxOrder, progress: Progress | None) -> Path:
    stamp = "".join(f"{f.name} {f.stat().st_size}\n" for f in files)
    if into.exists():
        marker = into / _MARKER
        if marker.is_file() and marker.read_text(encoding="utf-8", errors="replace") == stamp:
            return into
        if any(into.iterdir()):
            raise UserError(
                f"'{into}' holds something else than '{files[0].name}'; choose another --unpack-to"
            )
        into.rmdir()
    into.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f".{into.name}.unpacking-", dir=into.parent))
    try:
        scratch.chmod(0o755)
        without_class = _write_rows(files, scratch, place, order, progress)
        if without_class:
            lines = "".join(
                f"{count} images of '{split}' have no class and were left out\n"
                for split, count in without_class.items()
            )
            (scratch / _LEFT_OUT).write_text(lines, encoding="utf-8")
        (scratch / _MARKER).write_text(stamp, encoding="utf-8")
        scratch.replace(into)
    except BaseException:
        shutil.rmtree(scratch, ignore_errors=True)
        raise
    return into


def _write_rows(
    files: list[Path], folder: Path, place: Place, order: BoxOrder, progress: Progress | None
) -> Counter[str]:
    without_class: Counter[str] = Counter()
    written = 0
    with (folder / "boxes.csv").open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream, lineterminator="\n")
        table.writerow(
            ["image", "x", "y", "width", "height"] if order == "xywh" else ["image", "x0", "y0", "x1", "y1"]
        )
        for done, file in enumerate(files):
            for row in read_rows(file):
                below = place(row)
                if below is None:
                    without_class[row.split] += 1
                    continue
                target = folder / below / row.name
                target.parent.mkdir(parents=True, exist_ok=True)
                if target.exists():
                    target = target.with_name(f"{target.stem}_{written:07d}{target.suffix}")
                target.write_bytes(row.data)
                written += 1
                table.writerows([target.relative_to(folder).as_posix(), *box] for box in row.boxes)
            if progress is not None:
                progress("unpacking Parquet files", done + 1, len(files))
    if not written:
        raise UserError(
            f"'{files[0]}': no image has a class (columns {', '.join(LABELS)}, or for ImageNet a wnid at the end "
            "of its name)"
        )
    return without_class


def _as_folder(label: str) -> str:
    """A class name as one folder name.

    >>> _as_folder("001.Black/white ")
    '001.Black_white'
    """
    return re.sub(r'[/\\:*?"<>|\x00-\x1f]', "_", label).strip(" .") or "_"


@dataclass(frozen=True)
class Parquet(Unpacked):
    """Hugging Face's Parquet files of images with a label, and perhaps a box (needs pyarrow)."""

    # --- this layout
    box_order: BoxOrder = "xywh"
    """What the four numbers of a box are: corner and size, or two corners."""
    corners: Corners = "half-open"
    """With --box-order xyxy: whether x1, y1 is one past the last pixel (half-open) or the last
    pixel itself (inclusive)."""
    holdout: int = 5
    """Boxed training images a class that become train-fullsup where there is no validation split."""
    seed: int = 0
    """Seed of the hold-out."""

    def read(self, source: Path) -> Manifest:
        files = parquet_files(source)
        if not files:
            raise UserError(f"'{source}' holds no .parquet file")
        name = self.out.name if self.out else "parquet"
        with progress_bars() as progress:
            folder = unpack_parquet(files, self.unpack_folder(name), self.box_order, progress)
        manifest = read_folder(
            open_root(folder),
            (folder / "boxes.csv").read_bytes(),
            str(folder / "boxes.csv"),
            corners=self.corners,
            holdout_per_class=self.holdout,
            seed=self.seed,
            rules=self.rules,
            name=name,
        )
        return dataclasses.replace(manifest, notes=(*manifest.notes, *left_out(folder)))
