"""OpenImages' own CSV of boxes (V4 to V7), in shares of the image.

    {train,validation,test}/*.jpg                       images, called <ImageID>.jpg
    *{train,validation,test}*-annotations-bbox.csv      ImageID, LabelName, XMin, XMax, YMin, YMax, IsGroupOf, ...
    *class-descriptions*.csv                            `/m/01g317,Person`; may be absent

Boxes marked IsGroupOf cover several objects and are no boxes. Only images that are there are read, so that a part of
the dataset is fine; rows of other images are counted.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass
from pathlib import Path

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
from wsol.datasets.recognise import unknown_layout
from wsol.datasets.tables import BoxTable, read_box_table
from wsol.datasets.text_fields import at_line, read_text
from wsol.errors import UserError
from wsol.files.roots import FileRoot, open_root
from wsol.images import IMAGE_SUFFIXES
from wsol.manifest import Manifest, Split

ROLES = {"train": "train-weaksup", "validation": "train-fullsup", "test": "test"}


def read_descriptions(root: FileRoot) -> dict[str, str]:
    """Display names by LabelName; empty where there is no such file."""
    found: dict[str, str] = {}
    for name in root.names():
        if "class-descriptions" in name.rpartition("/")[2] and name.endswith(".csv"):
            rows = csv.reader(io.StringIO(read_text(root, name), newline=""))
            found |= {row[0]: row[1] for row in rows if len(row) == 2 and row[0] != "LabelName"}
    return found


@dataclass
class _Boxes:
    """The rows of one file by image id, and what was not read."""

    objects: dict[str, list[DetectedObject]]
    lines: dict[str, int]
    groups: int = 0
    elsewhere: int = 0


def _read_boxes(table: BoxTable, where: str, images: frozenset[str]) -> _Boxes:
    found = _Boxes({}, {})
    group = table.header.index("isgroupof") if "isgroupof" in table.header else None
    if table.label is None:
        raise UserError(f"{where}:1: expected a column LabelName, got {','.join(table.header)!r:.80}")
    for line, row in table.rows:
        image = row[table.image]
        if image not in images:
            found.elsewhere += 1
            continue
        objects = found.objects.setdefault(image, [])
        found.lines.setdefault(image, line)
        if group is not None and row[group] == "1":
            found.groups += 1
            continue
        with at_line(where, line):
            objects.extend(DetectedObject(row[table.label], box) for box in table.boxes(row))
    return found


def read_openimages_csv(
    root: FileRoot,
    *,
    several_classes: Policy = "skip",
    holdout_per_class: int = 10,
    seed: int = 0,
    rules: BoxRules | None = None,
) -> Manifest:
    """Read OpenImages' boxes. Labels follow the sorted LabelNames that occur."""
    rules = BoxRules("shares", 1.0, (rules or BoxRules()).clip)
    every = list(root.names())
    tables = sorted(n for n in every if n.endswith("-annotations-bbox.csv"))
    if not tables:
        raise unknown_layout(root, "OpenImages' boxes", "a file ...-annotations-bbox.csv")
    by_role: dict[str, list[AnnotatedImage]] = {}
    notes: list[str] = []
    for name in tables:
        split = next((s for s in ROLES if s in name.rpartition("/")[2]), "train")
        files = {
            n.rpartition("/")[2].rpartition(".")[0]: n
            for n in every
            if n.lower().endswith(IMAGE_SUFFIXES)
            and SPLIT_NAMES.get(n.split("/", 1)[0].lower()) == ROLES[split]
        }
        where = f"{root.location}/{name}"
        found = _read_boxes(read_box_table(read_text(root, name), where), where, frozenset(files))
        if not found.objects:
            raise UserError(
                f"{where}: no row names an image of the folder '{split}' (rows: {found.elsewhere}, images: "
                f"{len(files)})"
            )
        by_role[ROLES[split]] = [
            AnnotatedImage(
                i, files[i], tuple(found.objects.get(i, ())), where=f"{where}:{found.lines.get(i, 1)}"
            )
            for i in sorted(files)
        ]
        if found.elsewhere:
            notes.append(f"{split}: {found.elsewhere} rows are of images that are not there")
        if found.groups:
            notes.append(f"{split}: {found.groups} boxes of groups (IsGroupOf) are no boxes here")
    used = sorted({o.class_key for rows in by_role.values() for i in rows for o in i.objects})
    label_of = {key: k for k, key in enumerate(used)}
    splits: dict[str, Split] = {}
    for role, rows in by_role.items():
        splits[role], made = split_of_images(rows, label_of, several_classes, rules, root)
        notes.extend(made.notes(role, several_classes))
    names = read_descriptions(root)
    return manifest_of_splits(
        "openimages-csv",
        splits,
        [f"{key} {names[key]}" if key in names else key for key in used],
        root.location,
        notes,
        holdout_per_class=holdout_per_class,
        seed=seed,
    )


@dataclass(frozen=True)
class OpenImagesCsv(Detections):
    """OpenImages' own boxes: ...-annotations-bbox.csv beside folders train, validation, test of images."""

    def read(self, source: Path) -> Manifest:
        return read_openimages_csv(
            open_root(source),
            several_classes=self.several_classes,
            holdout_per_class=self.holdout,
            seed=self.seed,
            rules=self.rules,
        )
