"""CUB-200-2011 in Caltech's layout (the folder, or the .tgz that it comes in), and NABirds, whose layout follows it.

    images.txt                 `key path`                       paths under images/
    classes.txt                `class name`
    image_class_labels.txt     `key class`
    train_test_split.txt       `key is_training`                CUB: 5,994 / 5,794, NABirds: 23,929 / 24,633
    bounding_boxes.txt         `key x y width height`
    parts/parts.txt            `part name`                      may be absent
    parts/part_locs.txt        `key part x y visible`
    segmentations/<path>.png   a separate download; may be absent, or beside CUB_200_2011

Keys are numbers in CUB and texts in NABirds; any subset of images and classes is read. Labels follow the ascending
classes that have images (NABirds lists parents of its classes too, which have none).

CUB's boxes become corners as the reference has them (docs/protocols.md): x, y, min(x + width, W - 1), min(y + height,
H - 1). train-fullsup is CUBV2 (Choe et al., CVPR 2020), whose boxes come with the reference metadata; without it, a
seeded hold-out of training images takes its place, and the manifest says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from wsol.datasets.boxes import Box, BoxRules
from wsol.datasets.holdout import hold_out
from wsol.datasets.options import Optional, Unpacked
from wsol.datasets.recognise import unknown_layout
from wsol.datasets.split_builder import SplitBuilder, common_folder, seen_from_above
from wsol.datasets.text_fields import at_line, numbered_lines, read_text, split_fields, to_float, to_int
from wsol.datasets.wsol_metadata import read_wsol_metadata
from wsol.errors import UserError
from wsol.files.roots import FileRoot, open_root
from wsol.images import image_size_wh
from wsol.manifest import Manifest, Split

T = TypeVar("T")
TABLES = ("images.txt", "classes.txt", "image_class_labels.txt", "train_test_split.txt", "bounding_boxes.txt")
CUT_IMAGES = 0.01
"""Share of the images whose box may be cut by more than a pixel before they are taken for resized."""


@dataclass(frozen=True)
class CubTables:
    """The text files, by image key. `parts` is [P, 3] (x, y, visible) or missing where the files are."""

    paths: Mapping[str, str]
    classes: tuple[str, ...]
    labels: Mapping[str, int]
    training: Mapping[str, bool]
    boxes_xywh: Mapping[str, Box]
    part_names: tuple[str, ...] = ()
    parts: Mapping[str, np.ndarray] | None = None


def parse_keyed(text: str, where: str, form: str) -> dict[str, str]:
    """`key rest-of-line` with keys that are listed once."""
    found: dict[str, str] = {}
    for line_number, line in numbered_lines(text):
        with at_line(where, line_number):
            key, _, rest = line.strip().partition(" ")
            if not rest.strip():
                raise ValueError(f"expected '{form}', got {line!r:.80}")
            if key in found:
                raise ValueError(f"{form.split()[0]} {key} is listed twice")
            found[key] = rest.strip()
    return found


def parse_tables(texts: Mapping[str, str], where: Callable[[str], str]) -> CubTables:
    """All text files at once; each defect is a `UserError` naming file and line."""
    paths = parse_keyed(texts["images.txt"], where("images.txt"), "key path")
    names = parse_keyed(texts["classes.txt"], where("classes.txt"), "class name")
    if len(set(paths.values())) != len(paths):
        raise UserError(f"{where('images.txt')}: a path is listed twice")

    def table(file: str, form: str, parse: Callable[[list[str]], T]) -> dict[str, T]:
        return _parse_table(texts[file], where(file), form, paths, parse)

    class_of = table("image_class_labels.txt", "key class", lambda f: _class(f[0], names))
    used = sorted(set(class_of.values()), key=_ascending)
    label_of = {key: k for k, key in enumerate(used)}
    labels = {image: label_of[key] for image, key in class_of.items()}
    classes = tuple(names[key] for key in used)
    training = table("train_test_split.txt", "key is_training", lambda f: _flag(f[0]))
    boxes = table("bounding_boxes.txt", "key x y width height", _xywh)
    if "parts/parts.txt" not in texts or "parts/part_locs.txt" not in texts:
        return CubTables(paths, classes, labels, training, boxes)
    parts_of = parse_keyed(texts["parts/parts.txt"], where("parts/parts.txt"), "part name")
    column = {key: k for k, key in enumerate(parts_of)}
    parts = {key: np.zeros((len(parts_of), 3)) for key in paths}
    for line_number, line in numbered_lines(texts["parts/part_locs.txt"]):
        with at_line(where("parts/part_locs.txt"), line_number):
            image, part, x, y, visible = split_fields(line, 5, None, "key part x y visible")
            if image not in parts or part not in column:
                raise ValueError(f"image {image} or part {part} is not listed")
            parts[image][column[part]] = to_float(x, "x"), to_float(y, "y"), to_int(visible, "visible")
    return CubTables(paths, classes, labels, training, boxes, tuple(parts_of.values()), parts)


def _parse_table(
    text: str, where: str, form: str, paths: Mapping[str, str], parse: Callable[[list[str]], T]
) -> dict[str, T]:
    found: dict[str, T] = {}
    for line_number, line in numbered_lines(text):
        with at_line(where, line_number):
            key, *fields = split_fields(line, len(form.split()), None, form)
            if key not in paths or key in found:
                raise ValueError(f"image {key} is {'listed twice' if key in found else 'not in images.txt'}")
            found[key] = parse(fields)
    if len(found) != len(paths):
        lost = next(n for n in paths if n not in found)
        raise UserError(f"{where}: image {lost} ('{paths[lost]}') has no line")
    return found


def _class(key: str, names: Mapping[str, str]) -> str:
    if key not in names:
        raise ValueError(f"class {key} is not in classes.txt")
    return key


def _ascending(key: str) -> tuple[bool, int, str]:
    number = key.isascii() and key.isdigit()
    return (not number, int(key) if number else 0, key)


def _flag(text: str) -> bool:
    if text not in ("0", "1"):
        raise ValueError(f"is_training must be 0 or 1, got {text!r:.20}")
    return text == "1"


def _xywh(fields: list[str]) -> Box:
    x, y, w, h = (to_float(f, f"box {n}") for n, f in zip(("x", "y", "width", "height"), fields))
    if min(w, h) < 0:
        raise ValueError(f"box '{' '.join(fields)}' (x y width height) has a negative size")
    return x, y, w, h


def corners_from_xywh(box_xywh: Box, size_wh: tuple[int, int], scale: float = 1.0) -> Box:
    """The reference's corners of a CUB box in its image, before coordinates are multiplied by `scale`.

    >>> corners_from_xywh((60, 27, 325, 304), (500, 335))
    (60, 27, 385, 331)
    >>> corners_from_xywh((60, 27, 440, 304), (500, 331))
    (60, 27, 499.0, 330.0)
    """
    x, y, w, h = box_xywh
    right, bottom = ((side - 1) / scale for side in size_wh)
    return x, y, max(x, min(x + w, right)), max(y, min(y + h, bottom))


def reaches_over(box_xywh: Box, size_wh: tuple[int, int], scale: float = 1.0) -> bool:
    """Whether a box ends more than a pixel beyond its image.

    >>> reaches_over((60, 27, 440, 304), (500, 331)), reaches_over((60, 27, 442, 304), (500, 331))
    (False, True)
    """
    x, y, w, h = box_xywh
    return (x + w) * scale > size_wh[0] + 1 or (y + h) * scale > size_wh[1] + 1


# --- read ---------------------------------------------------------------------------------------------------


def find_root(root: FileRoot, dataset: str = "CUB-200-2011", inside: str = "CUB_200_2011") -> FileRoot:
    """The folder that holds the tables: the given one, or `inside` below it."""
    for candidate in (root, root.subfolder(inside)):
        if all(candidate.exists(name) for name in TABLES):
            return candidate
    missing = [name for name in TABLES if not root.exists(name)]
    raise unknown_layout(root, dataset, f"{', '.join(missing)} (there, or in a folder {inside} inside)")


def read_cub(
    root: FileRoot,
    *,
    cubv2: Cubv2 | None = None,
    holdout_per_class: int = 5,
    seed: int = 0,
    rules: BoxRules | None = None,
    dataset: str = "cub200",
) -> Manifest:
    """Read CUB; with `cubv2`, its images as train-fullsup, with labels, sizes and boxes of the reference metadata.

    Image sizes are read from the files, since corners depend on them. Without `cubv2` train-fullsup is a seeded
    hold-out of training images.
    """
    above = root
    root = find_root(root) if dataset == "cub200" else find_root(root, "NABirds", "nabirds")
    rules = rules or BoxRules()
    names = [*TABLES, *(n for n in ("parts/parts.txt", "parts/part_locs.txt") if root.exists(n))]
    tables = parse_tables({n: read_text(root, n) for n in names}, lambda n: f"{root.location}/{n}")
    folders = {f"segmentations/{p.rpartition('/')[0]}" for p in tables.paths.values()}
    masks_root = (
        root if next(root.names_in(folders), None) is not None else above
    )  # Kaggle has them beside the folder
    segmented = frozenset(masks_root.names_in(folders))
    builders = {True: SplitBuilder(rules), False: SplitBuilder(rules)}
    cut = 0
    for key, path in tables.paths.items():
        size = image_size_wh(root.read_bytes(f"images/{path}"), path)
        mask = f"segmentations/{path.rpartition('.')[0]}.png"
        x, y, w, h = box = tables.boxes_xywh[key]
        if rules.units == "pixels":
            cut += reaches_over(box, size, rules.scale)
            box = corners_from_xywh(box, size, rules.scale)
        else:
            box = (x, y, x + w, y + h)
        builders[tables.training[key]].add(
            path,
            tables.labels[key],
            path=f"images/{path}",
            size_wh=size,
            boxes_xyxy=[box],
            masks=[mask] if mask in segmented else [],
            parts=None if tables.parts is None else tables.parts[key],
            where=f"{root.location}/bounding_boxes.txt: image {key}",
        )
    if cut > CUT_IMAGES * len(tables.paths) and not rules.clip:
        raise UserError(
            f"'{root.location}': {cut} of {len(tables.paths)} boxes reach over their image by more than a pixel: "
            "the images were resized, the boxes were not. Use the original images, or give the factor with "
            "--box-scale (0.5 for images of half the width and height)"
        )
    notes = [*builders[True].notes("train"), *builders[False].notes("test")]
    if cut:
        notes.append(
            f"{cut} boxes reached over their image by more than a pixel and were cut at its last pixel"
        )
    train, test = builders[True].build(), builders[False].build()
    location, images, masks = common_folder(root.location, masks_root.location)
    if cubv2 is None:
        splits, more = hold_out(train, tables.classes, holdout_per_class, seed)
    else:
        if not (Path(root.location).is_dir() and Path(cubv2.root.location).is_dir()):
            raise UserError(
                f"'{root.location}' and '{cubv2.root.location}' must both be folders; unpack the archive"
            )
        splits, more = (
            {"train-weaksup": train},
            ("train-fullsup is CUBV2, with the reference metadata's boxes",),
        )
    splits = {role: seen_from_above(s, images, masks) for role, s in {**splits, "test": test}.items()}
    if cubv2 is not None:
        location, below, cubv2_below = common_folder(location, cubv2.root.location)
        splits = {role: seen_from_above(s, below) for role, s in splits.items()}
        full = seen_from_above(cubv2.read(tables.classes), cubv2_below)
        splits = {"train-weaksup": splits["train-weaksup"], "train-fullsup": full, "test": splits["test"]}
    return Manifest(
        dataset=dataset,
        classes=tables.classes,
        splits=splits,
        root=location,
        part_names=tables.part_names,
        corners="inclusive",
        notes=(*notes, *more),
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
                    f"'{self.metadata.location}': label {label} is '{reference.classes[label]}', but not so in CUB's "
                    "classes.txt; this is not CUB's metadata"
                )
        return split


@dataclass(frozen=True)
class Cub(Unpacked):
    """CUB-200-2011: the .tgz or its folder; with CUBV2 as train-fullsup where you have it."""

    # --- this layout
    cubv2: Optional[Path] = None
    """Folder of CUBV2's images. Without it a hold-out of training images becomes train-fullsup."""
    metadata: Optional[Path] = None
    """Reference metadata (folder or zip) that holds CUBV2's boxes; needed with --cubv2."""
    holdout: int = 5
    """Training images a class that become train-fullsup where there is no CUBV2."""
    seed: int = 0
    """Seed of the hold-out."""

    @property
    def held_out(self) -> bool:
        return self.cubv2 is None

    def read(self, source: Path) -> Manifest:
        cubv2 = None
        if self.cubv2 is not None:
            if self.metadata is None:
                raise UserError(
                    "--cubv2 needs --metadata: CUBV2's labels and boxes are in the reference metadata"
                )
            cubv2 = Cubv2(open_root(self.cubv2), open_root(self.metadata))
        root = self.open(source, "cub200")
        return read_cub(root, cubv2=cubv2, holdout_per_class=self.holdout, seed=self.seed, rules=self.rules)


@dataclass(frozen=True)
class NaBirds(Unpacked):
    """NABirds (Van Horn et al., CVPR 2015): the .tar.gz or its folder."""

    # --- this layout
    holdout: int = 5
    """Training images a class that become train-fullsup."""
    seed: int = 0
    """Seed of the hold-out."""

    @property
    def held_out(self) -> bool:
        return True

    def read(self, source: Path) -> Manifest:
        root = self.open(source, "nabirds")
        return read_cub(
            root, holdout_per_class=self.holdout, seed=self.seed, rules=self.rules, dataset="nabirds"
        )
