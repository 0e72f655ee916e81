"""The pivot type: what every dataset reader produces and every later stage consumes.

On disk a manifest is a folder a person can read and diff:

    manifest.yaml          schema, dataset, root of the images, classes, part names, corners, split checksums
    train-weaksup.csv      image labels only are used (training)
    train-fullsup.csv      a few images with boxes or masks (thresholds, hyper-parameters, model selection)
    test.csv               final numbers only

Each CSV has the header `image_id,path,label,width,height,boxes,masks,ignore_mask,part_mask,parts`;
columns after `label` may be left out when no row uses them. An empty `path` means: same as `image_id`.
`label` is the index into `classes`. `boxes` are corners `x0 y0 x1 y1` separated by `|`, in pixels of the
stored image, as the source gives them (`corners` in manifest.yaml says whether x1, y1 is the last pixel
or one past it). `masks` are file paths separated by `|` (the union counts). `parts` are `x y visible`
triples separated by `|`, in the order of `part_names`. `root` is a folder or a .zip file; paths are
relative to it and never leave it.

`manifest.yaml` is written last, so a folder without it is an unfinished one.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from wsol.errors import UserError, unknown_name
from wsol.files.atomic_write import scratch_folder
from wsol.files.regular import file_sha256
from wsol.files.seal import SEAL, sealed, unsealed
from wsol.files.strict_yaml import dump_yaml, read_yaml
from wsol.manifest_csv import csv_lines, numbers, read_rows
from wsol.split import Sample, Split

__all__ = [
    "SCHEMA",
    "SPLIT_ROLES",
    "Corners",
    "Manifest",
    "Sample",
    "Split",
    "load_manifest",
    "read_head",
    "split_hash",
    "write_manifest",
]

SCHEMA = 1
SPLIT_ROLES = ("train-weaksup", "train-fullsup", "test")
Corners = Literal["inclusive", "half-open"]


@dataclass(frozen=True)
class Manifest:
    """A dataset: its classes, its splits by role, and where its files are.

    Validated on construction: known split roles, labels inside the classes, unique image ids, finite boxes
    with 0 <= x0 <= x1 and 0 <= y0 <= y1 inside the image where its size is known.
    """

    dataset: str
    classes: tuple[str, ...]
    splits: Mapping[str, Split]
    root: str | None = None
    part_names: tuple[str, ...] = ()
    corners: Corners = "half-open"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for kind, names in (("dataset", (self.dataset,)), ("class", self.classes), ("part", self.part_names)):
            odd = next((n for n in names if not n.isprintable()), None)
            if odd is not None:
                place = f" of '{self.root}'" if self.root else ""
                raise UserError(
                    f"{kind} name {odd!r:.60}{place} holds a control character or a line break, which a terminal would "
                    "obey; rename it"
                )
        for role, split in self.splits.items():
            if role not in SPLIT_ROLES:
                raise unknown_name("split", role, SPLIT_ROLES)
            _check_split(split, len(self.classes), functools.partial(_in_memory, self.dataset, role))

    def split(self, role: str) -> Split:
        """The split of a role; an absent or empty one is a `UserError` naming those that exist."""
        if role not in SPLIT_ROLES:
            raise unknown_name("split", role, SPLIT_ROLES)
        found = self.splits.get(role)
        if found is None or len(found) == 0:
            there = ", ".join(f"{r} ({len(s)})" for r, s in self.splits.items() if len(s)) or "none"
            state = "has no" if found is None else "has an empty"
            raise UserError(f"dataset '{self.dataset}' {state} split '{role}'; splits with images: {there}")
        return found

    def with_root(self, root: str | os.PathLike[str] | None) -> Manifest:
        """The same manifest with its files elsewhere; None keeps the recorded root."""
        if root is None:
            return self
        return dataclasses.replace(self, root=os.fspath(root))

    def hash(self) -> str:
        """SHA-256 over classes and rows; what a result quotes to say which data it was scored on."""
        digest = hashlib.sha256("\n".join((self.dataset, self.corners, *self.classes)).encode())
        for role in SPLIT_ROLES:
            if role in self.splits:
                digest.update(role.encode())
                for line in csv_lines(self.splits[role]):
                    digest.update(line.encode())
        return digest.hexdigest()


def _identity(head: Mapping[str, Any]) -> dict[str, Any]:
    """What a manifest's checksum covers: not where its files are, nor what was noted of it."""
    return {key: head.get(key) or [] for key in ("dataset", "corners", "splits", "part_names", "classes")}


