"""COCO's instances JSON, read and written.

    {"images": [{"id", "file_name", "width", "height", ...}],
     "annotations": [{"id", "image_id", "category_id", "bbox": [x, y, width, height], "segmentation",
     "iscrowd", ...}], "categories": [{"id", "name", ...}]}

Boxes become half-open corners x, y, x + width, y + height. Labels follow the ascending category ids. Polygons
and run-length masks become one PNG an image (the union of its instances) where masks are asked for; crowd
regions are no boxes and become the ignore mask. What a manifest has no column for (ids, areas, polygons,
licences) is kept beside it in `coco.json`, so that a manifest can be written back as COCO JSON.
"""

from __future__ import annotations

import io
import itertools
import math
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wsol.datasets.holdout import hold_out_boxed
from wsol.datasets.single_label import Policy, choose_label, left_out_note
from wsol.datasets.split_builder import SplitBuilder, seen_from_above
from wsol.datasets.text_fields import read_text
from wsol.errors import UserError
from wsol.files.strict_json import load_json
from wsol.images import FileRoot, safe_relative
from wsol.manifest import Manifest, Split

Json = dict[str, Any]
ROLE_OF = {"train": "train-weaksup", "val": "train-fullsup", "test": "test"}


@dataclass(frozen=True)
class CocoImage:
    """One image with its annotations as they stand in the file."""

    entry: Json
    annotations: tuple[Json, ...]


@dataclass(frozen=True)
class CocoFile:
    """A checked file: images in order, categories by ascending id, and everything else at the top level."""

    images: tuple[CocoImage, ...]
    categories: tuple[Json, ...]
    rest: Json
    order: tuple[int, ...] = field(default=())
    """Ids of the annotations in file order."""


def parse_coco(text: str, where: str) -> CocoFile:
    """Read and check an instances JSON; every defect is a `UserError` naming the file and the entry."""
    data = load_json(text, where)
    if not isinstance(data, dict):
        raise UserError(f"{where}: expected an object with images, annotations and categories")
    images, annotations, categories = (
        _objects(data, key, where) for key in ("images", "annotations", "categories")
    )
    by_image: dict[int, list[Json]] = {}
    names: set[str] = set()
    for i, entry in enumerate(images):
        at = f"{where}: images[{i}]"
        if _id(entry, "id", at) in by_image:
            raise UserError(f"{at}: image id {entry['id']} is used twice")
        by_image[entry["id"]] = []
        name = entry.get("file_name")
        if not isinstance(name, str) or not safe_relative(name) or name in names:
            raise UserError(f"{at}: 'file_name' must be a relative path of its own, got {name!r:.60}")
        names.add(name)
        for key in ("width", "height"):
            if not 0 < _id(entry, key, at) < 2**31:
                raise UserError(f"{at}: '{key}' must be positive, got {entry[key]}")
    category_ids: set[int] = set()
    for i, entry in enumerate(categories):
        at = f"{where}: categories[{i}]"
        if _id(entry, "id", at) in category_ids or not isinstance(entry.get("name"), str):
            raise UserError(f"{at}: needs an id of its own and a 'name'")
        category_ids.add(entry["id"])
    seen: set[int] = set()
    for i, entry in enumerate(annotations):
        at = f"{where}: annotations[{i}]"
        if _id(entry, "id", at) in seen:
            raise UserError(f"{at}: annotation id {entry['id']} is used twice")
        seen.add(entry["id"])
        if _id(entry, "image_id", at) not in by_image:
            raise UserError(f"{at}: image_id {entry['image_id']} is in no image")
        if _id(entry, "category_id", at) not in category_ids:
            raise UserError(f"{at}: category_id {entry['category_id']} is in no category")
        _check_bbox(entry.get("bbox"), at)
        by_image[entry["image_id"]].append(entry)
    return CocoFile(
        images=tuple(CocoImage(entry, tuple(by_image[entry["id"]])) for entry in images),
        categories=tuple(sorted(categories, key=lambda c: c["id"])),
        rest={k: v for k, v in data.items() if k not in ("images", "annotations", "categories")},
        order=tuple(entry["id"] for entry in annotations),
    )


def _objects(data: Json, key: str, where: str) -> list[Json]:
    entries = data.get(key)
    if not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        raise UserError(f"{where}: '{key}' must be a list of objects")
    return entries


def _id(entry: Json, key: str, at: str) -> int:
    value = entry.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**63:
        raise UserError(f"{at}: '{key}' must be a whole number, got {value!r:.40}")
    return value


def _check_bbox(value: Any, at: str) -> None:
    numbers = isinstance(value, list) and len(value) == 4
    if not numbers or not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in value):
        raise UserError(f"{at}: 'bbox' must be four numbers x, y, width, height, got {value!r:.60}")
    if not all(abs(v) < 1e9 and math.isfinite(v) and v >= 0 for v in value):
        raise UserError(f"{at}: 'bbox' {value!r:.60} (x, y, width, height) must not be negative or endless")


# --- read ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class CocoSplit:
    """One file as a split, the masks to be written (path to PNG bytes), what is kept beside, and notes."""

    split: Split
    masks: Mapping[str, bytes]
    beside: Json
    notes: tuple[str, ...]


