"""`python -m wsol.export LAYOUT MANIFEST OUT`: write a manifest in a layout that other tools read."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from wsol.errors import UserError, run_command

LAYOUTS = ("wsol-metadata", "coco")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; touches no disk."""
    parser = argparse.ArgumentParser(prog="python -m wsol.export", description=__doc__)
    parser.add_argument(
        "layout", choices=LAYOUTS, help="reference metadata (text files), or COCO instances JSON"
    )
    parser.add_argument("manifest", help="a manifest folder, or the name of one in data_manifests/")
    parser.add_argument("out", type=Path, help="a new folder")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; `arguments` default to the process's own."""
    from wsol.datasets.catalog import manifests_folder, open_dataset
    from wsol.datasets.wsol_metadata import write_wsol_metadata

    options = parse(arguments)
    manifest = open_dataset(options.manifest)
    if options.out.exists() and (not options.out.is_dir() or any(options.out.iterdir())):
        raise UserError(f"'{options.out}' exists already; choose a new folder")
    if options.layout == "wsol-metadata":
        write_wsol_metadata(manifest, options.out)
    else:
        named = manifests_folder() / options.manifest
        folder = Path(options.manifest) if (Path(options.manifest) / "manifest.yaml").is_file() else named
        export_coco(manifest, options.out, read_beside(folder / "coco.json"))
    sys.stdout.write(f"written: {options.out}\n")


def read_beside(file: Path) -> dict[str, Any]:
    """What was kept of the COCO files that a manifest came from; nothing where it came from elsewhere."""
    from wsol.datasets.coco import load_json
    from wsol.datasets.text_fields import decode_text

    if not file.is_file():
        return {}
    found = load_json(decode_text(file.read_bytes(), str(file)), str(file))
    keys = ("categories", "images", "annotations", "order", "rest")
    if not isinstance(found, dict) or not all(
        isinstance(v, dict) and set(keys) <= set(v) for v in found.values()
    ):
        raise UserError(f"{file}: not what `python -m wsol.prepare coco` keeps; prepare the dataset again")
    return found


def export_coco(manifest: Any, out: Path, beside: dict[str, Any]) -> None:
    """One `instances_<split>.json` a split."""
    from wsol.datasets.coco import ROLE_OF, coco_from_split

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


if __name__ == "__main__":
    sys.exit(run_command(main))
