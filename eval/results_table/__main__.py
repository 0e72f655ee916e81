"""`python -m eval.results_table`: a folder of checked result entries, and the page made from it."""

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
class ResultsTableConfig:
    """Check every entry of a folder of results (results/*.json) and write a page of them.

    An entry holds numbers by protocol with the protocol's hash, the maps' checksum, interval, command and source;
    published numbers are marked as such. An entry that lacks a field, or whose protocol is defined otherwise now, is
    refused. --add makes entries from evaluated runs.
    """

    folder: Annotated[Path, tyro.conf.Positional] = Path("results")
    """Folder of the entries."""
    add: tuple[str, ...] = ()
    """Evaluated runs, as RUN or NAME=RUN, that become entries DATASET-NAME.json of the folder. Without NAME it is
    the method and the training seed where there is one: vanilla-seed-0."""
    network: str = ""
    """Network that --add names where the results do not."""
    source: str = "measured with this repository"
    """Where the numbers of --add come from."""
    page: Path | None = None
    """The page (default: index.html in the folder)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    config = parse(ResultsTableConfig, "eval.results_table", arguments)

    def body() -> None:
        from eval.results_table.page import check_and_write  # slow to import; `--help` must not wait

        check_and_write(config.folder, config.add, config.network, config.source, config.page)

    return run_command(body)


if __name__ == "__main__":
    sys.exit(main())