def split_from_coco(
    coco: CocoFile,
    role: str,
    *,
    folder: str = "",
    mask_folder: str | None = None,
    several_classes: Policy = "skip",
    clip: bool = False,
    where: str = "COCO JSON",
) -> CocoSplit:
    """Turn a checked file into a split. `folder` is prefixed to file names; `mask_folder` asks for masks
    below it."""
    label_of = {c["id"]: k for k, c in enumerate(coco.categories)}
    builder = SplitBuilder(clip=clip)
    masks: dict[str, bytes] = {}
    kept: list[CocoImage] = []
    several = none = 0
    for image in coco.images:
        objects = [a for a in image.annotations if not a.get("iscrowd")]
        labels = [label_of[a["category_id"]] for a in objects]
        label = choose_label(labels, [a["bbox"][2] * a["bbox"][3] for a in objects], several_classes)
        several += len(set(labels)) > 1
        none += not labels
        if label is None:
            continue
        chosen = [a for a, k in zip(objects, labels) if k == label]
        kept.append(image)
        name = image.entry["file_name"]
        size_wh = (image.entry["width"], image.entry["height"])
        paths: dict[str, str] = {}
        if mask_folder is not None:
            crowds = [a for a in image.annotations if a.get("iscrowd")]
            for kind, entries in (("mask", chosen), ("ignore", crowds)):
                png = _mask_png([a["segmentation"] for a in entries if a.get("segmentation")], size_wh, name)
                if png is not None:
                    path = f"{mask_folder}/{kind}/{name.rpartition('.')[0] or name}.png"
                    if path in masks:  # a.jpg and a.png are two images
                        path = f"{mask_folder}/{kind}/{name}.png"
                    paths[kind] = path
                    masks[paths[kind]] = png
        builder.add(
            name,
            label,
            path=f"{folder}/{name}" if folder else name,
            size_wh=size_wh,
            boxes_xyxy=[(x, y, x + w, y + h) for x, y, w, h in (a["bbox"] for a in chosen)],
            masks=[paths["mask"]] if "mask" in paths else [],
            ignore_mask=paths.get("ignore"),
            where=where,
        )
    notes = left_out_note(role, several, none, several_classes)
    split = builder.build()
    if builder.clipped:
        notes.append(f"{role}: {builder.clipped} boxes were clipped to their image")
    return CocoSplit(split, masks, _beside(coco, kept, split), tuple(notes))


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
    counts = segmentation.get("counts")
    runs = counts if isinstance(counts, list) else _decode_counts(counts)
    if not all(isinstance(c, int) and c >= 0 for c in runs) or sum(runs) != size_wh[0] * size_wh[1]:
        raise ValueError("the runs of a run-length mask do not add up to its image")


def _decode_counts(text: Any) -> list[int]:
    """COCO's compressed run lengths: 6 bits a character, each run after the second relative to two before."""
    if not isinstance(text, str) or not text.isascii():
        raise ValueError("'counts' must be a list or a text")
    runs: list[int] = []
    at = 0
    while at < len(text):
        value = shift = 0
        more = True
        while more:
            if at == len(text) or not 0 <= ord(text[at]) - 48 < 64 or shift > 60:
                raise ValueError("'counts' is cut short or holds a wrong character")
            bits = ord(text[at]) - 48
            value |= (bits & 0x1F) << shift
            more = bool(bits & 0x20)
            at += 1
            shift += 5
            if not more and bits & 0x10:
                value |= -1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
    return runs


def read_coco(
    root: FileRoot,
    files: Mapping[str, str],
    *,
    masks_into: Path | None = None,
    several_classes: Policy = "skip",
    holdout_per_class: int = 10,
    seed: int = 0,
    clip: bool = False,
) -> tuple[Manifest, Json]:
    """Read COCO files; returns the manifest and what is kept beside it.

    `files` maps train, val and test to `JSON=FOLDER`, both under the root ("" for none). Image ids are the
    file names. `masks_into` asks for masks and says where their PNG files go.
    """
    made: dict[str, CocoSplit] = {}
    categories: tuple[tuple[int, str], ...] = ()
    for name, place in files.items():
        if not place:
            continue
        path, separator, folder = place.partition("=")
        if not separator:
            raise UserError(f"--{name} '{place}': expected JSON=FOLDER, both under '{root.location}'")
        if not root.exists(path):
            raise UserError(f"'{root.location}' holds no '{path}'; say where it is with --{name} JSON=FOLDER")
        where = f"{root.location}/{path}"
        coco = parse_coco(read_text(root, path), where)
        found = tuple((c["id"], c["name"]) for c in coco.categories)
        if categories and found != categories:
            raise UserError(
                f"{where}: its categories differ from those of the file before; labels would not agree"
            )
        categories = found
        made[name] = split_from_coco(
            coco,
            name,
            folder=folder.strip("/"),
            mask_folder=name if masks_into is not None else None,
            several_classes=several_classes,
            clip=clip,
            where=where,
        )
    if not made:
        raise UserError("no JSON file was named; pass --train, --val or --test JSON=FOLDER")
    location, splits = root.location, {n: m.split for n, m in made.items()}
    if masks_into is not None:
        location, splits = _with_mask_files(root, made, masks_into)
    by_role = {ROLE_OF[name]: split for name, split in splits.items()}
    notes = [note for m in made.values() for note in m.notes]
    classes = tuple(name for _, name in categories)
    if "train-weaksup" in by_role and "train-fullsup" not in by_role:
        notes.extend(hold_out_boxed(by_role, classes, holdout_per_class, seed))
    manifest = Manifest("coco", classes, by_role, location, corners="half-open", notes=tuple(notes))
    return manifest, {name: m.beside for name, m in made.items()}


