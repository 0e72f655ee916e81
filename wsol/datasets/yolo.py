"""YOLO's layout: one text file an image, `class x_center y_center width height` in shares of the image.

    images/{train,val,test}/*.jpg  labels/{train,val,test}/*.txt     or {train,valid,test}/{images,labels}/*
    data.yaml                                                        `names`: a list, or number to name

A line with more than five numbers is a polygon; its bounding box counts. An image without a text file, or with an
empty one, shows no object. Without folders train, val, test every image is one of train and test is missing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wsol.datasets.boxes import BoxRules
from wsol.datasets.detections import (
    AnnotatedImage,
    DetectedObject,
    Policy,
    manifest_of_splits,
    split_of_images,
)
from wsol.datasets.folder import SPLIT_NAMES
from wsol.datasets.options import Detections
from wsol.datasets.recognise import single_top_folder, unknown_layout
from wsol.datasets.text_fields import at_line, numbered_lines, read_text, to_float, to_int
from wsol.errors import UserError
from wsol.files.roots import FileRoot, open_root
from wsol.files.strict_yaml import load_yaml
from wsol.images import IMAGE_SUFFIXES
from wsol.manifest import Manifest, Split

CARDS = ("data.yaml", "dataset.yaml", "data.yml")
LISTS = ("classes.txt", "obj.names", "labels/classes.txt")


def parse_labels(text: str, where: str) -> tuple[DetectedObject, ...]:
    """One text file; every defect is a `UserError` naming file and line.

    >>> parse_labels("2 0.5 0.5 0.2 0.4\\n", "a.txt")[0].box
    (0.4, 0.3, 0.6, 0.7)
    """
    objects = []
    for number, line in numbered_lines(text):
        with at_line(where, number):
            key, *cells = line.split()
            label = to_int(key, "class")
            values = [to_float(c, "coordinate") for c in cells]
            if label < 0 or (len(values) != 4 and (len(values) < 6 or len(values) % 2)):
                raise ValueError(
                    f"expected 'class x_center y_center width height' or a polygon, got {line!r:.80}"
                )
            if len(values) == 4:
                x, y, w, h = values
                if min(w, h) < 0:
                    raise ValueError(f"box {line!r:.80} has a negative size")
                box = (x - w / 2, y - h / 2, x + w / 2, y + h / 2)
            else:
                xs, ys = values[::2], values[1::2]
                box = (min(xs), min(ys), max(xs), max(ys))
            rounded = (round(v, 9) for v in box)
            objects.append(DetectedObject(str(label), tuple(rounded)))  # type: ignore[arg-type]
    return tuple(objects)


def class_names(root: FileRoot) -> dict[str, str]:
    """Names by number as text, from data.yaml or a list of names; empty where the source has neither."""
    for name in CARDS:
        if root.exists(name):
            card = load_yaml(read_text(root, name), f"{root.location}/{name}")
            names: Any = card.get("names") if isinstance(card, dict) else None
            pairs = (
                names.items()
                if isinstance(names, Mapping)
                else enumerate(names)
                if isinstance(names, list)
                else None
            )
            if pairs is None:
                raise UserError(
                    f"{root.location}/{name}: 'names' must be a list or a mapping, got {names!r:.60}"
                )
            return {str(k): str(v) for k, v in pairs}
    for name in LISTS:
        if root.exists(name):
            lines = [line.strip() for _, line in numbered_lines(read_text(root, name))]
            return {str(k): v for k, v in enumerate(lines)}
    return {}


def label_file(image: str) -> str:
    """Where the boxes of an image stand: beside it, with `images` in its path exchanged for `labels`.

    >>> label_file("train/images/a.b.jpg"), label_file("images/val/1.png"), label_file("1.png")
    ('train/labels/a.b.txt', 'labels/val/1.txt', '1.txt')
    """
    stem = image.rpartition(".")[0]
    *before, file = stem.split("/")
    if "images" in before:  # the innermost one
        at = len(before) - 1 - before[::-1].index("images")
        before[at] = "labels"
    return "/".join([*before, f"{file}.txt"])


def split_of(path: str) -> str | None:
    """The role that the folders of a path say, or None.

    >>> split_of("images/train/1.jpg"), split_of("valid/images/1.jpg"), split_of("images/1.jpg")
    ('train-weaksup', 'train-fullsup', None)
    """
    folders = path.lower().split("/")[:-1]
    return next((SPLIT_NAMES[f] for f in folders if f in SPLIT_NAMES), None)


def read_yolo(
    root: FileRoot,
    *,
    several_classes: Policy = "skip",
    holdout_per_class: int = 10,
    seed: int = 0,
    rules: BoxRules | None = None,
) -> Manifest:
    """Read a YOLO folder or zip. Labels follow the ascending class numbers that occur."""
    root = single_top_folder(root, *CARDS)
    rules = BoxRules("shares", 1.0, (rules or BoxRules()).clip)
    paths = sorted(n for n in root.names() if n.lower().endswith(IMAGE_SUFFIXES) and not _hidden(n))
    if not any(root.exists(label_file(p)) for p in paths):
        raise unknown_layout(root, "YOLO's layout", "a text file of boxes (labels/...) for any image")
    by_role: dict[str, list[AnnotatedImage]] = {}
    for path in paths:
        labels = label_file(path)
        where = f"{root.location}/{labels}"
        objects = parse_labels(read_text(root, labels), where) if root.exists(labels) else ()
        role = split_of(path) or "train-weaksup"
        by_role.setdefault(role, []).append(AnnotatedImage(path, path, objects, where=where))
    names = class_names(root)
    used = sorted({o.class_key for rows in by_role.values() for i in rows for o in i.objects}, key=int)
    if names and (lost := next((k for k in used if k not in names), None)):
        raise UserError(f"'{root.location}': class {lost} has no name; {len(names)} names are given")
    label_of = {key: k for k, key in enumerate(used)}
    splits: dict[str, Split] = {}
    notes: list[str] = []
    for role, rows in by_role.items():
        splits[role], made = split_of_images(rows, label_of, several_classes, rules, root)
        notes.extend(made.notes(role, several_classes))
    unused = [v for k, v in names.items() if k not in label_of]
    if unused:
        notes.append(f"{len(unused)} classes have no box anywhere and are left out: {', '.join(unused[:3])}")
    return manifest_of_splits(
        "yolo",
        splits,
        [names.get(key, f"class {key}") for key in used],
        root.location,
        notes,
        holdout_per_class=holdout_per_class,
        seed=seed,
    )


def _hidden(path: str) -> bool:
    return any(p.startswith(".") or p == "__MACOSX" for p in path.split("/"))


@dataclass(frozen=True)
class Yolo(Detections):
    """YOLO's text files: class, centre and size in shares of the image, or polygons."""

    def read(self, source: Path) -> Manifest:
        return read_yolo(
            open_root(source),
            several_classes=self.several_classes,
            holdout_per_class=self.holdout,
            seed=self.seed,
            rules=self.rules,
        )
