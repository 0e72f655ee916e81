"""`python -m eval.show photo.jpg`: score map and boxes over a photograph, without any dataset."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from eval.showing.config import ShowConfig
from wsol.command_line import parse
from wsol.errors import run_command
from wsol.machine.allocator import set_up_process


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    config = parse(ShowConfig, "eval.show", arguments)
    set_up_process()

    def body() -> None:
        from eval.showing.show_photographs import show  # brings torch, which `--help` must not wait for

        show(config)

    return run_command(body)


if __name__ == "__main__":
    sys.exit(main())
