"""COCO instances JSON with its images, as a dataset.

Labels follow the ascending category ids. Sizes that a file does not state come from the images. Where masks are asked
for, polygons and run lengths become one PNG an image (the union of its instances), and crowd regions the ignore mask.
They lie in `masks/` of the manifest's own folder, their checksums in `masks.sha256` beside it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wsol.datasets.boxes import BoxRules
from wsol.datasets.catalog import manifests_folder
from wsol.datasets.coco_json import CocoFile, by_id, parse_coco
from wsol.datasets.coco_segments import mask_png
from wsol.datasets.detections import (
    AnnotatedImage,
    LabelledImages,
    Policy,
    label_images,
    manifest_of_splits,
    split_of_images,
)
from wsol.datasets.image_names import ImageNames
from wsol.datasets.mask_files import write_masks
from wsol.datasets.options import Detections, Flag
from wsol.datasets.split_builder import common_folder, seen_from_above
from wsol.datasets.text_fields import read_text
from wsol.errors import UserError
from wsol.files.roots import FileRoot, open_root
from wsol.images import IMAGE_SUFFIXES, image_size_wh
from wsol.manifest import Manifest, Split

ROLE_OF = {"train": "train-weaksup", "val": "train-fullsup", "test": "test"}


def read_coco(
    root: FileRoot,
    files: Mapping[str, str],
    *,
    masks_into: Path | None = None,
    several_classes: Policy = "skip",
    holdout_per_class: int = 10,
    seed: int = 0,
    rules: BoxRules | None = None,
) -> Manifest:
    """Read COCO files.

    `files` maps train, val and test to `JSON=FOLDER`, both under the root ("" for none). Image ids are the file names.
    `masks_into` asks for masks and is the manifest's folder, below which their PNG files go.
    """
    rules = rules or BoxRules()
    if masks_into is not None and not Path(root.location).is_dir():
        raise UserError(f"--masks needs the images in a folder; unpack '{root.location}'")
    read: dict[str, CocoFile] = {}
    folders: dict[str, str] = {}
    for name, place in files.items():
        if not place:
            continue
        path, separator, folder = place.partition("=")
        if not separator:
            raise UserError(f"--{name} '{place}': expected JSON=FOLDER, both under '{root.location}'")
        if not root.exists(path):
            raise UserError(f"'{root.location}' holds no '{path}'; say where it is with --{name} JSON=FOLDER")
        read[name] = parse_coco(read_text(root, path), f"{root.location}/{path}")
        folders[name] = "" if folder.strip("/") == "." else folder.strip("/")
    if not read:
        raise UserError("no JSON file was named; pass --train, --val or --test JSON=FOLDER")
    categories, headings = _common_categories(read, root.location)
    label_of = {key: k for k, (key, _) in enumerate(categories)}
    notes = [
        f"category '{name}' has no annotation and is only a heading of others: it is no class"
        for name in headings
    ]
    splits: dict[str, Split] = {}
    pngs: dict[str, bytes] = {}
    for name, coco in read.items():
        images, said = _with_paths(root, coco.images, folders[name])
        notes.extend(said)
        if masks_into is None:
            split, made = split_of_images(images, label_of, several_classes, rules, root)
        else:
            made = label_images(images, label_of, several_classes, rules)
            split, masks = _split_with_masks(made, name, root)
            pngs |= masks
        splits[ROLE_OF[name]] = split
        notes.extend(made.notes(name, several_classes))
    location = root.location
    if masks_into is not None:
        written = write_masks(masks_into, pngs).resolve().as_posix()
        location, below, masks_below = common_folder(root.location, written)
        splits = {role: seen_from_above(s, below, masks_below) for role, s in splits.items()}
    return manifest_of_splits(
        "coco",
        splits,
        [name for _, name in categories],
        location,
        notes,
        holdout_per_class=holdout_per_class,
        seed=seed,
    )


def _common_categories(
    read: Mapping[str, CocoFile], location: str
) -> tuple[tuple[tuple[str, str], ...], list[str]]:
    """The categories that all files agree on, and the headings; a heading in one file may be a class of another."""
    every = {key: name for coco in read.values() for key, name in coco.categories}
    for split, coco in read.items():
        of_this = dict(coco.categories)
        lost = {n for k, n in every.items() if k not in of_this} - set(coco.headings)
        if lost or any(every[k] != n for k, n in of_this.items()):
            raise UserError(
                f"{location}: the categories of the {split} file differ from those of the others; labels would "
                "not agree"
            )
    headings = {h for coco in read.values() for h in coco.headings} - set(every.values())
    return tuple(sorted(every.items(), key=by_id)), sorted(headings)


def _with_paths(
    root: FileRoot, images: Sequence[AnnotatedImage], folder: str
) -> tuple[list[AnnotatedImage], list[str]]:
    """The images with the paths of their files; a file that is nowhere keeps its stated path, for the audit to name."""
    found, names = [], None
    for image in images:
        path = f"{folder}/{image.path}" if folder else image.path
        if not root.exists(path):
            names = names or ImageNames(n for n in root.names(folder) if n.lower().endswith(IMAGE_SUFFIXES))
            with contextlib.suppress(ValueError):
                path = names.find(path)
        found.append(
            AnnotatedImage(image.image_id, path, image.objects, image.size_wh, image.where, image.crowds)
        )
    return found, names.notes("file_name") if names else []


def _split_with_masks(made: LabelledImages, folder: str, root: FileRoot) -> tuple[Split, dict[str, bytes]]:
    """Kept images as a split whose masks (path to PNG bytes) are named below `folder`."""
    masks: dict[str, bytes] = {}
    for image, label, objects in made.kept:
        size = image.size_wh if image.size_wh[0] else image_size_wh(root.read_bytes(image.path), image.path)
        paths: dict[str, str] = {}
        for kind, shapes in (("mask", [o.mask for o in objects if o.mask]), ("ignore", list(image.crowds))):
            png = mask_png(shapes, size, image.image_id)
            if png is not None:
                path = f"{folder}/{kind}/{image.image_id.rpartition('.')[0] or image.image_id}.png"
                if path in masks:  # a.jpg and a.png are two images
                    path = f"{folder}/{kind}/{image.image_id}.png"
                paths[kind] = path
                masks[path] = png
        made.builder.add(
            image.image_id,
            label,
            path=image.path,
            size_wh=size,
            boxes_xyxy=[o.box for o in objects],
            masks=[paths["mask"]] if "mask" in paths else [],
            ignore_mask=paths.get("ignore"),
            where=image.where,
        )
    return made.builder.build(), masks


@dataclass(frozen=True)
class Coco(Detections):
    """COCO instances JSON: boxes, and on request masks from polygons and run lengths."""

    # --- this layout
    train: str = "annotations/instances_train2017.json=train2017"
    """JSON of the training images and their folder, under SOURCE: JSON=FOLDER. Empty for none."""
    val: str = ""
    """The same for train-fullsup. Empty: a hold-out of training images."""
    test: str = "annotations/instances_val2017.json=val2017"
    """The same for the test images."""
    masks: Flag = False
    """Also decode the segmentations, to PNG files in masks/ of the manifest's folder."""

    def read(self, source: Path) -> Manifest:
        return read_coco(
            open_root(source),
            {"train": self.train, "val": self.val, "test": self.test},
            masks_into=(self.out or manifests_folder() / "coco") if self.masks else None,
            several_classes=self.several_classes,
            holdout_per_class=self.holdout,
            seed=self.seed,
            rules=self.rules,
        )
