"""Tiny ImageNet as Stanford's CS231n distributes it: 64x64 JPEGs, one box an image; the zip or its folder.

    wnids.txt                              class ids, one a line
    words.txt                              `wnid<TAB>names`
    train/<wnid>/<wnid>_boxes.txt          `file<TAB>x0<TAB>y0<TAB>x1<TAB>y1`
    train/<wnid>/images/<file>
    val/val_annotations.txt                `file<TAB>wnid<TAB>x0<TAB>y0<TAB>x1<TAB>y1`
    val/images/<file>
    test/images/                           no labels, not used

Corners are inclusive (0..63). The annotated val images become `test`. There is no third split, so
train-fullsup is a seeded hold-out of training images, taken out of train-weaksup.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from wsol.datasets.holdout import hold_out
from wsol.datasets.text_fields import at_line, numbered_lines, read_text, split_fields, to_box
from wsol.errors import UserError
from wsol.images import FileRoot
from wsol.manifest import Manifest, Split

Box = tuple[float, float, float, float]
SIDE = 64
"""Width and height of every image, by the dataset's definition; the audit compares them with the files."""


@dataclass(frozen=True)
class ValRow:
    """One line of val_annotations.txt."""

    file: str
    wnid: str
    box_xyxy: Box


def parse_boxes(text: str, where: str) -> dict[str, Box]:
    """`<wnid>_boxes.txt`: box of each file, in file order."""
    found: dict[str, Box] = {}
    for number, line in numbered_lines(text):
        with at_line(where, number):
            file, *box = split_fields(line, 5, "\t", "file<TAB>x0<TAB>y0<TAB>x1<TAB>y1")
            if file in found:
                raise ValueError(f"file '{file}' is listed twice")
            found[file] = _box(box)
    return found


def parse_val_annotations(text: str, where: str) -> list[ValRow]:
    """val_annotations.txt, in file order."""
    rows: list[ValRow] = []
    seen: set[str] = set()
    for number, line in numbered_lines(text):
        with at_line(where, number):
            file, wnid, *box = split_fields(line, 6, "\t", "file<TAB>wnid<TAB>x0<TAB>y0<TAB>x1<TAB>y1")
            if file in seen:
                raise ValueError(f"file '{file}' is listed twice")
            seen.add(file)
            rows.append(ValRow(file, wnid, _box(box)))
    return rows


def _box(fields: list[str]) -> Box:
    box = to_box(fields)
    if max(box) > SIDE:
        raise ValueError(f"box {' '.join(fields)!r} leaves its image of {SIDE}x{SIDE}")
    return box


def parse_words(text: str, where: str) -> dict[str, str]:
    """words.txt: the names of each wnid."""
    words: dict[str, str] = {}
    for number, line in numbered_lines(text):
        with at_line(where, number):
            wnid, names = split_fields(line, 2, "\t", "wnid<TAB>names")
            words[wnid.strip()] = names.strip()
    return words


def find_root(root: FileRoot) -> FileRoot:
    """The folder that holds wnids.txt: the given one, or the single folder inside it."""
    if root.exists("wnids.txt"):
        return root
    inner = sorted({name.split("/", 1)[0] for name in root.names() if name.endswith("/wnids.txt")})
    for folder in inner:
        if root.exists(f"{folder}/wnids.txt"):
            return root.subfolder(folder)
    raise UserError(
        f"'{root.location}' does not look like Tiny ImageNet: wnids.txt is missing there and one folder "
        f"further down"
    )


def read_tiny_imagenet(
    root: FileRoot, *, num_classes: int | None = None, holdout_per_class: int = 25, seed: int = 0
) -> Manifest:
    """Read Tiny ImageNet. A subset of the classes is fine: `wnids.txt` names those present.

    Labels follow the sorted wnids; `num_classes` keeps the first so many. Image ids are the paths. The box
    files say which images there are; the audit compares them with the files.
    """
    root = find_root(root)
    wnids = sorted({line.strip() for _, line in numbered_lines(read_text(root, "wnids.txt"))})
    if not wnids:
        raise UserError(f"{root.location}/wnids.txt is empty; expected one wnid a line")
    if num_classes is not None:
        if not 1 <= num_classes <= len(wnids):
            raise UserError(f"--classes {num_classes}: '{root.location}' holds {len(wnids)} classes")
        wnids = wnids[:num_classes]
    words = parse_words(read_text(root, "words.txt"), "words.txt") if root.exists("words.txt") else {}
    ids: list[str] = []
    labels: list[int] = []
    boxes: list[Box] = []
    for label, wnid in enumerate(wnids):
        path = f"train/{wnid}/{wnid}_boxes.txt"
        known = parse_boxes(read_text(root, path), f"{root.location}/{path}")
        for file, box in known.items():
            ids.append(f"train/{wnid}/images/{file}")
            labels.append(label)
            boxes.append(box)
    train = _split(ids, labels, boxes)
    label_of = {wnid: k for k, wnid in enumerate(wnids)}
    val = parse_val_annotations(
        read_text(root, "val/val_annotations.txt"), f"{root.location}/val/val_annotations.txt"
    )
    val = [row for row in val if row.wnid in label_of]
    splits, notes = hold_out(train, wnids, holdout_per_class, seed)
    return Manifest(
        dataset="tiny-imagenet",
        classes=tuple(f"{w} {words[w]}" if w in words else w for w in wnids),
        splits={
            **splits,
            "test": _split(
                [f"val/images/{r.file}" for r in val],
                [label_of[r.wnid] for r in val],
                [r.box_xyxy for r in val],
            ),
        },
        root=root.location,
        corners="inclusive",
        notes=(
            *notes,
            "test is the dataset's annotated val split; its own test split has no labels",
        ),
    )


def _split(ids: list[str], labels: list[int], boxes: list[Box]) -> Split:
    return Split(
        ids,
        np.array(labels, np.int32),
        sizes_wh=np.full((len(ids), 2), SIDE, np.int32),
        boxes_xyxy=np.array(boxes, np.float64).reshape(-1, 4),
        box_offsets=np.arange(len(ids) + 1, dtype=np.int64),
    )
