"""`python -m eval.power COMPARISON`: what a further study could show, from a pilot comparison's variances."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from wsol.command_line import parse
from wsol.errors import run_command


@dataclass(frozen=True)
class PowerConfig:
    """Plan a study from a pilot: seeds and images for an effect, and the effect that seeds and images could show.

    COMPARISON is what `python -m eval.compare` wrote for two methods with two training seeds or more of each. Its
    variances (of runs, of method x image, of run x image) are taken as the study's, by its primary outcome.
    """

    comparison: Annotated[Path, tyro.conf.Positional]
    """Folder of a comparison, or its compare.json."""
    effect: float = 2.0
    """The true difference that is to be found, in points."""
    power: float = 0.8
    """The probability with which it is to be found."""
    seeds: tuple[int, ...] = (3, 5, 8)
    """Training seeds a side."""
    images: tuple[int, ...] = ()
    """Numbers of test images (default: the comparison's)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    config = parse(PowerConfig, "eval.power", arguments)

    def body() -> None:
        from eval.power.table import print_power  # slow to import; `--help` must not wait

        print_power(config)

    return run_command(body)


if __name__ == "__main__":
    sys.exit(main())
