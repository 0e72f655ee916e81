"""What the files of a manifest really are: present or not, readable or not, their sizes, their duplicates."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from wsol.errors import UserError, unknown_name
from wsol.files.roots import FileRoot
from wsol.images import IMAGE_SUFFIXES, decode_grey, decode_rgb, exif_orientation, image_size_wh, is_whole
from wsol.manifest import Manifest, Split

if TYPE_CHECKING:
    import numpy.typing as npt

Verify = Literal["names", "headers", "pixels"]
VERIFY_LEVELS = ("names", "headers", "pixels")
UNDECODED_SUFFIXES = (
    ".heic",
    ".heif",
    ".jxl",
    ".svg",
    ".cr2",
    ".nef",
    ".arw",
    ".dng",
    ".raw",
    ".eps",
    ".jxr",
)
"""Endings of images that Pillow does not decode by itself."""
SAMPLED_ABOVE = 100_000
"""A split with more images than this has a seeded sample of so many opened at level `headers`."""
_BLOCK = 256

Progress = Callable[[str, int, int], None]
"""progress(what, done, total)"""


@dataclass
class SplitFacts:
    """Findings about one split's images; indices refer to its rows. `sizes_wh` is 0, 0
    where no header was read."""

    sizes_wh: npt.NDArray[np.int32]
    opened: int = 0
    unreadable: dict[int, str] = field(default_factory=dict)
    exif_rotated: dict[int, int] = field(default_factory=dict)
    """EXIF orientation (2 to 8) by row."""
    bad_masks: dict[int, str] = field(default_factory=dict)


@dataclass
class FileFacts:
    """Findings about all files of a manifest.

    `surplus` are image files below its root that no split names, `undecoded` those of a format that is not read here,
    `duplicates` pairs of (split, image id) with equal bytes.
    """

    verify: Verify
    missing: dict[str, list[str]] = field(default_factory=dict)
    surplus: list[str] = field(default_factory=list)
    undecoded: list[str] = field(default_factory=list)
    splits: dict[str, SplitFacts] = field(default_factory=dict)
    duplicates: list[tuple[tuple[str, str], tuple[str, str]]] = field(default_factory=list)


def inspect_files(
    manifest: Manifest,
    root: FileRoot,
    *,
    verify: Verify = "headers",
    progress: Progress | None = None,
    below: str | None = None,
) -> FileFacts:
    """Compare a manifest with its files.

    `names` only lists them. `headers` also opens images (all of them, or a seeded sample of a very large split),
    reads their sizes, compares their bytes with each other, and decodes those that do not end with their format's end
    marker. `pixels` decodes every image and mask. `below` is the folder of the source, relative to `root`, in which
    every image file has to be accounted for; None looks only into the folders that the manifest names.
    """
    if verify not in VERIFY_LEVELS:
        raise unknown_name("verify level", verify, VERIFY_LEVELS)
    report = progress or (lambda what, done, total: None)
    facts = FileFacts(verify)
    there = _list_files(manifest, root, facts, report, below)
    seen: dict[bytes, tuple[str, str]] = {}
    for role, split in manifest.splits.items():
        facts.missing[role] = sorted({p for p in _files_of(split) if p not in there})
        found = SplitFacts(np.zeros((len(split), 2), np.int32))
        facts.splits[role] = found
        if verify == "names":
            continue
        rows = [i for i in _chosen(len(split), verify) if split.path(i) in there]
        for row, outcome in _in_blocks(rows, lambda i, s=split: _look(root, s, i, verify), role, report):  # type: ignore[misc]
            found.opened += 1
            if outcome.problem:
                found.unreadable[row] = outcome.problem
                if outcome.size_wh != (0, 0):  # a cut photograph still says its size, which its boxes need
                    found.sizes_wh[row] = outcome.size_wh
                continue
            found.sizes_wh[row] = outcome.size_wh
            if outcome.orientation != 1:
                found.exif_rotated[row] = outcome.orientation
            if outcome.mask_problem:
                found.bad_masks[row] = outcome.mask_problem
            here = (role, split.image_ids[row])
            first = seen.setdefault(outcome.digest, here)
            if first != here:
                facts.duplicates.append((first, here))
    return facts


def _files_of(split: Split) -> Iterator[str]:
    yield from split.image_ids if split.paths is None else split.paths
    for masks in split.masks.values():
        yield from masks
    yield from split.ignore_masks.values()
    yield from split.part_masks.values()


def _list_files(
    manifest: Manifest, root: FileRoot, facts: FileFacts, report: Progress, below: str | None
) -> frozenset[str]:
    """Which of the manifest's files are there; image files that it does not name are `surplus` or `undecoded`."""
    wanted = {path for split in manifest.splits.values() for path in _files_of(split)}
    there: set[str] = set()
    listed = root.names_in({path.rpartition("/")[0] for path in wanted})
    names = listed if below is None else itertools.chain(root.names(below), listed)
    for count, name in enumerate(names):
        if name in wanted:
            there.add(name)
        elif not any(p.startswith(".") or p == "__MACOSX" for p in name.split("/")):
            if name.lower().endswith(IMAGE_SUFFIXES):
                facts.surplus.append(name)
            elif name.lower().endswith(UNDECODED_SUFFIXES):
                facts.undecoded.append(name)
        if count % 4096 == 0:
            report("listing files", len(there), len(wanted))
    facts.surplus = sorted(set(facts.surplus))
    facts.undecoded = sorted(set(facts.undecoded))
    return frozenset(there)