def _in_memory(dataset: str, role: str, row: int) -> str:
    return f"{dataset} {role} row {row}"


def split_hash(split: Split) -> str:
    """SHA-256 over one split's rows."""
    digest = hashlib.sha256()
    for line in csv_lines(split):
        digest.update(line.encode())
    return digest.hexdigest()


def _check_split(split: Split, num_classes: int, where: Callable[[int], str]) -> None:
    """Refuse what no stage could use; `where(row)` names the place of a row in the message."""
    if len(set(split.image_ids)) != len(split):
        seen: set[str] = set()
        for i, image_id in enumerate(split.image_ids):
            if image_id in seen:
                raise UserError(
                    f"{where(i)}: image id '{image_id}' is listed twice; every id must be unique within a split"
                )
            seen.add(image_id)
    wrong = np.flatnonzero((split.labels < 0) | (split.labels >= num_classes))
    if len(wrong):
        i = int(wrong[0])
        raise UserError(
            f"{where(i)}: image '{split.image_ids[i]}' has label {int(split.labels[i])}, but there are "
            f"{num_classes} classes (labels 0..{num_classes - 1}); {len(wrong)} rows are so"
        )
    boxes = split.boxes_xyxy
    if not len(boxes):
        return
    owner = np.repeat(np.arange(len(split)), np.diff(split.box_offsets))
    size = split.sizes_wh[owner]
    known = size[:, 0] > 0
    finite = np.isfinite(boxes).all(1)
    ordered = (boxes[:, 0] <= boxes[:, 2]) & (boxes[:, 1] <= boxes[:, 3]) & (boxes[:, :2] >= 0).all(1)
    inside = ~known | ((boxes[:, 2] <= size[:, 0]) & (boxes[:, 3] <= size[:, 1]))
    for fine, what in (
        (finite, "holds a value that is not a number"),
        (ordered, "is not 0 <= x0 <= x1, 0 <= y0 <= y1"),
        (inside, "lies outside its image"),
    ):
        if not fine.all():
            b = int(np.flatnonzero(~fine)[0])
            row = int(owner[b])
            w, h = (int(v) for v in size[b])
            of = f" of {w}x{h}" if w else ""
            raise UserError(
                f"{where(row)}: box ({numbers(boxes[b])}) of image '{split.image_ids[row]}'{of} {what}; "
                f"{int((~fine).sum())} boxes are so. Correct the source, or drop these rows"
            )


def write_manifest(manifest: Manifest, folder: str | os.PathLike[str], **extra: Any) -> Path:
    """Write a manifest folder: split files first, `manifest.yaml` last, each by rename, so that a crash
    leaves either a whole manifest or a folder without `manifest.yaml`, never a mixture. `extra` entries are
    added to manifest.yaml. Returns the folder."""
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    index = out / "manifest.yaml"
    files: dict[str, dict[str, Any]] = {}
    with scratch_folder(out / "manifest") as scratch:
        for role in SPLIT_ROLES:
            if role not in manifest.splits:
                continue
            split = manifest.splits[role]
            digest = hashlib.sha256()
            with (scratch / f"{role}.csv").open("w", encoding="utf-8", newline="") as stream:
                for line in csv_lines(split):
                    stream.write(line)
                    digest.update(line.encode())
            files[role] = {"images": len(split), "boxes": len(split.boxes_xyxy), "sha256": digest.hexdigest()}
        head: dict[str, Any] = {
            "schema": SCHEMA,
            "dataset": manifest.dataset,
            "root": manifest.root,
            "corners": manifest.corners,
            "splits": files,
            **({"notes": list(manifest.notes)} if manifest.notes else {}),
            **extra,
            **({"part_names": list(manifest.part_names)} if manifest.part_names else {}),
            "classes": list(manifest.classes),
        }
        head = {"schema": SCHEMA, SEAL: sealed(_identity(head))[SEAL], **head}
        (scratch / "manifest.yaml").write_text(dump_yaml(head), encoding="utf-8")
        index.unlink(missing_ok=True)
        for role in SPLIT_ROLES:
            if role in files:
                (scratch / f"{role}.csv").replace(out / f"{role}.csv")
            else:
                (out / f"{role}.csv").unlink(missing_ok=True)
        (scratch / "manifest.yaml").replace(index)
    return out


