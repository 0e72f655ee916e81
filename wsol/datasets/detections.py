"""Detection datasets (VOC, COCO, YOLO, OpenImages) as classification with boxes: one label an image.

A reader gathers `AnnotatedImage`s and the rest is the same for all of them: the label by a stated policy, boxes of
that label only, what is left out counted and named, train-fullsup from val or a seeded hold-out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from wsol.datasets.boxes import Box, BoxRules
from wsol.datasets.holdout import hold_out_boxed
from wsol.datasets.split_builder import SplitBuilder
from wsol.errors import UserError
from wsol.files.roots import FileRoot
from wsol.images import image_size_wh
from wsol.manifest import SPLIT_ROLES, Corners, Manifest, Split

Policy = Literal["skip", "largest"]


@dataclass(frozen=True)
class DetectedObject:
    """One object: its class (a name or a source's key) and its box as corners, in the units of the source. `mask` is
    what the source has of its shape."""

    class_key: str
    box: Box
    mask: Any = None


@dataclass(frozen=True)
class AnnotatedImage:
    """One image with the objects that count. `size_wh` is (0, 0) where it is not known; `where` names the file (and
    line) that states the boxes; `crowds` are shapes that belong to no single object."""

    image_id: str
    path: str
    objects: tuple[DetectedObject, ...]
    size_wh: tuple[int, int] = (0, 0)
    where: str = ""
    crowds: tuple[Any, ...] = ()


def choose_label(labels: Sequence[int], areas: Sequence[float], policy: Policy) -> int | None:
    """The image's label, or None where it has to be left out.

    With one class among its objects that is the label. Otherwise `skip` leaves the image out, and `largest` takes the
    class of the largest object (the first of equals); boxes of other classes are then dropped.

    >>> choose_label([3, 3], [1, 2], "skip"), choose_label([3, 5], [1, 2], "largest")
    (3, 5)
    >>> choose_label([3, 5], [1, 2], "skip") is None
    True
    """
    if not labels:
        return None
    if len(set(labels)) == 1:
        return labels[0]
    return None if policy == "skip" else labels[max(range(len(labels)), key=lambda i: (areas[i], -i))]


@dataclass
class LabelledImages:
    """A split under way: `kept` are its images with the objects of their label."""

    builder: SplitBuilder
    kept: list[tuple[AnnotatedImage, int, list[DetectedObject]]]
    several: int = 0

    def notes(self, split: str, policy: Policy) -> list[str]:
        """What the manifest says of it."""
        found = self.builder.notes(split)
        if self.several and policy == "largest":
            found.append(
                f"{split}: {self.several} images show several classes and were given the class of their largest "
                "object; other boxes were dropped"
            )
        return found


def label_images(
    images: Sequence[AnnotatedImage],
    label_of: Mapping[str, int],
    policy: Policy,
    rules: BoxRules,
    *,
    last_pixel: float = 0,
) -> LabelledImages:
    """Decide the label of each image; those without one are left out under a reason.

    `last_pixel` is added to widths and heights (1 where corners are inclusive).
    """
    made = LabelledImages(SplitBuilder(rules), [])
    for image in images:
        labels = [label_of[o.class_key] for o in image.objects]
        areas = [
            (o.box[2] - o.box[0] + last_pixel) * (o.box[3] - o.box[1] + last_pixel) for o in image.objects
        ]
        label = choose_label(labels, areas, policy)
        made.several += len(set(labels)) > 1
        if label is None:
            made.builder.leave_out(image.path, "show several classes" if labels else "show no object")
            continue
        made.kept.append((image, label, [o for o, k in zip(image.objects, labels) if k == label]))
    return made


def split_of_images(
    images: Sequence[AnnotatedImage],
    label_of: Mapping[str, int],
    policy: Policy,
    rules: BoxRules,
    root: FileRoot,
    *,
    last_pixel: float = 0,
) -> tuple[Split, LabelledImages]:
    """Images as a split without masks. Where boxes are shares of the image, sizes that no file states
    are read from the images."""
    made = label_images(images, label_of, policy, rules, last_pixel=last_pixel)
    for image, label, objects in made.kept:
        size = image.size_wh
        if rules.units != "pixels" and not size[0]:
            size = image_size_wh(root.read_bytes(image.path), image.path)
        made.builder.add(
            image.image_id,
            label,
            path=image.path,
            size_wh=size,
            boxes_xyxy=[o.box for o in objects],
            where=image.where,
        )
    return made.builder.build(), made


def manifest_of_splits(
    dataset: str,
    splits: Mapping[str, Split],
    classes: Sequence[str],
    location: str,
    notes: Sequence[str],
    *,
    corners: Corners = "half-open",
    holdout_per_class: int = 10,
    seed: int = 0,
) -> Manifest:
    """The manifest of splits by role; a hold-out of boxed training images becomes train-fullsup where there is none.

    Raises `UserError` where every image was left out.
    """
    if not any(len(s) for s in splits.values()):
        raise UserError(f"'{location}': every image was left out: {'; '.join(notes) or 'there are none'}")
    made, said = dict(splits), list(notes)
    if "train-weaksup" in made and "train-fullsup" not in made:
        said.extend(hold_out_boxed(made, classes, holdout_per_class, seed))
    made = {role: made[role] for role in SPLIT_ROLES if role in made}
    return Manifest(dataset, tuple(classes), made, location, corners=corners, notes=tuple(said))
