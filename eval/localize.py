"""`python -m eval.localize`: score maps to boxes to every published number, with intervals, in one pass."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from eval.evaluation.config import LocalizeConfig
from wsol.command_line import parse
from wsol.errors import run_command
from wsol.machine.allocator import set_up_process


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    config = parse(LocalizeConfig, "eval.localize", arguments)
    set_up_process()

    def body() -> None:
        from eval.records.compile_ahead import compile_ahead

        compile_ahead()  # before torch, which takes seconds to load
        from eval.evaluation.evaluate import localize_and_print

        localize_and_print(config)

    return run_command(body)


if __name__ == "__main__":
    sys.exit(main())
