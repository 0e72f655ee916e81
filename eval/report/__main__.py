"""`python -m eval.report RUN`: one self-contained HTML page about an evaluated run."""

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
class ReportConfig:
    """Write the page of an evaluated run: numbers with intervals, curves, error kinds, and a gallery.

    The page is one HTML file that needs no network. Runs are compared with `python -m eval.compare`, which writes a
    page of its own.
    """

    run: Annotated[Path | None, tyro.conf.Positional] = None
    """A run that eval.localize has scored (default: the newest finished one)."""
    out: Path | None = None
    """The file to write, or a folder for report.html (default: RUN/eval/report.html)."""
    pictures: int = 200
    """How many images the page shows; the rest is in the numbers only."""
    seed: int = 0
    """Seed of the choice of pictures."""
    dataset: Annotated[str | None, tyro.conf.arg(aliases=["--manifest"])] = None
    """The dataset's manifest, if not where the run found it."""
    data_root: Path | None = None
    """Where the dataset's files are, if not where the run found them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    config = parse(ReportConfig, "eval.report", arguments)

    def body() -> None:
        from eval.report.run_page import report_run  # slow to import; `--help` must not wait

        report_run(
            config.run,
            config.out,
            pictures=config.pictures,
            seed=config.seed,
            dataset=config.dataset,
            data_root=config.data_root,
        )

    return run_command(body)


if __name__ == "__main__":
    sys.exit(main())
