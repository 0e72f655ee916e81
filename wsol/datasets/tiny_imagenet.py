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

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from wsol.datasets.boxes import Box, BoxRules
from wsol.datasets.holdout import hold_out
from wsol.datasets.options import Common, Optional
from wsol.datasets.recognise import unknown_layout
from wsol.datasets.split_builder import SplitBuilder
from wsol.datasets.text_fields import at_line, numbered_lines, read_text, split_fields, to_box
from wsol.errors import UserError
from wsol.files.roots import FileRoot, open_root
from wsol.manifest import Manifest

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
            found[file] = to_box(box)
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
            rows.append(ValRow(file, wnid, to_box(box)))
    return rows


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
    raise unknown_layout(root, "Tiny ImageNet", "wnids.txt (there, or one folder further down)")


def read_tiny_imagenet(
    root: FileRoot,
    *,
    num_classes: int | None = None,
    holdout_per_class: int = 25,
    seed: int = 0,
    rules: BoxRules | None = None,
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
    words = (
        parse_words(read_text(root, "words.txt"), f"{root.location}/words.txt")
        if root.exists("words.txt")
        else {}
    )
    rules = rules or BoxRules()
    train = SplitBuilder(rules)
    for label, wnid in enumerate(wnids):
        path = f"train/{wnid}/{wnid}_boxes.txt"
        known = parse_boxes(read_text(root, path), f"{root.location}/{path}")
        rows = ((f"train/{wnid}/images/{file}", label, box) for file, box in known.items())
        _add(train, rows, f"{root.location}/{path}")
    label_of = {wnid: k for k, wnid in enumerate(wnids)}
    val = parse_val_annotations(
        read_text(root, "val/val_annotations.txt"), f"{root.location}/val/val_annotations.txt"
    )
    test = SplitBuilder(rules)
    rows = ((f"val/images/{r.file}", label_of[r.wnid], r.box_xyxy) for r in val if r.wnid in label_of)
    _add(test, rows, f"{root.location}/val/val_annotations.txt")
    splits, notes = hold_out(train.build(), wnids, holdout_per_class, seed)
    return Manifest(
        dataset="tiny-imagenet",
        classes=tuple(f"{w} {words[w]}" if w in words else w for w in wnids),
        splits={**splits, "test": test.build()},
        root=root.location,
        corners="inclusive",
        notes=(
            *train.notes("train"),
            *test.notes("val"),
            *notes,
            "test is the dataset's annotated val split; its own test split has no labels",
        ),
    )


def _add(builder: SplitBuilder, rows: Iterable[tuple[str, int, Box]], where: str) -> None:
    for path, label, box in rows:
        builder.add(path, label, size_wh=(SIDE, SIDE), boxes_xyxy=[box], where=where)


@dataclass(frozen=True)
class TinyImageNet(Common):
    """Tiny ImageNet: the original zip (read in place) or its folder; a subset of the classes is fine."""

    # --- this layout
    classes: Optional[int] = None
    """Use only the first N classes (sorted wnids)."""
    holdout: int = 25
    """Training images a class that become train-fullsup."""
    seed: int = 0
    """Seed of the hold-out."""

    @property
    def held_out(self) -> bool:
        return True

    @property
    def subset(self) -> bool:
        return self.classes is not None

    def read(self, source: Path) -> Manifest:
        return read_tiny_imagenet(
            open_root(source),
            num_classes=self.classes,
            holdout_per_class=self.holdout,
            seed=self.seed,
            rules=self.rules,
        )
