"""The pivot type: what every dataset reader produces and every later stage consumes.

On disk a manifest is a folder a person can read and diff:

    manifest.yaml          schema, dataset, root of the images, classes, part names, corners, split checksums
    train-weaksup.csv      image labels only are used (training)
    train-fullsup.csv      a few images with boxes or masks (thresholds, hyper-parameters, model selection)
    test.csv               final numbers only

Each CSV has the header `image_id,path,label,width,height,boxes,masks,ignore_mask,part_mask,parts`; columns after
`label` may be left out when no row uses them. An empty `path` means: same as `image_id`. `label` is the index into
`classes`. `boxes` are corners `x0 y0 x1 y1` separated by `|`, in pixels of the stored image, as the source gives
them (`corners` in manifest.yaml says whether x1, y1 is the last pixel or one past it). `masks` are file paths
separated by `|` (the union counts). `parts` are `x y visible` triples separated by `|`, in the order of
`part_names`. `root` is a folder or a .zip file; paths are relative to it and never leave it.

`manifest.yaml` is written last, so a folder without it is an unfinished one.
"""

from __future__ import annotations

import csv
import hashlib
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import yaml

from wsol.errors import UserError, unknown_name

if TYPE_CHECKING:
    import numpy.typing as npt

SCHEMA = 1
SPLIT_ROLES = ("train-weaksup", "train-fullsup", "test")
COLUMNS = (
    "image_id",
    "path",
    "label",
    "width",
    "height",
    "boxes",
    "masks",
    "ignore_mask",
    "part_mask",
    "parts",
)
_REQUIRED = ("image_id", "label")

Corners = Literal["inclusive", "half-open"]


@dataclass(frozen=True)
class Sample:
    """One image as the manifest knows it.

    `size_wh` is None where the source does not state it. `boxes_xyxy` has shape [M, 4] (M may be 0), float64,
    pixels of the stored image. `masks`, `ignore_mask` and `part_mask` are paths under the manifest's root.
    `parts` is [P, 3] (x, y, visible) or None.
    """

    image_id: str
    path: str
    label: int
    size_wh: tuple[int, int] | None = None
    boxes_xyxy: npt.NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 4)))
    masks: tuple[str, ...] = ()
    ignore_mask: str | None = None
    part_mask: str | None = None
    parts: npt.NDArray[np.float64] | None = None


class Split(Sequence[Sample]):
    """The rows of one split, held in columns so that a million rows stay small; indexing builds a `Sample`."""

    def __init__(
        self,
        image_ids: list[str],
        labels: npt.NDArray[np.int32],
        *,
        paths: list[str] | None = None,
        sizes_wh: npt.NDArray[np.int32] | None = None,
        boxes_xyxy: npt.NDArray[np.float64] | None = None,
        box_offsets: npt.NDArray[np.int64] | None = None,
        masks: Mapping[int, tuple[str, ...]] | None = None,
        ignore_masks: Mapping[int, str] | None = None,
        part_masks: Mapping[int, str] | None = None,
        parts: Mapping[int, npt.NDArray[np.float64]] | None = None,
    ) -> None:
        n = len(image_ids)
        self.image_ids = image_ids
        self.labels = np.ascontiguousarray(labels, dtype=np.int32)
        self.paths = paths
        self.sizes_wh = np.zeros((n, 2), np.int32) if sizes_wh is None else sizes_wh
        self.boxes_xyxy = np.zeros((0, 4)) if boxes_xyxy is None else np.asarray(boxes_xyxy, np.float64)
        self.box_offsets = np.zeros(n + 1, np.int64) if box_offsets is None else box_offsets
        self.masks = dict(masks or {})
        self.ignore_masks = dict(ignore_masks or {})
        self.part_masks = dict(part_masks or {})
        self.parts = dict(parts or {})
        if self.labels.shape != (n,) or self.sizes_wh.shape != (n, 2):
            raise ValueError(f"expected {n} labels and sizes, got {self.labels.shape} and {self.sizes_wh.shape}")
        if self.box_offsets.shape != (n + 1,) or int(self.box_offsets[-1]) != len(self.boxes_xyxy):
            raise ValueError("box_offsets must have one entry more than images and end at the number of boxes")

    @classmethod
    def from_samples(cls, samples: Iterable[Sample]) -> Split:
        """Build a split from rows; convenient for readers of small datasets."""
        rows = list(samples)
        offsets = np.zeros(len(rows) + 1, np.int64)
        np.cumsum([len(s.boxes_xyxy) for s in rows], out=offsets[1:])
        return cls(
            [s.image_id for s in rows],
            np.array([s.label for s in rows], np.int32),
            paths=None if all(s.path == s.image_id for s in rows) else [s.path for s in rows],
            sizes_wh=np.array([s.size_wh or (0, 0) for s in rows], np.int32).reshape(-1, 2),
            boxes_xyxy=np.concatenate([s.boxes_xyxy for s in rows]) if rows else None,
            box_offsets=offsets,
            masks={i: s.masks for i, s in enumerate(rows) if s.masks},
            ignore_masks={i: s.ignore_mask for i, s in enumerate(rows) if s.ignore_mask},
            part_masks={i: s.part_mask for i, s in enumerate(rows) if s.part_mask},
            parts={i: s.parts for i, s in enumerate(rows) if s.parts is not None},
        )

    def __len__(self) -> int:
        return len(self.image_ids)

    def path(self, index: int) -> str:
        """Path of one image under the manifest's root."""
        return self.image_ids[index] if self.paths is None else self.paths[index]

    def boxes(self, index: int) -> npt.NDArray[np.float64]:
        """Boxes of one image, [M, 4]; M is 0 where the source has none."""
        return self.boxes_xyxy[self.box_offsets[index] : self.box_offsets[index + 1]]

    def size_wh(self, index: int) -> tuple[int, int] | None:
        """Stored (width, height) of one image, or None where the source does not state it."""
        w, h = (int(v) for v in self.sizes_wh[index])
        return (w, h) if w and h else None

    def __getitem__(self, index: int) -> Sample:  # type: ignore[override]
        index = range(len(self))[index]
        return Sample(
            image_id=self.image_ids[index],
            path=self.path(index),
            label=int(self.labels[index]),
            size_wh=self.size_wh(index),
            boxes_xyxy=self.boxes(index),
            masks=self.masks.get(index, ()),
            ignore_mask=self.ignore_masks.get(index),
            part_mask=self.part_masks.get(index),
            parts=self.parts.get(index),
        )

    def __iter__(self) -> Iterator[Sample]:
        return (self[i] for i in range(len(self)))

    def take(self, indices: npt.NDArray[np.int64]) -> Split:
        """A new split with the given rows, in the given order."""
        return Split.from_samples(self[int(i)] for i in indices)


