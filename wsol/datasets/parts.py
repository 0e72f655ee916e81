"""The embedded dataset `parts`: composed from a seed in seconds, nothing to download.

Each picture shows an articulated animal on textures cut from photographs. All classes share bodies and poses;
the pattern of the head, a small part, decides the class, and a weaker cue (the coat) is spread over the body.
A classifier is tempted to look at the head alone, which is the failure that CutMix and its rivals claim to
cure; exact part masks measure it. The dataset shows mechanisms; it is no evidence about photographs.

`write_parts` leaves a folder with

    manifest.yaml, train-weaksup.csv, train-fullsup.csv, test.csv      (wsol.manifest)
    config.json                                                        the knobs it was made with
    images/ROLE/CLASS/NUMBER.png, masks/..., part_masks/...

Part masks hold 0 for no object and k for PART_NAMES[k - 1].
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict
from pathlib import Path

from wsol.datasets.parts_config import DECIDING_PART, PART_NAMES, PartsConfig
from wsol.datasets.parts_files import Progress, render, write_pictures
from wsol.datasets.parts_paint import Rendered
from wsol.datasets.parts_textures import Textures, load_textures
from wsol.errors import UserError
from wsol.files.atomic_write import scratch_folder
from wsol.files.strict_json import read_json
from wsol.manifest import Manifest, load_manifest, write_manifest

__all__ = [
    "DECIDING_PART",
    "PART_NAMES",
    "PartsConfig",
    "Rendered",
    "Textures",
    "config_hash",
    "load_textures",
    "read_parts",
    "render",
    "write_parts",
]

# Raise this whenever the same config gives other pixels, so that folders made before are not taken for new
# ones.
RENDERER_VERSION = 2
_NOTES = (
    "composed from a seed; shows mechanisms, is no evidence about photographs",
    "textures: free photographs (CC0 or public domain) carried by scikit-image",
    "part mask value k is part_names[k - 1]; the head decides the class",
)


def config_hash(config: PartsConfig) -> str:
    """SHA-256 over the knobs and the renderer's version: equal hashes mean equal datasets."""
    text = json.dumps({"renderer_version": RENDERER_VERSION, **asdict(config)}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def write_parts(
    config: PartsConfig,
    out_dir: str | os.PathLike[str],
    progress: Progress | None = None,
    *,
    workers: int | None = None,
) -> Manifest:
    """Make the dataset in `out_dir` and return its manifest; nothing to do where the
    same config is there already.

    The folder appears complete or not at all. `progress(done, total)` is called as pictures are finished;
    `workers` is the number of processes (default: by cores and work) and changes nothing but the time. Raises
    `UserError` where `out_dir` holds anything else."""
    out = Path(out_dir)
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        _check_same_config(config, out)
        return read_parts(out)
    with scratch_folder(out.absolute()) as scratch:
        splits = write_pictures(config, scratch, progress, workers)
        manifest = Manifest("parts", config.classes, splits, part_names=PART_NAMES, notes=_NOTES)
        write_manifest(manifest, scratch, config_sha256=config_hash(config))
        (scratch / "config.json").write_text(_describe(config), encoding="utf-8")
        if out.is_dir():
            out.rmdir()  # empty, as checked above
        scratch.replace(out)
    return read_parts(out)


def read_parts(folder: str | os.PathLike[str]) -> Manifest:
    """The manifest of a folder that `write_parts` made, rooted at that folder wherever it lies now."""
    return load_manifest(folder, root=folder)


def _describe(config: PartsConfig) -> str:
    about = {"renderer_version": RENDERER_VERSION, "sha256": config_hash(config), "config": asdict(config)}
    return json.dumps(about, indent=2) + "\n"


def _check_same_config(config: PartsConfig, out: Path) -> None:
    file = out / "config.json"
    remedy = "choose another folder, or delete this one to make it anew"
    if not file.is_file():
        raise UserError(f"'{out}' is not empty and holds no parts dataset (config.json is missing); {remedy}")
    try:
        found = read_json(file)
        knobs, version, stated = dict(found["config"]), found["renderer_version"], found["sha256"]
    except (UserError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{file}: not the config of a parts dataset ({error}); {remedy}") from error
    if version != RENDERER_VERSION:
        raise UserError(
            f"{file}: made by renderer version {version}, this is version {RENDERER_VERSION}; {remedy}"
        )
    wanted = asdict(config)
    other = [f"{k}={knobs.get(k)!r} (asked for {v!r})" for k, v in wanted.items() if knobs.get(k) != v]
    if other or stated != config_hash(config):
        raise UserError(f"{file}: made with {', '.join(other) or 'another config'}; {remedy}")
