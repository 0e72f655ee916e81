"""COCO's instances JSON as a text: parsed and checked, and written.

    {"images": [{"id", "file_name", "width", "height", ...}],
     "annotations": [{"image_id", "category_id", "bbox": [x, y, width, height], "segmentation", "iscrowd", ...}],
     "categories": [{"id", "name", ...}]}

Boxes become half-open corners x, y, x + width, y + height. Ids are keys: numbers and texts are read alike, and
annotations need none. Sizes that are absent or no sizes (-1, 0) count as unknown. A category that is only the
supercategory of others and has no annotation (Roboflow's root) is no class. Crowd regions are no boxes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from wsol.datasets.detections import AnnotatedImage, DetectedObject
from wsol.datasets.image_names import clean_name
from wsol.errors import UserError
from wsol.files.roots import safe_relative
from wsol.files.strict_json import load_json
from wsol.manifest import Manifest

Json = dict[str, Any]


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
        categories=tuple(sorted(((k, n) for k, n in named.items() if k not in headings), key=by_id)),
        headings=tuple(sorted(named[k] for k in headings)),
    )


def _has_members(name: str, key: str, categories: list[Json]) -> bool:
    """Whether a category is the supercategory of another one."""
    return any(c.get("supercategory") == name and _key(c, "id", "") != key for c in categories)


def by_id(category: tuple[str, str]) -> tuple[bool, int, str]:
    """What (key, name) of categories are sorted by: numbers by value, then texts."""
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
