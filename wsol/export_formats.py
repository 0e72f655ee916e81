"""Write a manifest in the reference layout or as COCO instances JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from wsol.datasets.catalog import open_dataset
from wsol.datasets.coco_json import coco_from_split
from wsol.datasets.wsol_metadata import write_wsol_metadata
from wsol.errors import UserError
from wsol.manifest import Manifest


def export_manifest(layout: str, name: str, out: Path) -> None:
    """Write the manifest called `name` (a folder, or one in data_manifests/) to the new folder `out`.

    Raises `UserError` where the folder exists and is not empty.
    """
    manifest = open_dataset(name)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"'{out}' exists already; choose a new folder")
    if layout == "wsol-metadata":
        write_wsol_metadata(manifest, out)
    else:
        export_coco(manifest, out)
    sys.stdout.write(f"written: {out}\n")


def export_coco(manifest: Manifest, out: Path) -> None:
    """One `instances_<split>.json` a split that holds images."""
    out.mkdir(parents=True, exist_ok=True)
    for role, split in manifest.splits.items():
        if len(split):
            text = json.dumps(coco_from_split(manifest, role), ensure_ascii=False, allow_nan=False)
            (out / f"instances_{role}.json").write_text(text + "\n", encoding="utf-8")
