"""CUB-200-2011 in Caltech's layout: the folder, or the .tgz that it comes in.

    images.txt                 `number path`                       paths under images/
    classes.txt                `number name`
    image_class_labels.txt     `number class`                      classes count from 1
    train_test_split.txt       `number is_training`                5,994 / 5,794
    bounding_boxes.txt         `number x y width height`
    parts/parts.txt            `number name`                       15 parts; may be absent
    parts/part_locs.txt        `number part x y visible`
    segmentations/<path>.png   a separate download; may be absent

Boxes become corners as the reference has them (PROTOCOLS section 1): x, y, min(x + width, W - 1), min(y +
height, H - 1). train-fullsup is CUBV2 (Choe et al., CVPR 2020), whose boxes come with the reference metadata;
without it, a seeded hold-out of training images stands in, and the manifest says so.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from wsol.datasets.holdout import hold_out
from wsol.datasets.split_builder import Box, SplitBuilder, seen_from_above
from wsol.datasets.text_fields import at_line, numbered_lines, read_text, split_fields, to_float, to_int
from wsol.datasets.wsol_metadata import read_wsol_metadata
from wsol.errors import UserError
from wsol.images import FileRoot, image_size_wh
from wsol.manifest import Manifest, Split

T = TypeVar("T")
TABLES = ("images.txt", "classes.txt", "image_class_labels.txt", "train_test_split.txt", "bounding_boxes.txt")


@dataclass(frozen=True)
class CubTables:
    """The text files, by image number. `parts` is [P, 3] (x, y, visible) or missing where the files are."""

    paths: Mapping[int, str]
    classes: tuple[str, ...]
    labels: Mapping[int, int]
    training: Mapping[int, bool]
    boxes_xywh: Mapping[int, Box]
    part_names: tuple[str, ...] = ()
    parts: Mapping[int, np.ndarray] | None = None


def parse_numbered(text: str, where: str, form: str) -> dict[int, str]:
    """`number rest-of-line` with numbers that rise from 1 without gaps."""
    found: dict[int, str] = {}
    for line_number, line in numbered_lines(text):
        with at_line(where, line_number):
            number, _, rest = line.partition(" ")
            if to_int(number, "number") != len(found) + 1 or not rest.strip():
                raise ValueError(f"expected '{len(found) + 1} ...' ({form}), got {line!r:.80}")
            found[len(found) + 1] = rest.strip()
    return found


def parse_tables(texts: Mapping[str, str], where: Callable[[str], str]) -> CubTables:
    """All text files at once; each defect is a `UserError` naming file and line."""
    paths = parse_numbered(texts["images.txt"], where("images.txt"), "number path")
    classes = tuple(parse_numbered(texts["classes.txt"], where("classes.txt"), "number name").values())
    if len(set(paths.values())) != len(paths):
        raise UserError(f"{where('images.txt')}: a path is listed twice")

    def table(file: str, form: str, parse: Callable[[list[str]], T]) -> dict[int, T]:
        return _parse_table(texts[file], where(file), form, paths, parse)

    labels = table("image_class_labels.txt", "number class", lambda f: _label(f[0], len(classes)))
    training = table("train_test_split.txt", "number is_training", lambda f: _flag(f[0]))
    boxes = table("bounding_boxes.txt", "number x y width height", _xywh)
    if "parts/parts.txt" not in texts or "parts/part_locs.txt" not in texts:
        return CubTables(paths, classes, labels, training, boxes)
    names = parse_numbered(texts["parts/parts.txt"], where("parts/parts.txt"), "number name")
    parts = {number: np.zeros((len(names), 3)) for number in paths}
    for line_number, line in numbered_lines(texts["parts/part_locs.txt"]):
        with at_line(where("parts/part_locs.txt"), line_number):
            image, part, x, y, visible = split_fields(line, 5, None, "number part x y visible")
            row = parts.get(to_int(image, "number"))
            k = to_int(part, "part")
            if row is None or not 1 <= k <= len(names):
                raise ValueError(f"image {image} or part {part} is not listed")
            row[k - 1] = to_float(x, "x"), to_float(y, "y"), to_int(visible, "visible")
    return CubTables(paths, classes, labels, training, boxes, tuple(names.values()), parts)


def _parse_table(
    text: str, where: str, form: str, paths: Mapping[int, str], parse: Callable[[list[str]], T]
) -> dict[int, T]:
    found: dict[int, T] = {}
    for line_number, line in numbered_lines(text):
        with at_line(where, line_number):
            number_text, *fields = split_fields(line, len(form.split()), None, form)
            number = to_int(number_text, "number")
            if number not in paths or number in found:
                raise ValueError(
                    f"image {number} is {'listed twice' if number in found else 'not in images.txt'}"
                )
            found[number] = parse(fields)
    if len(found) != len(paths):
        lost = next(n for n in paths if n not in found)
        raise UserError(f"{where}: image {lost} ('{paths[lost]}') has no line")
    return found


def _label(text: str, count: int) -> int:
    label = to_int(text, "class")
    if not 1 <= label <= count:
        raise ValueError(f"class {label} is not in 1..{count}")
    return label - 1


def _flag(text: str) -> bool:
    if text not in ("0", "1"):
        raise ValueError(f"is_training must be 0 or 1, got {text!r:.20}")
    return text == "1"


def _xywh(fields: list[str]) -> Box:
    x, y, w, h = (to_float(f, f"box {n}") for n, f in zip(("x", "y", "width", "height"), fields))
    if min(x, y, w, h) < 0:
        raise ValueError(f"box '{' '.join(fields)}' (x y width height) has a negative number")
    return x, y, w, h


def corners_from_xywh(box_xywh: Box, size_wh: tuple[int, int]) -> Box:
    """The reference's corners of a CUB box in its image.

    >>> corners_from_xywh((60, 27, 325, 304), (500, 335))
    (60, 27, 385, 331)
    >>> corners_from_xywh((60, 27, 440, 304), (500, 331))
    (60, 27, 499, 330)
    """
    x, y, w, h = box_xywh
    return x, y, min(x + w, size_wh[0] - 1), min(y + h, size_wh[1] - 1)


# --- read ---------------------------------------------------------------------------------------------------


def find_root(root: FileRoot) -> FileRoot:
    """The folder that holds images.txt and bounding_boxes.txt: the given one, or CUB_200_2011 inside it."""
    for candidate in (root, root.subfolder("CUB_200_2011")):
        if all(candidate.exists(name) for name in TABLES):
            return candidate
    missing = [name for name in TABLES if not root.exists(name)]
    raise UserError(
        f"'{root.location}' does not look like CUB-200-2011: {', '.join(missing)} missing, there and in a "
        f"folder "
        "CUB_200_2011 inside"
    )


def read_cub(
    root: FileRoot,
    *,
    cubv2: Cubv2 | None = None,
    holdout_per_class: int = 5,
    seed: int = 0,
) -> Manifest:
    """Read CUB-200-2011; image ids are the paths under images/, as in the reference metadata.

    Image sizes are read from the files, since corners depend on them. Without `cubv2` train-fullsup is a
    seeded hold-out of training images.
    """
    root = find_root(root)
    names = [*TABLES, *(n for n in ("parts/parts.txt", "parts/part_locs.txt") if root.exists(n))]
    tables = parse_tables({n: read_text(root, n) for n in names}, lambda n: f"{root.location}/{n}")
    segmented = frozenset(
        root.names_in({f"segmentations/{p.rpartition('/')[0]}" for p in tables.paths.values()})
    )
    train, test = SplitBuilder(), SplitBuilder()
    for number, path in tables.paths.items():
        size = image_size_wh(root.read_bytes(f"images/{path}"), path)
        mask = f"segmentations/{path.rpartition('.')[0]}.png"
        (train if tables.training[number] else test).add(
            path,
            tables.labels[number],
            path=f"images/{path}",
            size_wh=size,
            boxes_xyxy=[corners_from_xywh(tables.boxes_xywh[number], size)],
            masks=[mask] if mask in segmented else [],
            parts=None if tables.parts is None else tables.parts[number],
            where=f"{root.location}/bounding_boxes.txt:{number}",
        )
    location = root.location

    def below(folder: FileRoot) -> str:
        return folder.location[len(location) :].strip("/")

    if cubv2 is None:
        splits, notes = hold_out(train.build(), tables.classes, holdout_per_class, seed)
    else:
        location = os.path.commonpath([root.location, cubv2.root.location])
        if not (Path(root.location).is_dir() and Path(cubv2.root.location).is_dir()):
            raise UserError(
                f"'{root.location}' and '{cubv2.root.location}' must both be folders; unpack the archive"
            )
        full = seen_from_above(cubv2.read(tables.classes), below(cubv2.root))
        splits = {"train-weaksup": seen_from_above(train.build(), below(root)), "train-fullsup": full}
        notes = ("train-fullsup is CUBV2, with the reference metadata's boxes",)
    return Manifest(
        dataset="cub200",
        classes=tables.classes,
        splits={**splits, "test": seen_from_above(test.build(), below(root))},
        root=location,
        part_names=tables.part_names,
        corners="inclusive",
        notes=notes,
    )


@dataclass(frozen=True)
class Cubv2:
    """CUBV2's images (class folders) and the reference metadata that holds their labels, sizes and boxes."""

    root: FileRoot
    metadata: FileRoot

    def read(self, classes: tuple[str, ...]) -> Split:
        """The metadata's val split; its class order must be CUB's."""
        reference = read_wsol_metadata(
            self.metadata, dataset_folder=None if self.metadata.exists("val/image_ids.txt") else "CUB"
        )
        split = reference.split("train-fullsup")
        for label in np.unique(split.labels).tolist():
            if label >= len(classes) or reference.classes[label] != classes[label]:
                raise UserError(
                    f"'{self.metadata.location}': label {label} is '{reference.classes[label]}', but not so "
                    f"in "
                    "CUB's classes.txt; this is not CUB's metadata"
                )
        return split
