"""One kind of file that a command reads, and how files of several kinds are broken."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from benchmarks.anatomies import (
    ZIP,
    mutate_pickle,
    repacked,
)
from benchmarks.mutations import (
    mutate_bytes,
    mutate_json,
    mutate_tree,
)
from wsol.files.seal import sealed

Reader = Callable[[Path], object]
Mutator = Callable[[bytes, random.Random], bytes]


@dataclass(frozen=True)
class Door:
    """One kind of file: its name, valid ones, how they are broken, how they are read, and how often."""

    name: str
    seeds: Sequence[bytes]
    mutate: Mutator
    read: Reader
    weight: float = 1.0


def seeded(write: Callable[[str], object], ending: str = "") -> bytes:
    """What a function writes to a path."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"x{ending}"
        write(str(file))
        return file.read_bytes()


def resealed(data: bytes, draw: random.Random) -> bytes:
    """A record of our own with values changed and its checksum made to fit."""
    if draw.random() < 0.2:
        return mutate_json(data, draw)
    try:
        found = mutate_tree(json.loads(data), draw)
        return json.dumps(sealed(found) if isinstance(found, dict) else found).encode()
    except (RecursionError, ValueError):
        return b"[" * 5000


def mutate_yaml(data: bytes, draw: random.Random, seal: bool = False) -> bytes:
    """A YAML text: its values (then resealed, where the file carries a checksum), or its characters."""
    if draw.random() < 0.4:
        return mutate_bytes(data, draw)
    try:
        found = mutate_tree(yaml.safe_load(data), draw)
        if seal and isinstance(found, dict):
            found = sealed(found)
        return yaml.safe_dump(found, sort_keys=False, allow_unicode=True).encode("utf-8", "surrogatepass")
    except (RecursionError, ValueError, yaml.YAMLError):
        return b"a: [" * 5000


def mutate_checkpoint(data: bytes, draw: random.Random) -> bytes:
    """A file of torch.save: its pickle's opcodes, its storages, or the zip around them."""
    if data[:2] != b"PK":
        return mutate_pickle(data, draw) if draw.random() < 0.8 else mutate_bytes(data, draw)
    if draw.random() < 0.2:
        return ZIP.mutate(data, draw)

    def change(name: str, content: bytes) -> bytes:
        return mutate_bytes(content, draw) if not name.endswith(".pkl") else mutate_pickle(content, draw)

    for _ in range(8):  # most of its members are storages; what is read is in the pickle
        found = repacked(data, change, draw)
        if found != data:
            return found
    return found


def in_zip(change: Mutator, data: bytes, draw: random.Random) -> bytes:
    """A zip around mutated members, or a mutated zip."""
    return (
        ZIP.mutate(data, draw) if draw.random() < 0.4 else repacked(data, lambda _, c: change(c, draw), draw)
    )