@dataclass(frozen=True)
class Manifest:
    """A dataset: its classes, its splits by role, and where its files are.

    Validated on construction: known split roles, labels inside the classes, unique image ids, finite boxes with
    0 <= x0 <= x1 and 0 <= y0 <= y1 inside the image where its size is known.
    """

    dataset: str
    classes: tuple[str, ...]
    splits: Mapping[str, Split]
    root: str | None = None
    part_names: tuple[str, ...] = ()
    corners: Corners = "half-open"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for role, split in self.splits.items():
            if role not in SPLIT_ROLES:
                raise unknown_name("split", role, SPLIT_ROLES)
            _check_split(split, f"{self.dataset} {role}", len(self.classes))

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
        return Manifest(
            self.dataset, self.classes, self.splits, os.fspath(root), self.part_names, self.corners, self.notes
        )

    def hash(self) -> str:
        """SHA-256 over classes and rows; what a result quotes to say which data it was scored on."""
        digest = hashlib.sha256("\n".join((self.dataset, self.corners, *self.classes)).encode())
        for role in SPLIT_ROLES:
            if role in self.splits:
                digest.update(role.encode())
                for line in _csv_lines(self.splits[role]):
                    digest.update(line.encode())
        return digest.hexdigest()


def split_hash(split: Split) -> str:
    """SHA-256 over one split's rows."""
    digest = hashlib.sha256()
    for line in _csv_lines(split):
        digest.update(line.encode())
    return digest.hexdigest()


def _check_split(split: Split, where: str, num_classes: int) -> None:
    if len(set(split.image_ids)) != len(split):
        seen: set[str] = set()
        twice = next(i for i in split.image_ids if i in seen or seen.add(i))  # type: ignore[func-returns-value]
        raise UserError(f"{where}: image id '{twice}' is listed twice; every id must be unique within a split")
    wrong = np.flatnonzero((split.labels < 0) | (split.labels >= num_classes))
    if len(wrong):
        i = int(wrong[0])
        raise UserError(
            f"{where}: image '{split.image_ids[i]}' has label {int(split.labels[i])}, but there are {num_classes} "
            f"classes (labels 0..{num_classes - 1}); {len(wrong)} rows are so"
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
            w, h = (int(v) for v in size[b])
            of = f" of {w}x{h}" if w else ""
            raise UserError(
                f"{where}: box ({_numbers(boxes[b])}) of image '{split.image_ids[int(owner[b])]}'{of} {what}; "
                f"{int((~fine).sum())} boxes are so. Mend the source, or drop these rows"
            )


# --- text ---------------------------------------------------------------------------------------------------------


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))


