"""Synthetic evaluated runs for tests: a small dataset on disk, planted score maps, and the real evaluation on them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from eval.evaluation.config import LocalizeConfig
from eval.evaluation.evaluate import score_subject
from eval.evaluation.plan import resolve
from eval.evaluation.subject import Subject
from eval.maps.batch import Ranks, RawBatch
from eval.maps.blocks import BLOCK
from eval.records.judged_maps import JudgedMaps
from wsol.manifest import Manifest, Sample, Split, load_manifest, write_manifest

EVIL = "<img src=x onerror=alert(1)>"
CLASSES = (EVIL, "heron", "kingfisher & co", "owl")
PARTS = ("head", "tail")
SIDE = 64


def build_dataset(
    folder: Path, *, test: int = 60, fullsup: int = 24, seed: int = 0, files: bool = True
) -> Manifest:
    """A dataset of bright rectangles ("bodies") with masks, two part points, sometimes a second instance."""
    rng = np.random.default_rng(seed)
    splits = {
        role: Split.from_samples([_sample(folder, role, i, rng, files and role == "test") for i in range(n)])
        for role, n in (("train-fullsup", fullsup), ("test", test))
    }
    manifest = Manifest("synthetic", CLASSES, splits, root=str(folder), part_names=PARTS)
    write_manifest(manifest, folder / "manifest")
    return load_manifest(folder / "manifest")


def _sample(folder: Path, role: str, number: int, rng: np.random.Generator, files: bool) -> Sample:
    w, h = SIDE, SIDE - 16 * (number % 2)
    image_id = f"{role}/{number:04d}.png"
    boxes = []
    for _ in range(2 if number % 5 == 4 else 1):
        bw, bh = rng.integers(14, 34), rng.integers(14, 28)
        x, y = rng.integers(0, w - bw), rng.integers(0, h - bh)
        boxes.append([x, y, x + bw, y + bh])
    xyxy = np.array(boxes, np.float64)
    head = [xyxy[0, 0] + 4, xyxy[0, 1] + 4, 1]
    tail = [xyxy[0, 2] - 4, xyxy[0, 3] - 4, float(number % 7 != 0)]
    mask = f"masks/{image_id}"
    if files:
        picture = rng.integers(20, 90, (h, w, 3), dtype=np.uint8)
        flat = np.zeros((h, w), np.uint8)
        for x0, y0, x1, y1 in boxes:
            picture[y0:y1, x0:x1] += np.uint8(110)
            flat[y0:y1, x0:x1] = 255
        for path, array in ((image_id, picture), (mask, flat)):
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(array).save(folder / path)
    return Sample(
        image_id,
        image_id,
        number % len(CLASSES),
        (int(w), int(h)),
        xyxy,
        masks=(mask,) if files else (),
        parts=np.array([head, tail]),
    )


@dataclass(frozen=True)
class Planted:
    """How one method's maps and predictions come about.

    `extent`: side of the map's bump over the box's side. `gamma`: exponent on the map, which moves its score scale but
    no foreground. `accuracy`: chance of a correct class. `jitter`: noise of the bump's place, in box sides. `edge`: 2
    gives a Gaussian, more a plateau with sharp edges.
    """

    extent: float = 1.0
    gamma: float = 1.0
    accuracy: float = 0.7
    jitter: float = 0.06
    edge: int = 2
    seed: int = 0
    side: int = 8


class PlantedMaps:
    """A map source whose maps are bumps over the first true box."""

    frames = ("resize", "center-crop")

    def __init__(self, planted: Planted, split: Split, role: str) -> None:
        self.planted = planted
        self.split = split
        self.role = role
        self.input_size: int | None = None
        self.cells = None

    def describe(self) -> dict[str, Any]:
        return {"kind": "planted", "frames": list(self.frames), "recipe": repr(self.planted)}

    def unusable(self, normalization: str, frame: str) -> str | None:
        return None

    def batches(self, rows: np.ndarray) -> Iterator[RawBatch]:
        for block in np.unique(rows // BLOCK):
            some = rows[rows // BLOCK == block]
            maps = np.stack([self._map(int(r)) for r in some]).astype(np.float32)
            # the same draw for every method decides, so that accuracies are nested
            draw = np.array([np.random.default_rng([7, self.planted.seed, int(r)]).random() for r in some])
            right = draw < self.planted.accuracy
            labels = self.split.labels[some]
            predicted = np.where(right, labels, (labels + 1) % len(CLASSES)).astype(np.int32)
            top1 = right.astype(np.int8)
            yield RawBatch(
                some,
                {"resize": maps, "center-crop": maps},
                np.zeros(len(some), np.uint8),
                predicted,
                top1,
                np.ones(len(some), np.int8),
                {"center-crop": Ranks(predicted, top1, np.ones(len(some), np.int8))},
            )

    def _map(self, row: int) -> np.ndarray:
        p = self.planted
        rng = np.random.default_rng([p.seed, row, self.role == "test"])
        w, h = self.split.sizes_wh[row]
        x0, y0, x1, y1 = self.split.boxes(row)[0] / np.array([w, h, w, h])
        cx = (x0 + x1) / 2 + rng.normal(0, p.jitter) * (x1 - x0)
        cy = (y0 + y1) / 2 + rng.normal(0, p.jitter) * (y1 - y0)
        at = (np.arange(p.side) + 0.5) / p.side
        u = (at[None, :] - cx) / ((x1 - x0) * p.extent)
        v = (at[:, None] - cy) / ((y1 - y0) * p.extent)
        if p.edge == 2:
            bump = np.exp(-2.2 * (u**2 + v**2)) + rng.normal(0, 0.005, (p.side, p.side))
            return np.maximum(bump, 0) ** p.gamma
        # a plateau on a low ramp: its boxes hardly depend on the threshold until the ramp itself passes it
        return (
            np.maximum(np.exp(-0.7 * ((2 * u) ** p.edge + (2 * v) ** p.edge)), 0.12 * at[None, :]) ** p.gamma
        )


def evaluated_run(
    folder: Path,
    manifest: Manifest,
    planted: Planted,
    *,
    method: str = "vanilla",
    seed: int | None = 0,
    bootstrap: int = 200,
    protocols: tuple[str, ...] = (),
    protocol_file: Path | None = None,
) -> Path:
    """Score planted maps as `python -m eval.localize` does; returns the run's folder (results in `folder/eval`)."""
    assert manifest.root is not None
    config = LocalizeConfig(
        dataset=str(Path(manifest.root) / "manifest"),
        bootstrap=bootstrap,
        pictures=0,
        threads=1,
        protocols=protocols,
        protocol_file=protocol_file,
    )
    subject = Subject(
        manifest,
        JudgedMaps(manifest, lambda split, role, frames: PlantedMaps(planted, split, role), keep=True),
        folder / "eval",
        {"method": method, "training_seed": seed},
        f"{folder.name} ({method})",
    )
    score_subject(resolve(config, subject), subject)
    return folder
