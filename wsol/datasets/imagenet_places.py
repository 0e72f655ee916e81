"""Where the parts of an ImageNet lie: folders under one root, or the official archives, which are unpacked first."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from wsol.files.archives import Progress, unpack_tar
from wsol.files.roots import FileRoot

TRAIN_PLACES = ("train", "ILSVRC/Data/CLS-LOC/train", "Data/CLS-LOC/train", "ILSVRC2012_img_train")
VAL_PLACES = ("val", "ILSVRC/Data/CLS-LOC/val", "Data/CLS-LOC/val", "ILSVRC2012_img_val")
OTHER_VAL_NAMES = ("validation", "valid", "test", "eval")
"""Folders that are no known place of the val images, but may be meant as one."""
XML_PLACES = ("ILSVRC/Annotations/CLS-LOC/", "Annotations/CLS-LOC/", "bbox_val/", "bbox/", "bbox_")
DEVKIT_PLACES = ("ILSVRC2012_devkit_t12/data", "devkit/ILSVRC2012_devkit_t12/data", "devkit/data")
V2_PLACES = ("val2", "imagenetv2-threshold0.7", "val2/imagenetv2-threshold0.7")
ARCHIVES = {
    "ILSVRC2012_img_train.tar": "train",
    "ILSVRC2012_img_val.tar": "val",
    "ILSVRC2012_devkit_t12.tar.gz": "devkit",
    "ILSVRC2012_bbox_train_v2.tar.gz": "bbox_train",
    "ILSVRC2012_bbox_val_v3.tgz": "bbox_val",
    "imagenetv2-threshold0.7.tar.gz": "val2",
}
"""Known archives, and the folder that each is unpacked to."""
TABLES = ("LOC_train_solution.csv", "LOC_val_solution.csv", "LOC_synset_mapping.txt")


@dataclass(frozen=True)
class Places:
    """Where things are under the root; None where they are not."""

    train: str | None
    val: str | None
    v2: str | None = None
    train_xml: str | None = None
    val_xml: str | None = None
    train_csv: str | None = None
    val_csv: str | None = None
    devkit: str | None = None
    synsets: str | None = None


def find_places(root: FileRoot) -> Places:
    """Look for the known layouts, in the order of this module's constants."""

    def folder(candidates: tuple[str, ...]) -> str | None:
        return next((c for c in candidates if next(root.names(c), None) is not None), None)

    def file(name: str) -> str | None:
        return next((p for p in (name, f"ILSVRC/{name}") if root.exists(p)), None)

    return Places(
        train=folder(TRAIN_PLACES),
        val=folder(VAL_PLACES),
        v2=folder(V2_PLACES),
        train_xml=folder(tuple(f"{p}train" for p in XML_PLACES)),
        val_xml=folder(tuple(f"{p}val" for p in XML_PLACES)),
        train_csv=file("LOC_train_solution.csv"),
        val_csv=file("LOC_val_solution.csv"),
        devkit=next((p for p in DEVKIT_PLACES if root.exists(f"{p}/meta.mat")), None),
        synsets=file("LOC_synset_mapping.txt"),
    )


def unpack_known(source: Path, into: Path, progress: Progress | None = None) -> Path:
    """Unpack the official archives of a folder (or one of them) below `into`; returns the folder to read. A
    folder without such archives is returned as it is."""
    folder = source if source.is_dir() else source.parent
    names = [n for n in ARCHIVES if (folder / n).is_file() and (source.is_dir() or source.name == n)]
    if not names:
        return source
    for name in names:
        nested = name == "ILSVRC2012_img_train.tar"
        unpack_tar(folder / name, into / ARCHIVES[name], nested=nested, progress=progress)
    for name in TABLES:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, into / name)
    return into