def load_manifest(
    folder: str | os.PathLike[str],
    *,
    root: str | os.PathLike[str] | None = None,
    roles: Sequence[str] | None = None,
    edited: bool = False,
) -> Manifest:
    """Read and check a manifest folder; `roles` limits which splits are read. Every defect is a `UserError`
    naming the file and the line. Rows that differ from those that were prepared are one, unless `edited`."""
    folder = Path(folder)
    index = folder / "manifest.yaml"
    if not index.is_file():
        raise UserError(
            f"no manifest at '{folder}' (manifest.yaml is missing); make one with "
            f"`python -m wsol.prepare NAME --source PATH --out {folder}`"
        )
    head = read_head(folder)
    classes = tuple(head["classes"])
    splits: dict[str, Split] = {}
    for role, info in head["splits"].items():
        if roles is not None and role not in roles:
            continue
        file = folder / f"{role}.csv"
        split = read_rows(file, len(head["part_names"]))
        if info["images"] != len(split):
            raise UserError(
                f"{file}: {len(split)} rows, but {index.name} states {info['images']}; "
                "the file was cut or edited: prepare the dataset again"
            )
        # Here as well as in Manifest, so that the message names the line: the header is line 1, no row spans
        # lines.
        _check_split(split, len(classes), lambda row, file=file: f"{file}:{row + 2}")  # type: ignore[misc]
        if not edited and info.get("sha256") not in (None, file_sha256(file)):
            raise UserError(
                f"{file}: the rows differ from those that were prepared (their checksum in {index.name}); prepare the "
                f"dataset again, or, to keep an edit, remove the line sha256 of {role} from {index.name}"
            )
        splits[role] = split
    if not edited and SEAL in head:
        remedy = "prepare the dataset again, or, to keep an edit, remove its second line, sha256"
        unsealed({**_identity(head), SEAL: head[SEAL]}, str(index), remedy)
    return Manifest(
        dataset=head["dataset"],
        classes=classes,
        splits=splits,
        root=os.fspath(root) if root is not None else head["root"],
        part_names=tuple(head["part_names"]),
        corners=head["corners"],
        notes=tuple(head["notes"]),
    )


def read_head(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """The checked content of manifest.yaml, with `root`, `corners`, `part_names` and `notes` filled in;
    entries that `write_manifest` was given as extra are left as they are."""
    index = Path(folder) / "manifest.yaml"
    head = read_yaml(index)
    if not isinstance(head, dict):
        raise UserError(f"{index}: expected a mapping with schema, dataset, splits and classes")
    if head.get("schema") != SCHEMA:
        raise UserError(
            f"{index}: schema {_short(head.get('schema'))}, expected {SCHEMA}; prepare the dataset again"
        )
    head = {"root": None, "corners": "half-open", **head}
    for key in ("part_names", "notes"):
        head[key] = head.get(key) or []
    for key, kind in (("dataset", str), ("splits", dict)):
        if not isinstance(head.get(key), kind):
            raise UserError(f"{index}: '{key}' must be a {kind.__name__}, got {_short(head.get(key))}")
    for key in ("classes", "part_names", "notes"):
        names = head.get(key)
        if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
            odd = (
                next((n for n in names if not isinstance(n, str)), names)
                if isinstance(names, list)
                else names
            )
            raise UserError(f"{index}: '{key}' must be a list of texts (quote numbers), got {_short(odd)}")
    if head["corners"] not in ("inclusive", "half-open"):
        raise UserError(f"{index}: corners must be 'inclusive' or 'half-open', got {_short(head['corners'])}")
    if not isinstance(head["root"], str | None):
        raise UserError(f"{index}: 'root' must be a path or null, got {_short(head['root'])}")
    for role, info in head["splits"].items():
        if role not in SPLIT_ROLES:
            raise UserError(f"{index}: {unknown_name('split', str(role)[:60], SPLIT_ROLES)}")
        images = info.get("images") if isinstance(info, dict) else None
        if not isinstance(images, int) or isinstance(images, bool) or images < 0:
            raise UserError(f"{index}: splits.{role} must state 'images: COUNT', got {_short(info)}")
    return head


def _short(value: object) -> str:
    return f"{value!r:.60}"
