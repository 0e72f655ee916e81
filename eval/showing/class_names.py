"""Names of a network's classes, and the class that somebody means."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path

from wsol.errors import UserError
from wsol.files.regular import read_bytes


def imagenet_names() -> tuple[str, ...]:
    """ImageNet's 1,000 class names in the order of the weights' outputs, from torchvision, offline."""
    from torchvision.models import ResNet18_Weights

    return tuple(ResNet18_Weights.IMAGENET1K_V1.meta["categories"])


def names_from_file(file: Path, count: int) -> tuple[str, ...]:
    """One name a line; UserError where there are not `count` of them."""
    try:
        names = read_bytes(file).decode("utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: not UTF-8 text ({error.reason} at byte {error.start})") from error
    if len(names) != count:
        raise UserError(
            f"{file} has {len(names)} lines, but the network has {count} classes; one name a line"
        )
    return tuple(names)


def numbered_names(count: int) -> tuple[str, ...]:
    """Names for a network whose classes nobody named."""
    return tuple(f"class {i}" for i in range(count))


def find_class(asked: str, names: Sequence[str]) -> int:
    """The class that `asked` means: a number, a whole name, or a part of exactly one name (case is ignored).

    Raises UserError for none or several, naming the nearest.

    >>> find_class("tabby", ["tabby cat", "tiger cat"]), find_class("1", ["a", "b"])
    (0, 1)
    """
    wanted = asked.strip().casefold()
    if wanted.isdigit() and int(wanted) < len(names):
        return int(wanted)
    folded = [name.casefold() for name in names]
    whole = [
        i for i, name in enumerate(folded) if wanted in (name, *(part.strip() for part in name.split(",")))
    ]
    found = whole or [i for i, name in enumerate(folded) if wanted and wanted in name]
    if len(found) == 1:
        return found[0]
    if found:
        shown = ", ".join(f"{names[i]} ({i})" for i in found[:8])
        raise UserError(
            f"--class '{asked}' fits {len(found)} classes: {shown}; give a whole name or a number"
        )
    near = difflib.get_close_matches(wanted, folded, n=3, cutoff=0.5)
    hint = f"; did you mean {' or '.join(repr(names[folded.index(n)]) for n in near)}?" if near else ""
    raise UserError(f"the network has no class '{asked}'{hint} Classes are numbered 0 to {len(names) - 1}")
