"""The page's gallery as data: small pictures, native-resolution maps, every level's box and IoU."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from PIL import Image

from eval.analysis.error_kinds import KINDS
from eval.analysis.evaluated import Evaluated, Unavailable
from eval.boxes.frames import split_boxes
from eval.maps.blocks import BLOCK
from eval.protocols import Protocol
from eval.records.store import RecordStore
from eval.report.embed import base64_of
from eval.report.sampling import Picked
from wsol.errors import UserError
from wsol.files.roots import open_root
from wsol.images import decode_rgb

if TYPE_CHECKING:
    import numpy.typing as npt

    from wsol.files.roots import FileRoot
    from wsol.manifest import Manifest, Split

PICTURE_SIDE = 224
JPEG_QUALITY = 78
MAP_SIDE = 32
"""Larger maps are averaged down to this side for display; boxes and IoU always come from the full map's records."""


@dataclass(frozen=True)
class Gallery:
    """`images` as the page's script reads them; `notes` say what could not be shown."""

    images: list[dict[str, Any]]
    frame_size: int
    notes: tuple[str, ...] = ()


def build_gallery(
    runs: Sequence[Evaluated],
    protocols: Sequence[Protocol],
    picked: Picked,
    kinds: Mapping[str, npt.NDArray[np.int8]],
    manifest: Manifest,
    split: Split,
) -> Gallery:
    """Everything about the picked images. All `protocols` must share one channel of the "resize" frame.

    `kinds` gives each run's error kinds by folder.
    """
    channel = protocols[0].channel
    notes: list[str] = []
    files: FileRoot | None = None
    if manifest.root is None:
        notes.append("The manifest does not say where the images are (--data-root), so only maps are shown.")
    else:
        try:
            files = open_root(manifest.root)
        except UserError as error:
            notes.append(f"The images cannot be shown: {error}")
    frame = runs[0].store.index.frame(channel)
    boxes, offsets = split_boxes(split, picked.rows, frame)
    images: list[dict[str, Any]] = []
    unreadable = 0
    for i, row in enumerate(picked.rows.tolist()):
        picture = _picture(files, split, row)
        unreadable += picture is None and files is not None
        size = split.size_wh(row) or (1, 1)
        images.append(
            {
                "id": split.image_ids[row],
                "class": int(split.labels[row]),
                "why": picked.why[i],
                "size": list(size),
                "picture": picture,
                "truth": boxes[offsets[i] : offsets[i + 1]].tolist(),
                "runs": [],
            }
        )
    if unreadable:
        notes.append(f"{unreadable} images could not be read and show their maps only.")
    for run in runs:
        found, note = _of_run(run, protocols, picked.rows, kinds[str(run.folder)], split)
        if note:
            notes.append(note)
        for image, entry in zip(images, found):
            image["runs"].append(entry)
    return Gallery(images, channel.frame_size, tuple(notes))


def _picture(files: FileRoot | None, split: Split, row: int) -> str | None:
    """The image in its own aspect as a JPEG data URI; None where it cannot be had."""
    if files is None:
        return None

    path = split.path(row)
    try:
        image = Image.fromarray(decode_rgb(files.read_bytes(path), path))
    except UserError:
        return None
    scale = PICTURE_SIDE / max(image.size)
    if scale < 1:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return "data:image/jpeg;base64," + base64_of(buffer.getvalue())


def _of_run(
    run: Evaluated,
    protocols: Sequence[Protocol],
    rows: npt.NDArray[np.int64],
    kinds: npt.NDArray[np.int8],
    split: Split,
) -> tuple[list[dict[str, Any]], str | None]:
    side = protocols[0].frame_size
    small = np.uint8 if side <= 256 else np.uint16
    entries: list[dict[str, Any]] = []
    assert isinstance(run.store, RecordStore)
    for block in np.unique(rows // BLOCK).tolist():
        at = rows[rows // BLOCK == block] - block * BLOCK
        with run.store.read(block) as held:
            maps = held.channel(protocols[0].channel)
            box, max_level = maps.largest_box[at], maps.max_level[at]
            predicted, top1 = held.predicted[at], held.top1[at]
            iou = {f"{p.contours}_{p.gt_boxes}": maps.iou(p.contours, p.gt_boxes)[at] for p in protocols}
        for i in range(len(at)):
            entries.append(
                {
                    "boxes": base64_of(box[i].astype(small)),
                    "iou": {name: base64_of(values[i].astype(np.float32)) for name, values in iou.items()},
                    "top": int(max_level[i]),
                    "predicted": int(predicted[i]),
                    "top1": int(top1[i]),
                    "kind": KINDS[kinds[rows[len(entries)]]] if kinds[rows[len(entries)]] >= 0 else None,
                    "map": None,
                }
            )
    source = run.maps(split)
    if isinstance(source, Unavailable):
        return entries, f"{run.method}: {source.reason}; its score maps are not shown."
    position = 0
    for batch in source.batches(rows):
        for raw in batch.maps["resize"]:
            if raw is not None and np.isfinite(raw).all():
                entries[position]["map"] = _small_map(np.asarray(raw, np.float32))
            position += 1
    return entries, None


def _small_map(raw: npt.NDArray[np.float32]) -> dict[str, Any]:
    if max(raw.shape) > MAP_SIDE:
        height, width = (min(s, MAP_SIDE) for s in raw.shape)
        raw = np.asarray(cv2.resize(raw, (width, height), interpolation=cv2.INTER_AREA), np.float32)
    return {"h": raw.shape[0], "w": raw.shape[1], "values": base64_of(raw)}
