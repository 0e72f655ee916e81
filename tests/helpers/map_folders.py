"""Small manifests with boxes, and folders of score maps, for tests of the evaluation."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from wsol.manifest import Manifest, Sample, Split, write_manifest


def boxed_split(num_images: int, seed: int = 0, classes: int = 3, prefix: str = "im") -> Split:
    """Images of various sizes with one to three boxes each; ids hold slashes and suffixes."""
    rng = np.random.default_rng(seed)
    samples = []
    for i in range(num_images):
        w, h = (int(v) for v in rng.integers(40, 400, 2))
        boxes = []
        for _ in range(int(rng.integers(1, 4))):
            x0, y0 = int(rng.integers(0, w - 10)), int(rng.integers(0, h - 10))
            boxes.append([x0, y0, int(rng.integers(x0 + 5, w)), int(rng.integers(y0 + 5, h))])
        image_id = f"c{i % classes}/{prefix}_{i}.jpeg"
        samples.append(Sample(image_id, image_id, i % classes, (w, h), np.array(boxes, np.float64)))
    return Split.from_samples(samples)


def boxed_manifest(folder: Path, test: int = 20, fullsup: int = 8) -> Manifest:
    """A manifest without images, written to `folder`."""
    splits = {"test": boxed_split(test, 0), "train-fullsup": boxed_split(fullsup, 1, prefix="val")}
    manifest = Manifest("boxed", ("a", "b", "c"), splits)
    write_manifest(manifest, folder)
    return manifest


def smooth_maps(num: int, seed: int = 0, side: int = 224) -> np.ndarray:
    """Score maps [num, side, side] in [0, 1], float64, made as the reference makes them from 14 x 14 CAMs."""
    import cv2

    rng = np.random.default_rng(seed)
    out = np.empty((num, side, side))
    for i in range(num):
        m = cv2.resize(rng.normal(size=(14, 14)), (side, side), interpolation=cv2.INTER_CUBIC)
        m -= m.min()
        out[i] = m / m.max()
    return out


def write_maps(folder: Path, split: Split, maps: np.ndarray, suffix: bool = True) -> None:
    """`<folder>/<image_id>.npy`, or without the image's own suffix."""
    for image_id, m in zip(split.image_ids, maps):
        name = image_id if suffix else str(Path(image_id).with_suffix(""))
        path = folder / f"{name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, m)
