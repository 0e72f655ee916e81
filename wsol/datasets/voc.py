"""Pascal VOC's layout: one XML file an image, lists of images by split.

    JPEGImages/<id>.jpg
    Annotations/<id>.xml
    ImageSets/Main/{train,val,trainval,test}.txt      one id a line (a second column is left aside)

VOC counts pixels from 1 and includes the last one; boxes become 0-based with both corners inclusive. Objects
marked `difficult` are no boxes. With an annotated test list (VOC2007) the roles are train, val, test; without
one, val becomes `test` and train-fullsup is a seeded hold-out of the training images.
"""

from __future__ import annotations

from dataclasses import dataclass

from wsol.datasets.holdout import hold_out
from wsol.datasets.single_label import Policy, choose_label, left_out_note
from wsol.datasets.split_builder import SplitBuilder
from wsol.datasets.text_fields import at_line, numbered_lines, read_text
from wsol.datasets.voc_xml import Box, XmlAnnotation, parse_annotation
from wsol.errors import UserError
from wsol.images import FileRoot
from wsol.manifest import Manifest, Split


@dataclass(frozen=True)
class _Image:
    image_id: str
    path: str
    annotation: XmlAnnotation


def parse_image_set(text: str, where: str) -> list[str]:
    """An ImageSets list: the ids in file order, each once."""
    ids: dict[str, None] = {}
    for number, line in numbered_lines(text):
        with at_line(where, number):
            image_id = line.split()[0]
            if image_id in ids:
                raise ValueError(f"image '{image_id}' is listed twice")
            ids[image_id] = None
    return list(ids)


def zero_based(box: Box, where: str) -> Box:
    """A 1-based box as 0-based corners.

    >>> zero_based((1, 1, 500, 375), "x")
    (0, 0, 499, 374)
    """
    if min(box) < 1:
        raise UserError(
            f"{where}: box {' '.join(f'{v:g}' for v in box)} starts at 0, but VOC counts pixels from 1; if "
            f"these files "
            "count from 0, pass --zero-based"
        )
    x0, y0, x1, y1 = box
    return x0 - 1, y0 - 1, x1 - 1, y1 - 1


def find_root(root: FileRoot) -> FileRoot:
    """The folder that holds Annotations: the given one, or VOCdevkit/VOC2007 (or 2012) inside it."""
    inside = ("VOCdevkit/VOC2007", "VOC2007", "VOCdevkit/VOC2012", "VOC2012")
    for place in ("", *inside):
        candidate = root.subfolder(place)
        if next(candidate.names("Annotations"), None) is not None:
            return candidate
    raise UserError(
        f"'{root.location}' does not look like Pascal VOC: no Annotations there or in {', '.join(inside)}"
    )


def read_voc(
    root: FileRoot,
    *,
    several_classes: Policy = "skip",
    counts_from_zero: bool = False,
    holdout_per_class: int = 10,
    seed: int = 0,
    clip: bool = False,
) -> Manifest:
    """Read a VOC folder or zip; labels follow the sorted class names."""
    root = find_root(root)
    sets = {
        name: parse_image_set(
            read_text(root, f"ImageSets/Main/{name}.txt"), f"{root.location}/ImageSets/Main/{name}.txt"
        )
        for name in ("train", "val", "test")
        if root.exists(f"ImageSets/Main/{name}.txt")
    }
    if "train" not in sets or not ({"val", "test"} & set(sets)):
        raise UserError(f"'{root.location}/ImageSets/Main' needs train.txt and val.txt or test.txt")
    if "test" in sets and not any(root.exists(f"Annotations/{i}.xml") for i in sets["test"]):
        del sets["test"]  # VOC2012 lists its test images without publishing their boxes
    images = {name: [_image(root, image_id) for image_id in ids] for name, ids in sets.items()}
    classes = sorted({o.name for rows in images.values() for image in rows for o in image.annotation.objects})
    label_of = {name: k for k, name in enumerate(classes)}
    notes: list[str] = []
    made: dict[str, Split] = {}
    for name, rows in images.items():
        builder = SplitBuilder(clip=clip)
        several = none = 0
        for image in rows:
            objects = [o for o in image.annotation.objects if not o.difficult]
            labels = [label_of[o.name] for o in objects]
            areas = [(o.box[2] - o.box[0] + 1) * (o.box[3] - o.box[1] + 1) for o in objects]
            label = choose_label(labels, areas, several_classes)
            several += len(set(labels)) > 1
            none += not labels
            if label is None:
                continue
            where = f"{root.location}/Annotations/{image.image_id}.xml"
            boxes = [
                o.box if counts_from_zero else zero_based(o.box, where)
                for o, k in zip(objects, labels)
                if k == label
            ]
            size = image.annotation.size_wh or (0, 0)
            builder.add(image.image_id, label, path=image.path, size_wh=size, boxes_xyxy=boxes, where=where)
        made[name] = builder.build()
        notes.extend(left_out_note(name, several, none, several_classes))
        if builder.clipped:
            notes.append(f"{name}: {builder.clipped} boxes were clipped to their image")
    if "test" in made and "val" in made:
        splits = {"train-weaksup": made["train"], "train-fullsup": made["val"], "test": made["test"]}
    else:
        parted, more = hold_out(made["train"], classes, holdout_per_class, seed)
        splits = {**parted, "test": made["val"] if "val" in made else made["test"]}
        notes.extend(more)
    return Manifest(
        dataset="voc",
        classes=tuple(classes),
        splits=splits,
        root=root.location,
        corners="inclusive",
        notes=tuple(notes),
    )


def _image(root: FileRoot, image_id: str) -> _Image:
    path = f"Annotations/{image_id}.xml"
    annotation = parse_annotation(root.read_bytes(path), f"{root.location}/{path}")
    return _Image(image_id, f"JPEGImages/{annotation.filename or f'{image_id}.jpg'}", annotation)