def _chosen(count: int, verify: Verify) -> list[int]:
    if verify == "pixels" or count <= SAMPLED_ABOVE:
        return list(range(count))
    return sorted(np.random.default_rng(0).choice(count, SAMPLED_ABOVE, replace=False).tolist())


@dataclass(frozen=True)
class _Look:
    size_wh: tuple[int, int] = (0, 0)
    orientation: int = 1
    digest: bytes = b""
    problem: str = ""
    mask_problem: str = ""


def _look(root: FileRoot, split: Split, row: int, verify: Verify) -> _Look:
    path = split.path(row)
    size = (0, 0)
    try:
        data = root.read_bytes(path)
        size = image_size_wh(data, path)
        orientation = exif_orientation(data, path)
        if verify == "pixels" or not is_whole(data):
            decode_rgb(data, path)
    except UserError as error:
        return _Look(size, problem=str(error))
    mask_problem = _look_at_masks(root, split, row, size) if verify == "pixels" else ""
    return _Look(size, orientation, hashlib.blake2b(data, digest_size=16).digest(), "", mask_problem)


def _look_at_masks(root: FileRoot, split: Split, row: int, size_wh: tuple[int, int]) -> str:
    empty = True
    try:
        for path in split.masks.get(row, ()):
            empty &= not decode_grey(root.read_bytes(path), path).any()
        ignore = split.ignore_masks.get(row)
        if ignore is not None:
            decode_grey(root.read_bytes(ignore), ignore)
        part_mask = split.part_masks.get(row)
        if (
            part_mask is not None
            and decode_grey(root.read_bytes(part_mask), part_mask).shape != size_wh[::-1]
        ):
            return f"part mask '{part_mask}' differs in size from its image"
    except UserError as error:
        return str(error)
    return f"masks of '{split.image_ids[row]}' mark no pixel" if empty and row in split.masks else ""


def _in_blocks(
    rows: list[int], look: Callable[[int], _Look], what: str, report: Progress
) -> Iterator[tuple[int, _Look]]:
    # A pool's own map would queue a million calls at once; blocks keep memory flat.
    with ThreadPoolExecutor() as pool:
        for start in range(0, len(rows), _BLOCK):
            block = rows[start : start + _BLOCK]
            yield from zip(block, pool.map(look, block))
            report(f"opening {what}", start + len(block), len(rows))