def _numbers(values: Iterable[float]) -> str:
    return " ".join(_number(v) for v in values)


def _csv_row(split: Split, i: int) -> list[str]:
    path = split.path(i)
    image_id = split.image_ids[i]
    w, h = (int(v) for v in split.sizes_wh[i])
    lo, hi = int(split.box_offsets[i]), int(split.box_offsets[i + 1])
    parts = split.parts.get(i)
    return [
        image_id,
        "" if path == image_id else path,
        str(int(split.labels[i])),
        str(w) if w else "",
        str(h) if h else "",
        "|".join(_numbers(b) for b in split.boxes_xyxy[lo:hi].tolist()) if hi > lo else "",
        "|".join(split.masks.get(i, ())),
        split.ignore_masks.get(i, ""),
        split.part_masks.get(i, ""),
        "|".join(_numbers(p) for p in parts.tolist()) if parts is not None else "",
    ]


class _LineSink:
    """The smallest file csv.writer accepts: hands each line on instead of keeping it."""

    line = ""

    def write(self, text: str) -> int:
        self.line = text
        return len(text)


def _csv_lines(split: Split) -> Iterator[str]:
    sink = _LineSink()
    writer = csv.writer(cast(Any, sink), lineterminator="\n")
    writer.writerow(COLUMNS)
    yield sink.line
    for i in range(len(split)):
        writer.writerow(_csv_row(split, i))
        yield sink.line


def write_manifest(manifest: Manifest, folder: str | os.PathLike[str], **extra: Any) -> Path:
    """Write a manifest folder: split files first, `manifest.yaml` last, each by rename, so that a crash leaves
    either the old manifest or the new one. `extra` entries are added to manifest.yaml. Returns the folder."""
    out = Path(folder)
    out.mkdir(parents=True, exist_ok=True)
    index = out / "manifest.yaml"
    files: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory(prefix=".writing-", dir=out) as scratch_name:
        scratch = Path(scratch_name)
        for role in SPLIT_ROLES:
            if role not in manifest.splits:
                continue
            split = manifest.splits[role]
            digest = hashlib.sha256()
            with (scratch / f"{role}.csv").open("w", encoding="utf-8", newline="") as stream:
                for line in _csv_lines(split):
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
        (scratch / "manifest.yaml").write_text(
            yaml.safe_dump(head, sort_keys=False, allow_unicode=True, width=110), encoding="utf-8"
        )
        index.unlink(missing_ok=True)
        for role in SPLIT_ROLES:
            if role in files:
                (scratch / f"{role}.csv").replace(out / f"{role}.csv")
            else:
                (out / f"{role}.csv").unlink(missing_ok=True)
        (scratch / "manifest.yaml").replace(index)
    return out


def load_manifest(
    folder: str | os.PathLike[str], *, root: str | os.PathLike[str] | None = None, roles: Sequence[str] | None = None
) -> Manifest:
    """Read and check a manifest folder; `roles` limits which splits are read. Every defect is a `UserError`
    naming the file and the line."""
    folder = Path(folder)
    index = folder / "manifest.yaml"
    if not index.is_file():
        raise UserError(
            f"no manifest at '{folder}' (manifest.yaml is missing); make one with "
            f"`python -m wsol.prepare NAME --source PATH --out {folder}`"
        )
    head = _load_head(index)
    splits: dict[str, Split] = {}
    for role, info in head["splits"].items():
        if role not in SPLIT_ROLES:
            raise UserError(f"{index}: {unknown_name('split', str(role), SPLIT_ROLES)}")
        if roles is not None and role not in roles:
            continue
        file = folder / f"{role}.csv"
        splits[role] = _read_split(file, head.get("part_names", ()))
        stated = info.get("images") if isinstance(info, dict) else None
        if stated is not None and stated != len(splits[role]):
            raise UserError(
                f"{file}: {len(splits[role])} rows, but {index.name} states {stated}; "
                "the file was cut or edited: prepare the dataset again"
            )
    recorded = head.get("root")
    manifest = Manifest(
        dataset=str(head["dataset"]),
        classes=tuple(str(c) for c in head["classes"]),
        splits=splits,
        root=os.fspath(root) if root is not None else (str(recorded) if recorded is not None else None),
        part_names=tuple(str(p) for p in head.get("part_names") or ()),
        corners=head.get("corners", "half-open"),
        notes=tuple(str(n) for n in head.get("notes") or ()),
    )
    return manifest


