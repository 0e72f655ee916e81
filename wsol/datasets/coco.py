"""COCO's instances JSON, read and written.

    {"images": [{"id", "file_name", "width", "height", ...}],
     "annotations": [{"image_id", "category_id", "bbox": [x, y, width, height], "segmentation", "iscrowd", ...}],
     "categories": [{"id", "name", ...}]}

Boxes become half-open corners x, y, x + width, y + height. Labels follow the ascending category ids. Ids are keys:
numbers and texts are read alike, and annotations need none. Sizes that are absent or no sizes (-1, 0) come from the
files. A category that is only the supercategory of others and has no annotation (Roboflow's root) is no class. Crowd
regions are no boxes.

Where masks are asked for, polygons and run lengths become one PNG an image (the union of its
instances), and crowd regions the ignore mask. They lie in `masks/` of the manifest's own folder, their
checksums in `masks.sha256` beside it.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wsol.datasets.boxes import BoxRules
from wsol.datasets.catalog import manifests_folder
from wsol.datasets.detections import (
    AnnotatedImage,
    DetectedObject,
    LabelledImages,
    Policy,
    label_images,
    manifest_of_splits,
    split_of_images,
)
from wsol.datasets.image_names import ImageNames, clean_name
from wsol.datasets.mask_files import write_masks
from wsol.datasets.options import Common, Flag
from wsol.datasets.split_builder import common_folder, seen_from_above
from wsol.datasets.text_fields import read_text
from wsol.errors import UserError
from wsol.files.roots import FileRoot, open_root, safe_relative
from wsol.files.run_lengths import checked_runs
from wsol.files.strict_json import load_json
from wsol.images import IMAGE_SUFFIXES, image_size_wh
from wsol.manifest import Manifest, Split

Json = dict[str, Any]
ROLE_OF = {"train": "train-weaksup", "val": "train-fullsup", "test": "test"}


@dataclass(frozen=True)
class CocoFile:
    """A checked file: images in order, and (key, name) of the categories by ascending id, headings left out."""

    images: tuple[AnnotatedImage, ...]
    categories: tuple[tuple[str, str], ...]
    headings: tuple[str, ...] = ()


def parse_coco(text: str, where: str) -> CocoFile:
    """Read and check an instances JSON; every defect is a `UserError` naming the file and the entry."""
    data = load_json(text, where)
    if not isinstance(data, dict):
        raise UserError(f"{where}: expected an object with images, annotations and categories")
    images, annotations, categories = (
        _objects(data, key, where) for key in ("images", "annotations", "categories")
    )
    objects: dict[str, list[DetectedObject]] = {}
    crowds: dict[str, list[Any]] = {}
    names: set[str] = set()
    for i, entry in enumerate(images):
        at = f"{where}: images[{i}]"
        key = _key(entry, "id", at)
        if key in objects:
            raise UserError(f"{at}: image id {entry['id']} is used twice")
        objects[key], crowds[key] = [], []
        name = _file_name(entry, at)
        if name in names:
            raise UserError(f"{at}: 'file_name' must be a relative path of its own, got {name!r:.60}")
        names.add(name)
    named: dict[str, str] = {}
    for i, entry in enumerate(categories):
        at = f"{where}: categories[{i}]"
        key = _key(entry, "id", at)
        if key in named or not isinstance(entry.get("name"), str):
            raise UserError(f"{at}: needs an id of its own and a 'name'")
        named[key] = entry["name"]
    for i, entry in enumerate(annotations):
        at = f"{where}: annotations[{i}]"
        image, category = _key(entry, "image_id", at), _key(entry, "category_id", at)
        if image not in objects:
            raise UserError(f"{at}: image_id {entry['image_id']} is in no image")
        if category not in named:
            raise UserError(f"{at}: category_id {entry['category_id']} is in no category")
        x, y, w, h = _bbox(entry.get("bbox"), at)
        mask = entry.get("segmentation") or None
        if entry.get("iscrowd"):
            crowds[image].append(mask)
        else:
            objects[image].append(DetectedObject(category, (x, y, x + w, y + h), mask))
    supers = {c["supercategory"] for c in categories if isinstance(c.get("supercategory"), str)}
    used = {o.class_key for found in objects.values() for o in found}
    headings = {
        k for k, n in named.items() if k not in used and n in supers and _has_members(n, k, categories)
    }
    return CocoFile(
        images=tuple(
            AnnotatedImage(
                _file_name(entry, where),
                _file_name(entry, where),
                tuple(objects[key]),
                _size_wh(entry),
                where,
                tuple(m for m in crowds[key] if m is not None),
            )
            for entry in images
            for key in (_key(entry, "id", where),)
        ),
        categories=tuple(sorted(((k, n) for k, n in named.items() if k not in headings), key=_by_id)),
        headings=tuple(sorted(named[k] for k in headings)),
    )


def _has_members(name: str, key: str, categories: list[Json]) -> bool:
    """Whether a category is the supercategory of another one."""
    return any(c.get("supercategory") == name and _key(c, "id", "") != key for c in categories)


def _by_id(category: tuple[str, str]) -> tuple[bool, int, str]:
    key = category[0]
    return (False, int(key), "") if key.isdecimal() else (True, 0, key)


def _objects(data: Json, key: str, where: str) -> list[Json]:
    entries = data.get(key)
    if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        raise UserError(f"{where}: '{key}' must be a list of objects")
    return entries


def _key(entry: Json, key: str, at: str) -> str:
    """An id as a key: 1, 1.0 and "1" are one."""
    value = entry.get(key)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, str) and value.strip():
        return value.strip()
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise UserError(f"{at}: '{key}' must be a whole number or a text, got {value!r:.40}")
    return str(value)


def _file_name(entry: Json, at: str) -> str:
    value = entry.get("file_name")
    name = (
        clean_name(value)
        if isinstance(value, str) and ".." not in value and not value.startswith("/")
        else ""
    )
    if not safe_relative(name):
        raise UserError(f"{at}: 'file_name' must be a relative path of its own, got {value!r:.60}")
    return name


def _size_wh(entry: Json) -> tuple[int, int]:
    """The stated size, or (0, 0) where the file states none that a picture can have (VIA writes -1)."""
    found = []
    for key in ("width", "height"):
        value = entry.get(key)
        try:
            number = (
                float(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else 0.0
            )
        except (ValueError, OverflowError):
            number = 0.0
        found.append(int(number) if number.is_integer() and 0 < number < 2**31 else 0)
    return (found[0], found[1]) if all(found) else (0, 0)


def _bbox(value: Any, at: str) -> tuple[float, float, float, float]:
    numbers = isinstance(value, list) and len(value) == 4
    if not numbers or not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in value):
        raise UserError(f"{at}: 'bbox' must be four numbers x, y, width, height, got {value!r:.60}")
    if not all(abs(v) < 1e9 for v in value) or min(value[2:]) < 0:
        raise UserError(
            f"{at}: 'bbox' {value!r:.60} (x, y, width, height) must not be endless or of negative size"
        )
    x, y, w, h = value
    return x, y, w, h


def _mask_png(segmentations: list[Any], size_wh: tuple[int, int], name: str) -> bytes | None:
    """The union of COCO segmentations as an 8-bit PNG, or None where there is none."""
    if not segmentations:
        return None
    try:
        from pycocotools import mask as masks
    except ImportError as error:
        raise UserError("masks of COCO JSON need pycocotools: pip install 'wsol-eval[coco]'") from error

    width, height = size_wh
    union = np.zeros((height, width), np.uint8)
    for segmentation in segmentations:
        try:
            _check_segmentation(segmentation, size_wh)
            if isinstance(segmentation, list):
                coded = masks.merge(masks.frPyObjects(segmentation, height, width))
            elif isinstance(segmentation["counts"], list):
                coded = masks.frPyObjects(segmentation, height, width)
            else:
                coded = segmentation
            union |= masks.decode(coded)
        except Exception as error:  # pycocotools raises nearly anything on broken input
            raise UserError(f"image '{name}': its segmentation cannot be decoded ({error})") from error
    stream = io.BytesIO()
    Image.fromarray(union * np.uint8(255)).save(stream, "PNG")
    return stream.getvalue()


def _check_segmentation(segmentation: Any, size_wh: tuple[int, int]) -> None:
    """What pycocotools would read past the end of is refused before it sees it."""
    if isinstance(segmentation, list):
        for polygon in segmentation:
            numbers = isinstance(polygon, list) and len(polygon) >= 6 and len(polygon) % 2 == 0
            if not numbers or not all(isinstance(v, (int, float)) and abs(v) < 1e6 for v in polygon):
                raise ValueError(
                    f"a polygon needs an even number of at least six numbers, got {polygon!r:.40}"
                )
        return
    if not isinstance(segmentation, dict) or list(segmentation.get("size", ())) != list(size_wh[::-1]):
        raise ValueError(
            f"a run-length mask must have the image's size [height, width], got {segmentation!r:.60}"
        )
    checked_runs(segmentation)


# --- read ---------------------------------------------------------------------------------------------------


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
    return tuple(sorted(every.items(), key=_by_id)), sorted(headings)


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
            png = _mask_png(shapes, size, image.image_id)
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


# --- write --------------------------------------------------------------------------------------------------


def coco_from_split(manifest: Manifest, role: str) -> Json:
    """A split as COCO JSON: ids count from 1, category ids are labels + 1, areas are those of the boxes."""
    split = manifest.split(role)
    last_pixel = 1.0 if manifest.corners == "inclusive" else 0.0
    images: list[Json] = []
    annotations: list[Json] = []
    for row, name in enumerate(split.image_ids):
        size = split.size_wh(row)
        stated = {"width": size[0], "height": size[1]} if size else {}
        images.append({"id": row + 1, "file_name": name, **stated})
        for x0, y0, x1, y1 in split.boxes(row).tolist():
            w, h = x1 - x0 + last_pixel, y1 - y0 + last_pixel
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": row + 1,
                    "category_id": int(split.labels[row]) + 1,
                    "bbox": [x0, y0, w, h],
                    "area": w * h,
                    "iscrowd": 0,
                }
            )
    categories = [{"id": k + 1, "name": name} for k, name in enumerate(manifest.classes)]
    return {"images": images, "annotations": annotations, "categories": categories}


@dataclass(frozen=True)
class Coco(Common):
    """COCO instances JSON: boxes, and on request masks from polygons and run lengths."""

    train: str = "annotations/instances_train2017.json=train2017"
    """JSON of the training images and their folder, under SOURCE: JSON=FOLDER. Empty for none."""
    val: str = ""
    """The same for train-fullsup. Empty: a hold-out of training images."""
    test: str = "annotations/instances_val2017.json=val2017"
    """The same for the test images."""
    masks: Flag = False
    """Also decode the segmentations, to PNG files in masks/ of the manifest's folder."""
    several_classes: Policy = "skip"
    """Images that show several classes: leave them out, or label them by their largest object."""
    holdout: int = 10
    """Training images a class that become train-fullsup where there is no --val."""
    seed: int = 0
    """Seed of the hold-out."""

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
