"""`python -m eval.realistic`: model and threshold chosen with true boxes, without any, and on the scored images."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from eval.proposals.config import RealisticConfig
from wsol.command_line import parse
from wsol.errors import run_command


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    config = parse(RealisticConfig, "eval.realistic", arguments)

    def body() -> None:
        from eval.realistic.write import realistic_and_print  # brings torch, which `--help` must not wait for

        realistic_and_print(config)

    return run_command(body)


if __name__ == "__main__":
    sys.exit(main())
