"""Plain training: the baseline that the others are compared with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from wsol.methods.method import Method


@dataclass(frozen=True)
class Vanilla(Method):
    """Images and labels as they are."""

    name: ClassVar[str] = "vanilla"