def _load_head(index: Path) -> dict[str, Any]:
    try:
        head = yaml.safe_load(index.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        raise UserError(f"{index}: not readable as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(head, dict):
        raise UserError(f"{index}: expected a mapping with schema, dataset, splits and classes")
    if head.get("schema") != SCHEMA:
        raise UserError(f"{index}: schema {head.get('schema')!r}, expected {SCHEMA}; prepare the dataset again")
    for key, kind in (("dataset", str), ("splits", dict), ("classes", list)):
        if not isinstance(head.get(key), kind):
            raise UserError(f"{index}: '{key}' must be a {kind.__name__}, got {head.get(key)!r:.60}")
    if head.get("corners", "half-open") not in ("inclusive", "half-open"):
        raise UserError(f"{index}: corners must be 'inclusive' or 'half-open', got {head['corners']!r:.60}")
    for key in ("part_names", "notes"):
        if not isinstance(head.get(key) or [], list):
            raise UserError(f"{index}: '{key}' must be a list")
    return head


def _safe_relative(path: str) -> bool:
    pure = PurePosixPath(path)
    return not (pure.is_absolute() or ".." in pure.parts or "\\" in path or "\0" in path)


def _read_split(file: Path, part_names: Sequence[str]) -> Split:
    ids: list[str] = []
    paths: list[str] = []
    labels: list[int] = []
    sizes: list[tuple[int, int]] = []
    flat: list[float] = []
    offsets: list[int] = [0]
    masks: dict[int, tuple[str, ...]] = {}
    ignore: dict[int, str] = {}
    part_masks: dict[int, str] = {}
    parts: dict[int, npt.NDArray[np.float64]] = {}
    line = 1
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            reader = csv.reader(stream, strict=True)
            header = next(reader, None)
            if header is None or any(c not in header for c in _REQUIRED):
                raise UserError(f"{file}:1: expected a header with at least {', '.join(_REQUIRED)}, got {header}")
            extra = [c for c in header if c not in COLUMNS]
            if extra or len(set(header)) != len(header):
                raise UserError(f"{file}:1: columns must be some of {', '.join(COLUMNS)}; got {', '.join(header)}")
            at = [header.index(c) if c in header else -1 for c in COLUMNS]
            width = len(header)
            for row in reader:
                line = reader.line_num
                if len(row) != width:
                    raise ValueError(f"expected {width} fields, got {len(row)}")
                cells = [row[k] if k >= 0 else "" for k in at]
                image_id, path, label, w, h, boxes, mask, ignore_mask, part_mask, part = cells
                if not image_id:
                    raise ValueError("image_id is empty")
                for p in (path or image_id, ignore_mask, part_mask, *(mask.split("|") if mask else ())):
                    if not _safe_relative(p):
                        raise ValueError(f"path {p!r} leaves the dataset's root")
                ids.append(image_id)
                paths.append(path or image_id)
                labels.append(int(label))
                if bool(w) != bool(h):
                    raise ValueError("width and height must both be given or both be empty")
                sizes.append((int(w), int(h)) if w else (0, 0))
                if w and min(sizes[-1]) <= 0:
                    raise ValueError(f"image size {w}x{h} is not positive")
                if boxes:
                    for box in boxes.split("|"):
                        values = [float(v) for v in box.split(" ")]
                        if len(values) != 4:
                            raise ValueError(f"a box needs 4 numbers x0 y0 x1 y1, got {box!r}")
                        flat.extend(values)
                offsets.append(len(flat) // 4)
                i = len(ids) - 1
                if mask:
                    masks[i] = tuple(mask.split("|"))
                if ignore_mask:
                    ignore[i] = ignore_mask
                if part_mask:
                    part_masks[i] = part_mask
                if part:
                    points = np.array([[float(v) for v in p.split(" ")] for p in part.split("|")], np.float64)
                    if points.shape != (len(part_names), 3):
                        raise ValueError(f"expected {len(part_names)} parts of 'x y visible', got {part!r:.80}")
                    parts[i] = points
            label_array = np.array(labels, dtype=np.int32)
            size_array = np.array(sizes, dtype=np.int32).reshape(-1, 2)
    except FileNotFoundError as error:
        raise UserError(f"'{file}' is listed in manifest.yaml but missing; prepare the dataset again") from error
    except (ValueError, OverflowError, csv.Error) as error:
        raise UserError(f"{file}:{line}: {error}") from error
    return Split(
        ids,
        label_array,
        paths=None if paths == ids else paths,
        sizes_wh=size_array,
        boxes_xyxy=np.array(flat, np.float64).reshape(-1, 4),
        box_offsets=np.array(offsets, np.int64),
        masks=masks,
        ignore_masks=ignore,
        part_masks=part_masks,
        parts=parts,
    )
