"""Dataset cards, `card_files/<name>.yaml`, or `dataset.yaml` beside a manifest: what is known before
anybody holds the dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wsol.errors import UserError
from wsol.files.regular import read_text
from wsol.files.strict_yaml import load_yaml
from wsol.manifest import SPLIT_ROLES


@dataclass(frozen=True)
class Expected:
    """Expected counts of one split; None where the source states none. `images_per_class` is for datasets of
    which people hold some classes."""

    images: int | None = None
    boxes: int | None = None
    images_per_class: int | None = None


@dataclass(frozen=True)
class Card:
    """One dataset as its card describes it. `prepare` is the exact command; `checksums` maps archive names to
    SHA-256 or MD5 digests (32 characters are MD5)."""

    name: str
    title: str
    prepare: str
    num_classes: int | None = None
    expected: Mapping[str, Expected] = field(default_factory=dict)
    checksums: Mapping[str, str] = field(default_factory=dict)
    known_problems: tuple[str, ...] = ()
    licence: str = ""
    sources: tuple[str, ...] = ()

    @property
    def states_counts(self) -> bool:
        """Whether the card describes one dataset; without a count it describes a layout for anybody's images."""
        return any(e != Expected() for e in self.expected.values())


_KEYS = (
    *("name", "title", "prepare", "num_classes", "classes", "expected", "splits"),
    *("checksums", "known_problems", "licence", "sources"),
)


def parse_card(text: str, where: str) -> Card:
    """Read a card's YAML; `UserError` names the file and the key that is wrong."""
    data = load_yaml(text, where)
    if not isinstance(data, dict):
        raise UserError(f"{where}: expected a mapping with name, title and prepare")
    for key in ("name", "title", "prepare"):
        if not isinstance(data.get(key), str):
            raise UserError(f"{where}: '{key}' must be a text, got {data.get(key)!r:.60}")
    unknown = sorted(str(k) for k in data if k not in _KEYS)
    if unknown:
        raise UserError(f"{where}: unknown key '{unknown[0]}'; legal: {', '.join(sorted(_KEYS))}")
    return Card(
        name=data["name"],
        title=data["title"],
        prepare=data["prepare"],
        num_classes=_count(data.get("num_classes"), where, "num_classes"),
        expected=_expected(data.get("expected") or {}, where),
        checksums={
            str(k): str(v).lower() for k, v in _mapping(data.get("checksums"), where, "checksums").items()
        },
        known_problems=_texts(data.get("known_problems"), where, "known_problems"),
        licence=str(data.get("licence") or ""),
        sources=_texts(data.get("sources"), where, "sources"),
    )


_COUNTS = ("images", "boxes", "images_per_class")


def _expected(data: Any, where: str) -> dict[str, Expected]:
    found: dict[str, Expected] = {}
    for role, counts in _mapping(data, where, "expected").items():
        if role not in SPLIT_ROLES:
            raise UserError(f"{where}: expected: unknown split '{role}'; legal: {', '.join(SPLIT_ROLES)}")
        counts = _mapping(counts, where, f"expected.{role}")
        if extra := sorted(str(k) for k in counts if k not in _COUNTS):
            raise UserError(
                f"{where}: expected.{role}: unknown key '{extra[0]}'; legal: {', '.join(_COUNTS)}"
            )
        found[role] = Expected(
            **{str(k): _count(v, where, f"expected.{role}.{k}") for k, v in counts.items()}
        )
    return found


def _mapping(value: Any, where: str, key: str) -> dict[Any, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise UserError(f"{where}: '{key}' must be a mapping, got {value!r:.60}")
    return value


def _texts(value: Any, where: str, key: str) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(v, str) for v in value):
        raise UserError(f"{where}: '{key}' must be a list of texts, got {value!r:.60}")
    return tuple(value)


def _count(value: Any, where: str, key: str) -> int | None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
        raise UserError(f"{where}: '{key}' must be a count, got {value!r:.60}")
    return value


def read_card(folder: Path) -> Card | None:
    """The card in a manifest folder, or None where there is none."""
    file = folder / "dataset.yaml"
    if not file.is_file():
        return None
    return parse_card(read_text(file), str(file))


def known_cards(manifests: Path | None = None) -> dict[str, Card]:
    """Every card by name: those that come with the package, and over them those in a `data_manifests/` folder."""
    cards = {file.stem: parse_card(file.read_text(encoding="utf-8"), str(file)) for file in _own_files()}
    for file in sorted(manifests.glob("*/dataset.yaml")) if manifests is not None else ():
        card = read_card(file.parent)
        if card is not None:
            cards[file.parent.name] = card
    return cards


def _own_files() -> list[Path]:
    return sorted((Path(__file__).parent / "card_files").glob("*.yaml"))


def find_card(folder: Path, name: str) -> Card | None:
    """The card beside a manifest, else the package's of that folder's name, else the package's of `name`."""
    if (card := read_card(folder)) is not None:
        return card
    own = known_cards()
    return own.get(folder.name) or own.get(name)
