"""Anybody's own images: class-named folders, and a CSV of boxes.

    DIR/<class>/*.jpg                        or DIR/{train,val,test}/<class>/*.jpg
    boxes.csv                                one line a box, with a header

Columns of the CSV, in any order: the image (`image`, `image_id`, `path`, `file`, `filename` or `file_name`: a
path under DIR, or a file name that only one image has), the box (`x0,y0,x1,y1`, `xmin,ymin,xmax,ymax`, or
`x,y,width,height`), and if wanted `class` (must agree with the folder) and `split` (train, val or test).

Which image goes where, in this order of precedence:
1. a `split` column, or folders train, val, test: train -> train-weaksup, val -> train-fullsup, test -> test.
If there
   is no val, a seeded hold-out of boxed training images becomes train-fullsup.
2. otherwise images without a box train. Of a class's images with boxes, in seeded order, a quarter (at least
one)
   becomes train-fullsup and the rest test. Where every image of a class has boxes, half of them train.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass, field

from wsol.datasets.holdout import class_generator, hold_out_boxed
from wsol.datasets.split_builder import Box, SplitBuilder
from wsol.datasets.text_fields import decode_text, to_box, to_float
from wsol.errors import UserError
from wsol.images import FileRoot
from wsol.manifest import Corners, Manifest

IMAGE_COLUMNS = ("image", "image_id", "path", "file", "filename", "file_name")
CLASS_COLUMNS = ("class", "label", "class_name")
BOX_FORMS = (("x0", "y0", "x1", "y1"), ("xmin", "ymin", "xmax", "ymax"), ("x", "y", "width", "height"))
SPLIT_OF = {"train": "train-weaksup", "val": "train-fullsup", "test": "test"}
SPLIT_NAMES = {**SPLIT_OF, "valid": "train-fullsup", "validation": "train-fullsup"} | {
    r: r for r in SPLIT_OF.values()
}
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")


@dataclass
class BoxTable:
    """The CSV by image name as written. `classes` and `splits` hold what those columns say, where they
    exist; `has_widths` says that it gives x, y, width, height."""

    boxes: dict[str, list[Box]] = field(default_factory=dict)
    classes: dict[str, str] = field(default_factory=dict)
    splits: dict[str, str] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)
    has_widths: bool = False


def parse_box_csv(text: str, where: str) -> BoxTable:
    """Read the CSV; every defect is a `UserError` naming file and line. A line with empty box cells names an
    image without a box (for its `split`)."""
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    found = BoxTable()
    try:
        header = [c.strip().lower() for c in next(reader, [])]
        image_at = next((header.index(c) for c in IMAGE_COLUMNS if c in header), None)
        form = next((f for f in BOX_FORMS if all(c in header for c in f)), None)
        if image_at is None or form is None or len(set(header)) != len(header):
            raise ValueError(
                f"expected a header with an image column ({', '.join(IMAGE_COLUMNS)}) and box columns "
                f"({' or '.join(','.join(f) for f in BOX_FORMS)}), got {','.join(header)!r:.80}"
            )
        class_at = next((header.index(c) for c in CLASS_COLUMNS if c in header), None)
        split_at = header.index("split") if "split" in header else None
        box_at = [header.index(c) for c in form]
        found.has_widths = form[0] == "x"
        for row in reader:
            if not any(cell.strip() for cell in row):
                continue
            if len(row) != len(header):
                raise ValueError(f"expected {len(header)} fields, got {len(row)}")
            image = row[image_at].strip().removeprefix("./")
            if not image:
                raise ValueError("the image's name is empty")
            found.lines.setdefault(image, reader.line_num)
            boxes = found.boxes.setdefault(image, [])
            cells = [row[k].strip() for k in box_at]
            if any(cells):
                boxes.append(_box(cells, form))
            for at, column in ((class_at, found.classes), (split_at, found.splits)):
                if at is not None:
                    value = row[at].strip()
                    if column.setdefault(image, value) != value:
                        raise ValueError(
                            f"image '{image}' is '{column[image]}' on an earlier line, '{value}' here"
                        )
            if split_at is not None and found.splits[image].lower() not in SPLIT_NAMES:
                raise ValueError(
                    f"split must be one of {', '.join(SPLIT_OF)}, got {found.splits[image]!r:.40}"
                )
    except (ValueError, csv.Error) as error:
        raise UserError(f"{where}:{max(reader.line_num, 1)}: {error}") from error
    return found


def _box(cells: list[str], form: tuple[str, ...]) -> Box:
    if form[0] != "x":
        return to_box(cells, " ".join(form))
    x, y, w, h = (to_float(c, n) for c, n in zip(cells, form))
    if min(x, y, w, h) < 0:
        raise ValueError(f"box '{' '.join(cells)}' (x y width height) has a negative number")
    return x, y, x + w, y + h


@dataclass(frozen=True)
class _Image:
    path: str
    class_name: str
    role: str | None


def list_images(root: FileRoot, masks: str | None = None) -> tuple[list[_Image], bool]:
    """Images in class folders, sorted by path, and whether the folders above the classes name splits. What lies in the
    folder `masks` is no image."""
    paths = sorted(
        n
        for n in root.names()
        if n.lower().endswith(SUFFIXES)
        and not any(p.startswith(".") for p in n.split("/"))
        and not (masks is not None and n.startswith(f"{masks}/"))
    )
    tops = {p.split("/", 1)[0] for p in paths}
    by_split = bool(tops) and tops <= set(SPLIT_NAMES)
    named = sorted(tops & set(SPLIT_NAMES))
    if not by_split and len({SPLIT_NAMES[t] for t in named}) > 1:  # one alone may be a class, such as 'train'
        other = min(tops - set(named))
        raise UserError(
            f"'{root.location}': folders {', '.join(named)} name splits, but '{other}' beside them holds images too; "
            "move it away (a folder of masks is named with --masks)"
        )
    images = []
    for path in paths:
        pieces = path.split("/")
        if len(pieces) < (3 if by_split else 2):
            expected = "<split>/<class>/<image>" if by_split else "<class>/<image>"
            raise UserError(
                f"image '{path}' under '{root.location}' lies in no class folder; expected {expected}"
            )
        role = SPLIT_NAMES[pieces[0]] if by_split else None
        images.append(_Image(path, "/".join(pieces[1:-1] if by_split else pieces[:-1]), role))
    if not images:
        raise UserError(f"'{root.location}' holds no images ({', '.join(SUFFIXES)}) in class folders")
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
    clip: bool = False,
    name: str = "folder",
) -> Manifest:
    """Read class folders and a CSV of boxes. `masks` is a folder under the root whose files have the images'
    paths, ending in .png. Labels follow the sorted class names; an image id is the path."""
    table = parse_box_csv(decode_text(box_csv, where), where)
    if table.has_widths and corners == "inclusive":
        raise UserError(
            f"{where} gives widths and heights, which --corners inclusive does not apply to; leave it out"
        )
    masks = (masks or "").removeprefix("./").strip("/") or None
    images, by_split = list_images(root, masks)
    boxes = _match(table, images, where)
    classes = sorted({i.class_name for i in images})
    label_of = {c: k for k, c in enumerate(classes)}
    for image, key in boxes.items():
        told = table.classes.get(key)
        if told and told != image.class_name and told != image.class_name.rpartition("/")[2]:
            raise UserError(
                f"{where}:{table.lines[key]}: image '{key}' is of class '{told}', but lies in "
                f"'{image.class_name}'"
            )
    stated = {i.path: SPLIT_NAMES[table.splits[k].lower()] for i, k in boxes.items() if k in table.splits}
    given = bool(stated) or by_split
    if given:
        roles = {i.path: stated.get(i.path) or i.role or "train-weaksup" for i in images}
    else:
        roles = _seeded_roles(images, {i.path for i, k in boxes.items() if table.boxes[k]}, seed)
    builders = {role: SplitBuilder(clip=clip) for role in SPLIT_OF.values()}
    for image in images:
        listed = boxes.get(image)
        mask = f"{masks}/{image.path.rpartition('.')[0]}.png" if masks is not None else ""
        builders[roles[image.path]].add(
            image.path,
            label_of[image.class_name],
            boxes_xyxy=table.boxes[listed] if listed is not None else (),
            masks=[mask] if mask and root.exists(mask) else [],
            where=where,
        )
    splits = {role: b.build() for role, b in builders.items() if len(b)}
    if masks is not None and not any(s.masks for s in splits.values()):
        raise UserError(
            f"--masks '{masks}': '{root.location}' holds no mask of any image there; the mask of '{images[0].path}' "
            f"would be '{masks}/{images[0].path.rpartition('.')[0]}.png'"
        )
    notes: list[str] = []
    if not given:
        notes.append(f"splits were made by seed {seed}: see docs/datasets.md, 'Your own images'")
    elif "train-fullsup" not in splits and "train-weaksup" in splits:
        notes.extend(hold_out_boxed(splits, classes, holdout_per_class, seed))
    return Manifest(
        dataset=name,
        classes=tuple(classes),
        splits=splits,
        root=root.location,
        corners=corners,
        notes=tuple(notes),
    )


def _match(table: BoxTable, images: list[_Image], where: str) -> dict[_Image, str]:
    """Which image each name of the CSV means."""
    by_path = {i.path: i for i in images}
    by_file: dict[str, list[_Image]] = {}
    for image in images:
        by_file.setdefault(image.path.rpartition("/")[2], []).append(image)
    found: dict[_Image, str] = {}
    for key, line in table.lines.items():
        hits = [by_path[key]] if key in by_path else by_file.get(key, [])
        if len(hits) != 1:
            what = "is no image under the source" if not hits else f"names {len(hits)} images; write its path"
            raise UserError(f"{where}:{line}: '{key}' {what}")
        if hits[0] in found:
            raise UserError(
                f"{where}:{line}: '{key}' is the image that line {table.lines[found[hits[0]]]} calls "
                f"'{found[hits[0]]}'; use one name"
            )
        found[hits[0]] = key
    return found


def _seeded_roles(images: list[_Image], boxed: set[str], seed: int) -> dict[str, str]:
    roles = {i.path: "train-weaksup" for i in images}
    by_class: dict[str, list[str]] = {}
    for image in images:
        by_class.setdefault(image.class_name, []).append(image.path)
    for name, members in by_class.items():
        mine = [p for p in members if p in boxed]
        order = [mine[int(k)] for k in class_generator(name, seed).permutation(len(mine))]
        if len(mine) == len(members):
            order = order[-(-len(order) // 2) :]
        full = max(1, len(order) // 4) if len(order) > 1 else 0
        roles |= dict.fromkeys(order[:full], "train-fullsup") | dict.fromkeys(order[full:], "test")
    return roles
