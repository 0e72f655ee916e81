"""Anybody's own images: class-named folders, and a table of boxes.

    DIR/<class>/*.jpg                        or DIR/{train,val,test}/<class>/*.jpg
    boxes.csv                                one line a box, with a header

`wsol.datasets.tables` says which spellings of the columns are understood, `wsol.datasets.image_names` how images are
named. `class` must agree with the folder, but for case, spaces, underscores and hyphens; images that lie in no class
folder take their class from it. `split` is train, val or test.

Which image goes where, in this order of precedence:

1. a `split` column, or folders train, val, test: train -> train-weaksup, val -> train-fullsup, test -> test. If there
   is no val, a seeded hold-out of boxed training images becomes train-fullsup.
2. otherwise images without a box train, and of a class's images with boxes, in seeded order, as many as bring the
   training images to half of the class (none where they are half already). Of the others a quarter (at least one)
   becomes train-fullsup and the rest test.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Set
from dataclasses import dataclass, field
from pathlib import Path

from wsol.datasets.boxes import Box, BoxRules
from wsol.datasets.holdout import class_generator, hold_out_boxed
from wsol.datasets.image_names import ImageNames
from wsol.datasets.options import Common, Optional
from wsol.datasets.recognise import single_top_folder, unknown_layout
from wsol.datasets.split_builder import SplitBuilder, common_folder, seen_from_above
from wsol.datasets.tables import read_box_table
from wsol.datasets.text_fields import at_line, decode_text
from wsol.errors import UserError
from wsol.files.roots import FileRoot, open_root
from wsol.images import IMAGE_SUFFIXES, image_size_wh
from wsol.manifest import Corners, Manifest, Split

SPLIT_OF = {"train": "train-weaksup", "val": "train-fullsup", "test": "test"}
SPLIT_NAMES = {
    **SPLIT_OF,
    "valid": "train-fullsup",
    "validation": "train-fullsup",
    "training": "train-weaksup",
} | {"testing": "test", **{r: r for r in SPLIT_OF.values()}}


@dataclass
class Listed:
    """What a table says of one image: the line that names it first, its boxes, its classes, its split."""

    line: int
    boxes: list[Box] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    split: str | None = None


@dataclass
class BoxList:
    """A table by image name as written; `kind` is how its boxes are written (corners, size, centre)."""

    images: dict[str, Listed]
    kind: str


def parse_box_csv(text: str, where: str) -> BoxList:
    """Read the table; every defect is a `UserError` naming file and line.

    A line with empty box cells names an image without a box (for its `split` or `class`).
    """
    table = read_box_table(text, where)
    found = BoxList({}, table.form.kind if table.form else "")
    for line, row in table.rows:
        with at_line(where, line):
            image = row[table.image].removeprefix("./")
            if not image:
                raise ValueError("the image's name is empty")
            listed = found.images.setdefault(image, Listed(line))
            listed.boxes.extend(table.boxes(row))
            if table.label is not None and row[table.label]:
                listed.classes.append(row[table.label])
            if table.split is not None:
                value = row[table.split]
                if listed.split not in (None, value):
                    raise ValueError(
                        f"image '{image}' is '{listed.split}' on an earlier line, '{value}' here"
                    )
                listed.split = value
                if value.lower() not in SPLIT_NAMES:
                    raise ValueError(f"split must be one of {', '.join(SPLIT_OF)}, got {value!r:.40}")
    return found


@dataclass(frozen=True)
class _Image:
    path: str
    class_name: str | None
    role: str | None


def list_images(
    root: FileRoot, masks: str | None = None, *, classes_stated: bool = False
) -> tuple[list[_Image], bool]:
    """Images in class folders, sorted by path, and whether the folders above the classes name splits.

    What lies in the folder `masks` is no image. With `classes_stated`, images that lie in no class folder have class
    None; without, they are a `UserError`.
    """
    paths = sorted(
        n
        for n in root.names()
        if n.lower().endswith(IMAGE_SUFFIXES)
        and not any(p.startswith(".") or p == "__MACOSX" for p in n.split("/"))
        and not (masks is not None and n.startswith(f"{masks}/"))
    )
    tops = {p.split("/", 1)[0] for p in paths if "/" in p}
    splits = sorted(t for t in tops if t.lower() in SPLIT_NAMES)
    by_split = bool(tops) and len(splits) == len(tops)
    if (
        not by_split and len({SPLIT_NAMES[t.lower()] for t in splits}) > 1
    ):  # one alone may be a class, such as 'train'
        other = min(tops - set(splits))
        raise UserError(
            f"'{root.location}': folders {', '.join(splits)} name splits, but '{other}' beside them holds images too; "
            "move it away (a folder of masks is named with --masks)"
        )
    images = []
    for path in paths:
        pieces = path.split("/")
        folders = pieces[1:-1] if by_split else pieces[:-1]
        if not folders and not classes_stated:
            expected = "<split>/<class>/<image>" if by_split else "<class>/<image>"
            raise UserError(
                f"image '{path}' under '{root.location}' lies in no class folder; expected {expected}, or a 'class' "
                "column in the table of boxes"
            )
        role = SPLIT_NAMES[pieces[0].lower()] if by_split and len(pieces) > 1 else None
        images.append(_Image(path, "/".join(folders) or None, role))
    if not images:
        raise unknown_layout(root, "images in class folders", "<class>/<image>")
    return images, by_split


def read_folder(
    root: FileRoot,
    box_csv: bytes,
    where: str,
    *,
    corners: Corners = "half-open",
    masks: str | None = None,
    holdout_per_class: int = 5,
    seed: int = 0,
    rules: BoxRules | None = None,
    name: str = "folder",
) -> Manifest:
    """Read class folders and a table of boxes.

    `masks` is a folder under the root (or a path anywhere) whose files have the images' paths, ending in .png. Labels
    follow the sorted class names; an image id is the path.
    """
    rules = rules or BoxRules()
    table = parse_box_csv(decode_text(box_csv, where), where)
    if table.kind != "corners" and corners == "inclusive":
        raise UserError(
            f"{where} gives widths and heights, which --corners inclusive does not apply to; leave it out"
        )
    mask_folder = _MaskFolder(root, masks)
    flat = any(listed.classes for listed in table.images.values())
    images, by_split = list_images(root, mask_folder.inside, classes_stated=flat)
    names = ImageNames(i.path for i in images)
    listed_of = _match(table, names, where)
    folders = {i.class_name for i in images if i.class_name is not None}
    class_of = {i.path: _class_of(i, listed_of.get(i.path), folders, where) for i in images}
    classes = sorted({c for c in class_of.values() if c and c not in _NO_CLASS})
    label_of = {c: k for k, c in enumerate(classes)}
    stated = {p: SPLIT_NAMES[v.split.lower()] for p, v in listed_of.items() if v.split is not None}
    given = bool(stated) or by_split
    if given:
        roles = {i.path: stated.get(i.path) or i.role or "train-weaksup" for i in images}
    else:
        members = {i.path: c for i in images if (c := class_of[i.path]) not in _NO_CLASS}
        roles = _seeded_roles(members, {p for p, v in listed_of.items() if v.boxes}, seed)
    builders = {role: SplitBuilder(rules) for role in SPLIT_OF.values()}
    for image in images:
        builder = builders[roles.get(image.path, "train-weaksup")]
        if class_of[image.path] in _NO_CLASS:
            builder.leave_out(image.path, class_of[image.path])
            continue
        listed = listed_of.get(image.path)
        boxes = listed.boxes if listed else []
        size = (
            image_size_wh(root.read_bytes(image.path), image.path)
            if boxes and rules.units != "pixels"
            else (0, 0)
        )
        builder.add(
            image.path,
            label_of[class_of[image.path]],
            size_wh=size,
            boxes_xyxy=boxes,
            masks=mask_folder.of(image.path),
            where=f"{where}:{listed.line}" if listed else where,
        )
    splits = {role: b.build() for role, b in builders.items() if len(b)}
    mask_folder.check_used(splits, images[0].path)
    notes = [note for role, b in builders.items() for note in b.notes(role)]
    notes.extend(names.notes(where.rpartition("/")[2]))
    if not given:
        notes.insert(0, f"splits were made by seed {seed}: see docs/datasets.md, 'Your own images'")
    elif "train-fullsup" not in splits and "train-weaksup" in splits:
        notes.extend(hold_out_boxed(splits, classes, holdout_per_class, seed))
    location, splits = mask_folder.seen_with(splits)
    return Manifest(name, tuple(classes), splits, location, corners=corners, notes=tuple(notes))


_NO_CLASS = ("show several classes", "lie in no class folder and have no class in the table")


def _class_of(image: _Image, listed: Listed | None, folders: Set[str], where: str) -> str:
    """The class of an image, or the reason why it has none. A folder's class may be written in another case or with
    other separators, unless that is another of the `folders`."""
    told = sorted(set(listed.classes)) if listed else []
    if image.class_name is None:
        return told[0] if len(told) == 1 else _NO_CLASS[0 if told else 1]
    for name in told:
        own = (image.class_name, image.class_name.rpartition("/")[2])
        respelled = name not in folders and _class_spelling(name) in map(_class_spelling, own)
        if name not in own and not respelled:
            assert listed is not None
            raise UserError(
                f"{where}:{listed.line}: image '{image.path}' is of class '{name}', but lies in '{image.class_name}'"
            )
    return image.class_name


def _class_spelling(name: str) -> str:
    return re.sub(r"[\s_-]+", " ", unicodedata.normalize("NFC", name).casefold()).strip()


def _match(table: BoxList, names: ImageNames, where: str) -> dict[str, Listed]:
    """What the table says, by the path of the image."""
    found: dict[str, Listed] = {}
    called: dict[str, str] = {}
    for key, listed in table.images.items():
        with at_line(where, listed.line):
            path = names.find(key)
            if path in found:
                raise ValueError(
                    f"'{key}' is the image that line {found[path].line} calls '{called[path]}'; use one name"
                )
            found[path], called[path] = listed, key
    return found


class _MaskFolder:
    """The folder that `--masks` names: below the root, or anywhere else on the disk beside a root that is a folder."""

    def __init__(self, root: FileRoot, named: str | None) -> None:
        self.root = root
        self.named = named
        self.inside: str | None = None
        self._files: FileRoot | None = None
        if not named:
            return
        path = Path(named)
        if path.is_absolute() and path.resolve().is_relative_to(root.location):
            path = path.resolve().relative_to(root.location)
        if path.is_absolute():
            if not Path(root.location).is_dir():
                raise UserError(f"--masks '{named}' lies outside the archive; unpack '{root.location}'")
            if not path.exists():
                raise UserError(f"--masks '{named}' does not exist")
            self._files = open_root(path)
        else:
            self.inside = path.as_posix().strip("/")
            self._files = root.subfolder(self.inside)

    def of(self, image: str) -> list[str]:
        """The mask of an image, relative to the folder of the images or of the masks; none
        where there is no such file."""
        mask = _mask_name(image)
        if self._files is None or not self._files.exists(mask):
            return []
        return [mask if self.inside is None else f"{self.inside}/{mask}"]

    def check_used(self, splits: dict[str, Split], image: str) -> None:
        """Refuse a folder that holds no mask of any image."""
        if self._files is not None and not any(s.masks for s in splits.values()):
            folder = self.inside if self.inside is not None else self._files.location
            raise UserError(
                f"--masks '{self.named}': '{self.root.location}' holds no mask of any image there; the mask of "
                f"'{image}' would be '{folder}/{_mask_name(image)}'"
            )

    def seen_with(self, splits: dict[str, Split]) -> tuple[str, dict[str, Split]]:
        """Where the files are seen from, and the splits with paths relative to that place."""
        if self._files is None or self.inside is not None:
            return self.root.location, splits
        above, images, masks = common_folder(self.root.location, self._files.location)
        return above, {role: seen_from_above(s, images, masks) for role, s in splits.items()}


def _mask_name(image: str) -> str:
    return f"{image.rpartition('.')[0]}.png"


def _seeded_roles(class_of: dict[str, str], boxed: set[str], seed: int) -> dict[str, str]:
    roles = dict.fromkeys(class_of, "train-weaksup")
    by_class: dict[str, list[str]] = {}
    for path, name in class_of.items():
        by_class.setdefault(name, []).append(path)
    for name, members in by_class.items():
        mine = [p for p in members if p in boxed]
        order = [mine[int(k)] for k in class_generator(name, seed).permutation(len(mine))]
        order = order[max(0, -(-len(members) // 2) - (len(members) - len(mine))) :]
        full = max(1, len(order) // 4) if len(order) > 1 else 0
        roles |= dict.fromkeys(order[:full], "train-fullsup") | dict.fromkeys(order[full:], "test")
    return roles


@dataclass(frozen=True)
class Folder(Common):
    """Your own images: class-named folders and a table of boxes."""

    # --- this layout
    boxes: Optional[Path] = None
    """Table of boxes (CSV and the like), with a header, here or under SOURCE. Default: SOURCE/boxes.csv."""
    corners: Corners = "half-open"
    """Whether x1, y1 is one past the last pixel (half-open) or the last pixel itself (inclusive)."""
    masks: Optional[str] = None
    """Folder (under SOURCE, or an absolute path) with a .png mask for each image that has one, in
    the images' own folders."""
    holdout: int = 5
    """Boxed training images a class that become train-fullsup where train is given but val is not."""
    seed: int = 0
    """Seed of the splits."""

    def read(self, source: Path) -> Manifest:
        root = open_root(source)
        if self.boxes is not None and self.boxes.is_file():
            table, where = self.boxes.read_bytes(), str(self.boxes)
        elif self.boxes is not None:
            inside = self.boxes.as_posix()
            if not self.boxes.is_absolute():
                root = single_top_folder(root, inside)
            if not root.exists(inside):
                raise UserError(f"--boxes '{self.boxes}' does not exist, neither here nor in '{source}'")
            table, where = root.read_bytes(inside), f"{root.location}/{inside}"
        else:
            root = single_top_folder(root, "boxes.csv")
            if not root.exists("boxes.csv"):
                raise unknown_layout(
                    root, "class folders with boxes.csv", "boxes.csv (or name the table with --boxes)"
                )
            table, where = root.read_bytes("boxes.csv"), f"{root.location}/boxes.csv"
        return read_folder(
            root,
            table,
            where,
            corners=self.corners,
            masks=self.masks,
            holdout_per_class=self.holdout,
            seed=self.seed,
            rules=self.rules,
            name=self.out.name if self.out else "folder",
        )
