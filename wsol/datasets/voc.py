"""Pascal VOC's layout: one XML file an image, lists of images by split.

    JPEGImages/<id>.jpg
    Annotations/<id>.xml
    ImageSets/Main/{train,val,trainval,test}.txt      one id a line (a second column of 1, 0 or -1 is left aside)

VOC counts pixels from 1 and includes the last one; boxes become 0-based with both corners inclusive. Objects marked
`difficult` are no boxes. With an annotated test list (VOC2007) the roles are train, val, test; without one, val
becomes `test` and train-fullsup is a seeded hold-out of the training images.

Tools write `<filename>` without its ending, with another one, or not at all: where JPEGImages holds exactly one file
of the XML's own name, that is the image.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from wsol.datasets.boxes import Box, BoxRules
from wsol.datasets.detections import (
    AnnotatedImage,
    DetectedObject,
    Policy,
    manifest_of_splits,
    split_of_images,
)
from wsol.datasets.image_names import ImageNames
from wsol.datasets.options import Detections, Flag, Unpacked
from wsol.datasets.recognise import unknown_layout
from wsol.datasets.text_fields import at_line, numbered_lines, read_text
from wsol.datasets.voc_xml import parse_annotation
from wsol.errors import UserError
from wsol.files.roots import FileRoot
from wsol.images import IMAGE_SUFFIXES
from wsol.manifest import Manifest, Split

ROLE_OF = {"train": "train-weaksup", "val": "train-fullsup", "test": "test"}
FOLDERS = ("VOCdevkit/VOC2007", "VOC2007", "VOCdevkit/VOC2012", "VOC2012")


def parse_image_set(text: str, where: str) -> list[str]:
    """An ImageSets list: the ids in file order, each once. Ids may hold spaces and end like a file name.

    >>> parse_image_set("IMG 1.jpg\\n000005 -1\\n", "train.txt")
    ['IMG 1', '000005']
    """
    ids: dict[str, None] = {}
    for number, line in numbered_lines(text):
        with at_line(where, number):
            name, _, flag = line.strip().rpartition(" ")
            image_id = name.strip() if name and flag in ("1", "0", "-1") else line.strip()
            if image_id.lower().endswith(IMAGE_SUFFIXES):
                image_id = image_id.rpartition(".")[0]
            if image_id in ids:
                raise ValueError(f"image '{image_id}' is listed twice")
            ids[image_id] = None
    return list(ids)


def zero_based(box: Box, where: str) -> Box:
    """A 1-based box as 0-based corners.

    >>> zero_based((1, 1, 500, 375), "x")
    (0, 0, 499, 374)
    """
    if 0 <= min(box[:2]) < 1:
        raise UserError(
            f"{where}: box {' '.join(f'{v:g}' for v in box)} starts at 0, but VOC counts pixels from 1; if these files "
            "count from 0, pass --zero-based"
        )
    x0, y0, x1, y1 = box
    return x0 - 1, y0 - 1, x1 - 1, y1 - 1


def find_root(root: FileRoot) -> FileRoot:
    """The folder that holds Annotations: the given one, or VOCdevkit/VOC2007 (or 2012) inside it."""
    for place in ("", *FOLDERS):
        candidate = root.subfolder(place)
        if next(candidate.names("Annotations"), None) is not None:
            return candidate
    raise unknown_layout(root, "Pascal VOC", f"Annotations (there, or in {', '.join(FOLDERS)})")


def read_voc(
    root: FileRoot,
    *,
    several_classes: Policy = "skip",
    counts_from_zero: bool = False,
    holdout_per_class: int = 10,
    seed: int = 0,
    rules: BoxRules | None = None,
) -> Manifest:
    """Read a VOC folder or zip; labels follow the sorted class names."""
    root = find_root(root)
    rules = rules or BoxRules()
    sets = {
        name: parse_image_set(
            read_text(root, f"ImageSets/Main/{name}.txt"), f"{root.location}/ImageSets/Main/{name}.txt"
        )
        for name in ROLE_OF
        if root.exists(f"ImageSets/Main/{name}.txt")
    }
    if "train" not in sets or not ({"val", "test"} & set(sets)):
        raise UserError(f"'{root.location}/ImageSets/Main' needs train.txt and val.txt or test.txt")
    if "test" in sets and not any(root.exists(f"Annotations/{i}.xml") for i in sets["test"]):
        del sets["test"]  # VOC2012 lists its test images without publishing their boxes
    names = ImageNames(n for n in root.names("JPEGImages") if n.lower().endswith(IMAGE_SUFFIXES))
    reader = _Reader(root, names, counts_from_zero)
    images = {name: [reader.read(image_id) for image_id in ids] for name, ids in sets.items()}
    classes = sorted(
        {o.class_key for rows in images.values() for image in rows for o in image.objects} | reader.seen
    )
    label_of = {name: k for k, name in enumerate(classes)}
    splits: dict[str, Split] = {}
    notes: list[str] = []
    for name, rows in images.items():
        role = "test" if name == "val" and "test" not in images else ROLE_OF[name]
        splits[role], made = split_of_images(rows, label_of, several_classes, rules, root, last_pixel=1)
        notes.extend(made.notes(name, several_classes))
    if reader.unspecified:
        notes.append(
            f"<difficult> is neither 0 nor 1 in {reader.unspecified} objects; they count as not difficult"
        )
    notes.extend(names.notes("<filename>"))
    return manifest_of_splits(
        "voc",
        splits,
        classes,
        root.location,
        notes,
        corners="inclusive",
        holdout_per_class=holdout_per_class,
        seed=seed,
    )


@dataclass
class _Reader:
    """Reads one XML file after the other; `seen` are the classes of all objects, difficult ones included."""

    root: FileRoot
    names: ImageNames
    counts_from_zero: bool
    unspecified: int = 0

    def __post_init__(self) -> None:
        self.seen: set[str] = set()

    def read(self, image_id: str) -> AnnotatedImage:
        path = f"Annotations/{image_id}.xml"
        where = f"{self.root.location}/{path}"
        annotation = parse_annotation(self.root.read_bytes(path), where)
        self.seen |= {o.name for o in annotation.objects}
        self.unspecified += sum(o.difficult is None for o in annotation.objects)
        objects = tuple(
            DetectedObject(o.name, o.box if self.counts_from_zero else zero_based(o.box, where))
            for o in annotation.objects
            if not o.difficult
        )
        return AnnotatedImage(
            image_id, self._image(image_id, annotation.filename), objects, annotation.size_wh or (0, 0), where
        )

    def _image(self, image_id: str, filename: str) -> str:
        """The file that `<filename>` names, or that has the XML's name; where neither is there,
        the former, for the audit."""
        wanted = f"JPEGImages/{filename}" if filename else f"JPEGImages/{image_id}.jpg"
        for name in (wanted, f"JPEGImages/{image_id}"):
            try:
                return self.names.find(name)
            except ValueError:
                continue
        return wanted


@dataclass(frozen=True)
class Voc(Detections, Unpacked):
    """Pascal VOC: the tar or its folder."""

    # --- this layout
    zero_based: Flag = False
    """These XML files count pixels from 0 (VOC's own count from 1)."""

    def read(self, source: Path) -> Manifest:
        return read_voc(
            self.open(source, "voc"),
            several_classes=self.several_classes,
            counts_from_zero=self.zero_based,
            holdout_per_class=self.holdout,
            seed=self.seed,
            rules=self.rules,
        )
