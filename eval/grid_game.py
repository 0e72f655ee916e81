"""`python -m eval.grid_game`: the grid pointing game of a network, its random weights beside it."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from eval.grids.config import GridConfig
from wsol.command_line import parse
from wsol.errors import run_command
from wsol.machine.allocator import set_up_process


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    config = parse(GridConfig, "eval.grid_game", arguments)
    set_up_process()

    def body() -> None:
        from eval.grids.play import play_and_print  # brings torch, which `--help` must not wait for

        play_and_print(config)

    return run_command(body)


if __name__ == "__main__":
    sys.exit(main())
