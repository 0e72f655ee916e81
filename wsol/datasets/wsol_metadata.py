"""The reference metadata layout (Choe et al., CVPR 2020), read and written. Images may be absent.

    <dataset>/<split>/image_ids.txt       one id a line; split is train, val (= train-fullsup) or test
    <dataset>/<split>/class_labels.txt    `id,label`
    <dataset>/<split>/image_sizes.txt     `id,width,height`            (may be absent; iNatLoc500 has height,width)
    <dataset>/<split>/localization.txt    `id,x0,y0,x1,y1`, one line a box   (may be absent), or
                                          `id,mask path,ignore path`, the ignore path often blank

An image may have several box or mask lines; only its first mask line names an ignore mask. The layout names
no classes: they are taken from the folders in the image ids where these agree with the labels. Both corners
are inside the box, as the reference's IoU has it. Lines end with a newline, the last one without.

A manifest written back gives the same bytes, as long as every file lists the images in the order of
image_ids.txt and numbers in their shortest form; a file that does not is named in the manifest's notes and
comes back in that form.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from wsol.datasets.boxes import Box, BoxRules
from wsol.datasets.options import Common, Optional
from wsol.datasets.recognise import unknown_layout
from wsol.datasets.split_builder import SplitBuilder
from wsol.datasets.text_fields import at_line, numbered_lines, read_text, to_box, to_int
from wsol.errors import UserError
from wsol.files.roots import FileRoot, open_root
from wsol.manifest import Manifest, Split

ROLE_OF = {"train": "train-weaksup", "val": "train-fullsup", "test": "test"}
FILES = ("image_ids.txt", "class_labels.txt", "image_sizes.txt", "localization.txt")
SizeOrder = Literal["width-height", "height-width"]


@dataclass
class Localization:
    """localization.txt by image id: boxes and the line of the first, or masks with at most one ignore mask an image."""

    lines: dict[str, int] = field(default_factory=dict)
    boxes: dict[str, list[Box]] = field(default_factory=dict)
    masks: dict[str, list[str]] = field(default_factory=dict)
    ignore: dict[str, str] = field(default_factory=dict)


def parse_image_ids(text: str, where: str) -> list[str]:
    """image_ids.txt: the ids in file order, each once."""
    ids: list[str] = []
    seen: set[str] = set()
    for number, line in numbered_lines(text):
        with at_line(where, number):
            if line in seen:
                raise ValueError(f"image '{line}' is listed twice")
            seen.add(line)
            ids.append(line)
    return ids


def parse_class_labels(text: str, where: str, ids: frozenset[str]) -> dict[str, int]:
    """class_labels.txt: the label of each id."""
    labels: dict[str, int] = {}
    for number, line in numbered_lines(text):
        with at_line(where, number):
            image_id, label = _from_right(line, 1, "id,label")
            _check_id(image_id, ids, labels)
            labels[image_id] = to_int(label, "label")
            if not 0 <= labels[image_id] < 1_000_000:
                raise ValueError(f"label {label} is not in 0..999999")
    return labels


def parse_image_sizes(
    text: str, where: str, ids: frozenset[str], order: SizeOrder = "width-height"
) -> dict[str, tuple[int, int]]:
    """image_sizes.txt: (width, height) of each id."""
    sizes: dict[str, tuple[int, int]] = {}
    for number, line in numbered_lines(text):
        with at_line(where, number):
            image_id, width, height = _from_right(line, 2, "id,width,height")
            _check_id(image_id, ids, sizes)
            size = to_int(width, "width"), to_int(height, "height")
            if not all(0 < side < 2**31 for side in size):
                raise ValueError(f"image size {width}x{height} is not possible")
            sizes[image_id] = size if order == "width-height" else size[::-1]
    return sizes


def parse_localization(text: str, where: str, ids: frozenset[str]) -> Localization:
    """localization.txt: boxes or masks; the first line says which."""
    found = Localization()
    holds_boxes: bool | None = None
    for number, line in numbered_lines(text):
        with at_line(where, number):
            if holds_boxes is None:
                holds_boxes = line.count(",") >= 4
            if holds_boxes:
                image_id, *box = _from_right(line, 4, "id,x0,y0,x1,y1")
                _check_id(image_id, ids, ())
                found.boxes.setdefault(image_id, []).append(to_box(box))
                found.lines.setdefault(image_id, number)
                continue
            image_id, mask, ignore = (*line.split(","), "")[:3]
            if line.count(",") not in (1, 2) or not mask:
                raise ValueError(f"expected 'id,mask path,ignore path' or 'id,x0,y0,x1,y1', got {line!r:.80}")
            _check_id(image_id, ids, ())
            found.masks.setdefault(image_id, []).append(mask)
            if ignore:
                if len(found.masks[image_id]) > 1:
                    raise ValueError(f"only the first line of image '{image_id}' may name an ignore mask")
                found.ignore[image_id] = ignore
    return found


def _from_right(line: str, count: int, form: str) -> list[str]:
    fields = line.rsplit(",", count)
    if len(fields) != count + 1:
        raise ValueError(f"expected '{form}', got {line!r:.80}")
    return fields


def _check_id(image_id: str, ids: frozenset[str], seen: Mapping[str, object] | Sequence[str]) -> None:
    if image_id not in ids:
        raise ValueError(f"image '{image_id}' is not in image_ids.txt")
    if image_id in seen:
        raise ValueError(f"image '{image_id}' is listed twice")


# --- read ---------------------------------------------------------------------------------------------------


def find_datasets(root: FileRoot) -> list[str]:
    """Folders (relative, "" for the root itself) that hold at least one `<split>/image_ids.txt`."""
    found = set()
    for name in root.names():
        pieces = name.split("/")
        if len(pieces) >= 2 and pieces[-1] == "image_ids.txt" and pieces[-2] in ROLE_OF:
            found.add("/".join(pieces[:-2]))
    return sorted(found)


def choose_dataset(root: FileRoot, wanted: str | None) -> FileRoot:
    """The folder of one dataset: the only one there, or the one that `wanted` names by its last piece."""
    folders = find_datasets(root)
    names = ", ".join(f"'{f.rsplit('/', 1)[-1] or '.'}'" for f in folders)
    if wanted is not None:
        hits = [f for f in folders if wanted in (f, f.rsplit("/", 1)[-1])]
        if len(hits) != 1:
            raise UserError(f"--dataset-folder '{wanted}': '{root.location}' holds {names or 'no dataset'}")
        return root.subfolder(hits[0])
    if not folders:
        raise unknown_layout(
            root, "the reference metadata layout", f"<split>/image_ids.txt with split in {', '.join(ROLE_OF)}"
        )
    if len(folders) > 1:
        raise UserError(
            f"'{root.location}' holds several datasets; choose one with --dataset-folder: {names}"
        )
    return root.subfolder(folders[0])


def read_wsol_metadata(
    root: FileRoot,
    *,
    dataset_folder: str | None = None,
    images: str | None = None,
    num_classes: int | None = None,
    sizes: SizeOrder = "width-height",
    rules: BoxRules | None = None,
) -> Manifest:
    """Read a dataset in the reference metadata layout.

    `images` is the folder or zip that image ids and mask paths are relative to; None for work on boxes alone.
    `num_classes` is the highest label + 1 unless it is given. `sizes` is the order in image_sizes.txt.
    """
    root = choose_dataset(root, dataset_folder)
    splits: dict[str, Split] = {}
    notes: list[str] = []
    for name, role in ROLE_OF.items():
        if root.exists(f"{name}/image_ids.txt"):
            splits[role], texts, said = _read_split(root, name, sizes, rules or BoxRules())
            notes.extend(said)
            for file, text in write_split_texts(splits[role]).items():
                if texts.get(file) is not None and texts[file] != text and sizes == "width-height":
                    notes.append(
                        f"{name}/{file} is in another order or number format than the one written back"
                    )
    highest = max((int(s.labels.max()) for s in splits.values() if len(s)), default=-1) + 1
    count = highest if num_classes is None else num_classes
    if count < highest:
        raise UserError(f"--num-classes {count}: '{root.location}' has labels up to {highest - 1}")
    return Manifest(
        dataset=root.location.rstrip("/").rsplit("/", 1)[-1],
        classes=class_names(splits, count),
        splits=splits,
        root=images,
        corners="inclusive",
        notes=tuple(notes),
    )


def _read_split(
    root: FileRoot, name: str, order: SizeOrder, rules: BoxRules
) -> tuple[Split, dict[str, str | None], list[str]]:
    texts = {f: read_text(root, f"{name}/{f}") if root.exists(f"{name}/{f}") else None for f in FILES}
    where = {f: f"{root.location}/{name}/{f}" for f in FILES}
    ids = parse_image_ids(texts["image_ids.txt"] or "", where["image_ids.txt"])
    known = frozenset(ids)
    if texts["class_labels.txt"] is None:
        raise UserError(
            f"{where['class_labels.txt']} is missing; every split needs image_ids.txt and class_labels.txt"
        )
    labels = parse_class_labels(texts["class_labels.txt"], where["class_labels.txt"], known)
    if len(labels) != len(ids):
        lost = next(i for i in ids if i not in labels)
        raise UserError(
            f"{where['class_labels.txt']}: image '{lost}' has no label ({len(ids) - len(labels)} are so)"
        )
    sizes = parse_image_sizes(texts["image_sizes.txt"] or "", where["image_sizes.txt"], known, order)
    marks = parse_localization(texts["localization.txt"] or "", where["localization.txt"], known)
    builder = SplitBuilder(rules)
    for image_id in ids:
        builder.add(
            image_id,
            labels[image_id],
            size_wh=sizes.get(image_id, (0, 0)),
            boxes_xyxy=marks.boxes.get(image_id, ()),
            masks=marks.masks.get(image_id, ()),
            ignore_mask=marks.ignore.get(image_id),
            where=f"{where['localization.txt']}:{marks.lines.get(image_id, 1)}",
        )
    return builder.build(), texts, builder.notes(name)


def class_names(splits: Mapping[str, Split], count: int) -> tuple[str, ...]:
    """Names of the labels 0..count-1: the folder above the images where every label has one folder of its
    own, in the first split that says so; `class N` elsewhere."""
    names = [f"class {k}" for k in range(count)]
    for split in reversed(list(splits.values())):
        folder: dict[int, str] = {}
        consistent = True
        for image_id, label in zip(split.image_ids, split.labels.tolist()):
            above = image_id.split("/")[-2] if "/" in image_id else ""
            consistent &= bool(above) and folder.setdefault(label, above) == above
        if consistent and len(set(folder.values())) == len(folder):
            for label, name in folder.items():
                names[label] = name
    return tuple(names)


# --- write --------------------------------------------------------------------------------------------------


def write_split_texts(split: Split) -> dict[str, str]:
    """The four files of one split as texts. image_sizes.txt and localization.txt are left out where the split
    states no size, box or mask at all; an image id holding a comma or a newline is refused."""
    for image_id in split.image_ids:
        if "," in image_id or "\n" in image_id:
            raise UserError(
                f"image id {image_id!r} holds a comma or newline; the reference layout cannot hold it"
            )
    texts = {
        "image_ids.txt": "\n".join(split.image_ids),
        "class_labels.txt": "\n".join(f"{i},{k}" for i, k in zip(split.image_ids, split.labels.tolist())),
    }
    sizes = split.sizes_wh.tolist()
    if split.sizes_wh.any():
        texts["image_sizes.txt"] = "\n".join(
            f"{i},{w},{h}" for i, (w, h) in zip(split.image_ids, sizes) if w and h
        )
    marks = "\n".join(_localization_lines(split))
    if marks:
        texts["localization.txt"] = marks
    return texts


def _localization_lines(split: Split) -> Iterator[str]:
    both = np.diff(split.box_offsets) > 0
    if split.masks and both.any():
        raise UserError("localization.txt holds either boxes or masks; this split has both: write one kind")
    for i, image_id in enumerate(split.image_ids):
        for box in split.boxes(i).tolist():
            yield f"{image_id},{','.join(_shortest(v) for v in box)}"
        for m, mask in enumerate(split.masks.get(i, ())):
            yield f"{image_id},{mask},{split.ignore_masks.get(i, '') if m == 0 else ''}"


def _shortest(value: float) -> str:
    return str(int(value)) if value.is_integer() else repr(value)


def write_wsol_metadata(manifest: Manifest, folder: str | os.PathLike[str]) -> Path:
    """Write a manifest in the reference metadata layout, one subfolder a split,
    into a new or empty folder."""
    out = Path(folder)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"'{out}' exists already; choose a new folder")
    name_of = {role: name for name, role in ROLE_OF.items()}
    texts = {name_of[role]: write_split_texts(split) for role, split in manifest.splits.items()}
    for name, files in texts.items():
        (out / name).mkdir(parents=True)
        for file, text in files.items():
            (out / name / file).write_text(text, encoding="utf-8", newline="\n")
    return out


@dataclass(frozen=True)
class WsolMetadata(Common):
    """The reference metadata layout (text files of ids, labels, sizes and boxes); images may be absent."""

    # --- this layout
    dataset_folder: Optional[str] = None
    """Which dataset, where the source holds several: CUB, ILSVRC, OpenImages."""
    images: Optional[Path] = None
    """Folder or zip that the image ids are relative to. Default: none, for work on boxes alone."""
    num_classes: Optional[int] = None
    """Number of classes. Default: the highest label + 1."""
    sizes: SizeOrder = "width-height"
    """Order of the numbers in image_sizes.txt; iNatLoc500 has height-width."""

    def read(self, source: Path) -> Manifest:
        return read_wsol_metadata(
            open_root(source),
            dataset_folder=self.dataset_folder,
            images=open_root(self.images).location if self.images else None,
            num_classes=self.num_classes,
            sizes=self.sizes,
            rules=self.rules,
        )
