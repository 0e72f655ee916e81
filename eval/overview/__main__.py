"""`python -m eval.overview RUN...`: one line per scored run, and the controls below, in one table."""

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
class OverviewConfig:
    """Print scored runs side by side. Thresholds picked on the scored split ("oracle") and on train-fullsup
    ("transferred") stand in columns of their own."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """Run directories scored by eval.localize, or folders that hold a results.json."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    config = parse(OverviewConfig, "eval.overview", arguments)

    def body() -> None:
        from eval.overview.table import print_overview  # slow to import; `--help` must not wait

        print_overview(config.runs)

    return run_command(body)


if __name__ == "__main__":
    sys.exit(main())
