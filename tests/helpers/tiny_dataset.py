"""A dataset small enough to train on within a test: three classes that differ in colour."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from wsol.manifest import Manifest, Sample, Split, write_manifest
from wsol.training.config import TrainConfig

COLOURS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200)}
SPLITS = {"train-weaksup": 8, "train-fullsup": 3, "test": 2}  # images a class


def make_tiny_dataset(
    folder: Path,
    *,
    side: int = 40,
    colours: Mapping[str, tuple[int, int, int]] = COLOURS,
    per_class: Mapping[str, int] = SPLITS,
) -> Path:
    """Write images and a manifest under `folder`; returns the manifest's folder."""
    chance = np.random.default_rng(0)
    splits = {}
    for role, count in per_class.items():
        rows = []
        for i in range(count * len(colours)):
            label = i % len(colours)
            noise = chance.normal(0, 30, (side, side + 4, 3))
            rgb = np.clip(noise + list(colours.values())[label], 0, 255).astype(np.uint8)
            path = f"{role}/{i}.png"
            (folder / "images" / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rgb).save(folder / "images" / path)
            boxes = np.array([[4.0, 4.0, 30.0, 30.0]])
            rows.append(Sample(path, path, label, (side + 4, side), boxes))
        splits[role] = Split.from_samples(rows)
    manifest = Manifest("tiny", tuple(colours), splits, root=str(folder / "images"))
    return write_manifest(manifest, folder / "manifest")


def tiny_config(manifest: Path, **changes: object) -> TrainConfig:
    """Settings for a run of a second: resnet_small at 32 pixels on the CPU."""
    settings: dict[str, object] = {
        "dataset": str(manifest),
        "size": 32,
        "epochs": 2,
        "batch_size": 8,
        "lr": 0.01,
        "classifier_lr_ratio": 10.0,
        "device": "cpu",
        "precision": "fp32",
        "workers": 0,
    }
    return TrainConfig(**{**settings, **changes})  # type: ignore[arg-type]
