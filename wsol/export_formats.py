"""Write a manifest in the reference layout or as COCO instances JSON."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from wsol.datasets.catalog import manifests_folder, open_dataset
from wsol.datasets.coco import ROLE_OF, coco_from_split
from wsol.datasets.wsol_metadata import write_wsol_metadata
from wsol.errors import UserError
from wsol.files.regular import MAX_FILE_BYTES
from wsol.files.strict_json import read_json


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
        named = manifests_folder() / name
        folder = Path(name) if (Path(name) / "manifest.yaml").is_file() else named
        export_coco(manifest, out, read_beside(folder / "coco.json"))
    sys.stdout.write(f"written: {out}\n")


def read_beside(file: Path) -> dict[str, Any]:
    """What was kept of the COCO files that a manifest came from; nothing where it came from elsewhere."""
    if not file.is_file():
        return {}
    found = read_json(file, MAX_FILE_BYTES)
    keys = ("categories", "images", "annotations", "order", "rest")
    if not isinstance(found, dict) or not all(
        isinstance(v, dict) and set(keys) <= set(v) for v in found.values()
    ):
        raise UserError(f"{file}: not what `python -m wsol.prepare coco` keeps; prepare the dataset again")
    return found


def export_coco(manifest: Any, out: Path, beside: dict[str, Any]) -> None:
    """One `instances_<split>.json` a split."""
    out.mkdir(parents=True, exist_ok=True)
    for role, split in manifest.splits.items():
        if not len(split):
            continue
        # a split's own file first: another may hold images of the same names
        files = sorted(beside, key=lambda name, role=role: ROLE_OF.get(name) != role)  # type: ignore[misc]
        mine = next(
            (beside[f] for f in files if all(i in beside[f]["images"] for i in split.image_ids)), None
        )
        text = json.dumps(coco_from_split(manifest, role, mine), ensure_ascii=False, allow_nan=False)
        (out / f"instances_{role}.json").write_text(text + "\n", encoding="utf-8")