def _with_mask_files(
    root: FileRoot, made: Mapping[str, CocoSplit], into: Path
) -> tuple[str, dict[str, Split]]:
    """Write the masks, and see images and masks from the folder above both."""
    if not Path(root.location).is_dir():
        raise UserError(f"--masks needs the images in a folder; unpack '{root.location}'")
    place = str(into.resolve())
    for coco_split in made.values():
        for path, png in coco_split.masks.items():
            file = into / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(png)
    location = os.path.commonpath([root.location, place])
    images, masks = root.location[len(location) :].strip("/"), place[len(location) :].strip("/")
    return location, {name: seen_from_above(m.split, images, masks) for name, m in made.items()}


# --- write --------------------------------------------------------------------------------------------------


def _beside(coco: CocoFile, kept: Iterable[CocoImage], split: Split) -> Json:
    """What the split cannot hold, by file name: other keys of images and annotations, annotations that are no
    boxes of it, and boxes whose width does not survive the way over corners."""
    images: Json = {}
    annotations: dict[str, list[Json]] = {}
    used: set[int] = set()
    for row, image in enumerate(kept):
        name = image.entry["file_name"]
        images[name] = {k: v for k, v in image.entry.items() if k not in ("file_name", "width", "height")}
        category = coco.categories[int(split.labels[row])]["id"]
        mine = [a for a in image.annotations if not a.get("iscrowd") and a["category_id"] == category]
        entries: list[Json] = []
        for entry, box in zip(mine, split.boxes(row).tolist()):
            rest = {k: v for k, v in entry.items() if k not in ("image_id", "category_id")}
            if _bbox(box) == entry["bbox"]:
                del rest["bbox"]
            else:
                rest["corners"] = box
            entries.append(rest)
        chosen = {a["id"] for a in mine}
        entries.extend({"whole": a} for a in image.annotations if a["id"] not in chosen)
        annotations[name] = entries
        used |= {a["id"] for a in image.annotations}
    return {
        "categories": list(coco.categories),
        "images": images,
        "annotations": annotations,
        "order": [i for i in coco.order if i in used],
        "rest": coco.rest,
    }


def _bbox(box_xyxy: list[float]) -> list[float]:
    x0, y0, x1, y1 = box_xyxy
    return [x0, y0, x1 - x0, y1 - y0]


def coco_from_split(manifest: Manifest, role: str, beside: Json | None = None) -> Json:
    """A split as COCO JSON.

    `beside` is what was kept of the file that the split came from: then that file is given back, less the
    images that were left out, with the manifest's boxes. Without it, or for images that it does not know, ids
    count on from the highest known and areas are those of the boxes.
    """
    split = manifest.split(role)
    offset = 1.0 if manifest.corners == "inclusive" else 0.0
    kept = beside or {"categories": [], "images": {}, "annotations": {}, "order": [], "rest": {}}
    categories = kept["categories"] or [{"id": k + 1, "name": n} for k, n in enumerate(manifest.classes)]
    next_image = itertools.count(max((i["id"] for i in kept["images"].values()), default=0) + 1)
    next_annotation = itertools.count(max(kept["order"], default=0) + 1)
    images: list[Json] = []
    annotations: list[Json] = []
    for row, name in enumerate(split.image_ids):
        known = kept["images"].get(name)
        size = split.size_wh(row)
        entry = {"file_name": name, **({"width": size[0], "height": size[1]} if size else {})}
        images.append({**(known if known is not None else {"id": next(next_image)}), **entry})
        entries = kept["annotations"].get(name, ())
        rests = iter([e for e in entries if "whole" not in e])
        for box in split.boxes(row).tolist():
            x, y, w, h = _bbox(box)
            made: Json = {"bbox": [x, y, w + offset, h + offset]}
            rest = dict(next(rests, {}))
            if rest.pop("corners", box) != box:
                rest.pop("bbox")
            fresh = (
                {}
                if rest
                else {"iscrowd": 0, "area": (w + offset) * (h + offset), "id": next(next_annotation)}
            )
            place = {"image_id": images[-1]["id"], "category_id": categories[int(split.labels[row])]["id"]}
            annotations.append({**made, **rest, **fresh, **place})
        annotations.extend(e["whole"] for e in entries if "whole" in e)
    order = {number: k for k, number in enumerate(kept["order"])}
    annotations.sort(key=lambda a: order.get(a["id"], len(order)))
    return {**kept["rest"], "images": images, "annotations": annotations, "categories": categories}
