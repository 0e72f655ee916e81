"""Datasets by name: a prepared manifest, the embedded one made on first use, or the line that prepares it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import wsol
from wsol.datasets.cards import known_cards
from wsol.datasets.parts import PartsConfig, config_hash, read_parts, write_parts
from wsol.errors import UserError, unknown_name
from wsol.manifest import Manifest, load_manifest, write_manifest

EMBEDDED = "parts"


def manifests_folder() -> Path:
    """Where manifests live: `data_manifests/` under the current folder; from outside a checkout that has one, the
    checkout's. Never in an installation."""
    here = Path("data_manifests")
    checkout = Path(wsol.__file__).resolve().parents[1]
    if here.is_dir() or not (checkout / "pyproject.toml").is_file():
        return here
    there = checkout / "data_manifests"
    return there if there.is_dir() else here


def open_dataset(
    name_or_folder: str | os.PathLike[str],
    *,
    data_root: str | os.PathLike[str] | None = None,
    roles: Sequence[str] | None = None,
) -> Manifest:
    """The manifest of a folder, or of a name in `data_manifests/`.

    `data_root` replaces the recorded place of the files; `roles` limits which splits are read. `parts` is
    made on first use. A known dataset that is not prepared yet is a `UserError` with the line that prepares
    it; an unknown name lists the legal ones.
    """
    name = os.fspath(name_or_folder)
    folder = manifest_folder(name)
    if (folder / "manifest.yaml").is_file() and (name != EMBEDDED or folder == Path(name)):
        return load_manifest(folder, root=data_root, roles=roles)
    if name == EMBEDDED:
        return _open_parts(manifests_folder() / name, data_root, roles)
    cards = known_cards(manifests_folder())
    in_manifests = folder.resolve().parent == manifests_folder().resolve()
    if (_is_plain(name) or in_manifests) and folder.name in cards:
        raise UserError(
            f"dataset '{folder.name}' is not prepared yet; run `{cards[folder.name].prepare}` first"
        )
    if folder.is_dir():
        raise UserError(
            f"folder '{name}' holds no manifest.yaml; make one with `python -m wsol.prepare NAME --source "
            f"PATH --out {name}`"
        )
    prepared = {p.parent.name for p in manifests_folder().glob("*/manifest.yaml")}
    unknown = unknown_name("dataset", folder.name if in_manifests else name, {EMBEDDED, *cards, *prepared})
    where = folder if in_manifests or not _is_plain(name) else f"data_manifests/{name}"
    raise UserError(
        f"{unknown}. To prepare one of your own: `python -m wsol.prepare folder --source IMAGES --out {where}`"
    )


def manifest_folder(name: str | os.PathLike[str]) -> Path:
    """The folder that a path, or a name in `data_manifests/`, means: the path itself unless only the name is there."""
    name = os.fspath(name)
    folder = Path(name).expanduser()
    by_name = manifests_folder() / name
    here = (folder / "manifest.yaml").is_file() or not _is_plain(name)
    return by_name if not here and (by_name / "manifest.yaml").is_file() else folder


def _is_plain(name: str) -> bool:
    return name not in ("", ".", "..") and "/" not in name and os.sep not in name


def _open_parts(
    folder: Path, data_root: str | os.PathLike[str] | None, roles: Sequence[str] | None
) -> Manifest:
    if (folder / "manifest.yaml").is_file():
        manifest = load_manifest(folder, root=data_root, roles=roles)
        if manifest.root is not None and Path(manifest.root).is_dir():
            return manifest
    made = make_parts()
    if not (folder / "manifest.yaml").is_file():  # else another process was quicker
        write_manifest(made, folder)
    splits = {r: s for r, s in made.splits.items() if roles is None or r in roles}
    return dataclasses.replace(made, splits=splits).with_root(data_root)


def make_parts(
    config: PartsConfig | None = None, progress: Callable[[int, int], None] | None = None
) -> Manifest:
    """The embedded dataset; its files are made in `data/parts-<hash>/` beside `data_manifests/` unless they
    are there already. `progress(done, total)` is called as pictures are finished."""
    config = config or PartsConfig()
    folder = manifests_folder().parent / "data" / f"parts-{config_hash(config)[:12]}"
    try:
        made = write_parts(config, folder, progress)
    except OSError:
        if not (folder / "manifest.yaml").is_file():
            raise
        made = read_parts(folder)  # another process finished the same folder first
    return made.with_root(folder.resolve())
