"""Small datasets in their own layouts on disk, built fresh by each test."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from wsol.manifest import Manifest, Sample, Split


def picture(size_wh: tuple[int, int] = (64, 64), form: str = "JPEG", seed: int = 0) -> bytes:
    """An encoded image; other seeds give other bytes."""
    pixels = np.random.default_rng(seed).integers(0, 256, (size_wh[1], size_wh[0], 3), np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, form)
    return stream.getvalue()


def mask(size_wh: tuple[int, int], box: tuple[int, int, int, int], value: int = 255) -> bytes:
    """An encoded 8-bit PNG mask: `value` inside the half-open box, 0 elsewhere."""
    pixels = np.zeros((size_wh[1], size_wh[0]), np.uint8)
    x0, y0, x1, y1 = box
    pixels[y0:y1, x0:x1] = value
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


TINY_WNIDS = ("n03000000", "n01000000")


def tiny_files(per_class: int = 6, wnids: Sequence[str] = TINY_WNIDS) -> dict[str, bytes]:
    """Tiny ImageNet with a few classes, its annotated images of the first two."""
    files = {
        "wnids.txt": "".join(f"{w}\n" for w in wnids).encode(),
        "words.txt": b"n01000000\tbird, fowl\nn09999999\tnot here\n",
        "val/val_annotations.txt": b"val_0.JPEG\t%s\t1\t2\t63\t40\nval_1.JPEG\t%s\t0\t0\t5\t5\n"
        % (wnids[0].encode(), wnids[1].encode()),
        "val/images/val_0.JPEG": picture(seed=900),
        "val/images/val_1.JPEG": picture(seed=901),
        "test/images/test_0.JPEG": picture(seed=902),
    }
    for k, wnid in enumerate(wnids):
        rows = []
        for i in range(per_class):
            rows.append(f"{wnid}_{i}.JPEG\t{i}\t{i + 1}\t{i + 20}\t{i + 30}\n")
            files[f"train/{wnid}/images/{wnid}_{i}.JPEG"] = picture(seed=100 * k + i)
        files[f"train/{wnid}/{wnid}_boxes.txt"] = "".join(rows).encode()
    return files


def write_tree(folder: Path, files: dict[str, bytes]) -> Path:
    """Write files by relative path; returns the folder."""
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return folder


def toy(root: Path | None = None, **splits: list[Sample]) -> Manifest:
    """A manifest of two classes; splits by role, with _ for -."""
    made = {role.replace("_", "-"): Split.from_samples(rows) for role, rows in splits.items()}
    return Manifest("toy", ("cat", "dog"), made, root=str(root) if root else None)


def row(image_id: str, label: int = 0, *, boxes: Any = ((1, 1, 3, 3),), **more: Any) -> Sample:
    """A row whose file is named as its id."""
    return Sample(image_id, image_id, label, boxes_xyxy=np.array(boxes, float).reshape(-1, 4), **more)
