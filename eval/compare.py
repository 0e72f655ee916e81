"""`python -m eval.compare RUN...`: does one method localize better than another, under which protocol, and why?"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from eval.comparison.config import CompareConfig
from wsol.command_line import parse
from wsol.errors import run_command


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    config = parse(CompareConfig, "eval.compare", arguments)

    def body() -> None:
        from eval.write_comparison import (
            compare_and_print,  # slow to import; `--help` must not wait
        )

        compare_and_print(config)

    return run_command(body)


if __name__ == "__main__":
    sys.exit(main())
