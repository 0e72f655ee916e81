"""Masks that `prepare` writes: in the folder of their manifest, with a checksum each."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from wsol.errors import UserError
from wsol.files.atomic_write import write_durably
from wsol.files.regular import read_text

FOLDER = "masks"
CHECKSUMS = "masks.sha256"
"""One line a mask, as `sha256sum --check` reads them; paths are relative to the manifest's folder."""


def write_masks(manifest_folder: Path, masks: Mapping[str, bytes]) -> Path:
    """Write masks (path to PNG bytes) below the manifest's folder, their checksums last;
    returns the folder of the masks.

    Masks of an earlier manifest there that the new one does not have are removed. Raises `UserError` where the folder
    holds masks that no manifest lists.
    """
    folder, listed = manifest_folder / FOLDER, manifest_folder / CHECKSUMS
    if folder.exists() and any(folder.iterdir()) and not listed.is_file():
        raise UserError(f"'{folder}' holds files that are not this dataset's masks; choose another --out")
    for path in _checksums(listed):
        if path.removeprefix(f"{FOLDER}/") not in masks:
            (manifest_folder / path).unlink(missing_ok=True)
    lines = []
    for path, png in masks.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(png)
        lines.append(f"{hashlib.sha256(png).hexdigest()}  {FOLDER}/{path}\n")
    folder.mkdir(parents=True, exist_ok=True)
    write_durably(listed, "".join(lines))
    return folder


def changed_masks(manifest_folder: Path) -> list[str]:
    """Masks that are missing or not those that were written, by path; nothing where no masks were written."""
    return [
        path
        for path, wanted in _checksums(manifest_folder / CHECKSUMS).items()
        if not (file := manifest_folder / path).is_file()
        or hashlib.sha256(file.read_bytes()).hexdigest() != wanted
    ]


def _checksums(file: Path) -> dict[str, str]:
    if not file.is_file():
        return {}
    pairs = (line.split("  ", 1) for line in read_text(file).splitlines() if "  " in line)
    return {
        path: digest
        for digest, path in pairs
        if ".." not in path.split("/") and path.startswith(f"{FOLDER}/")
    }
