"""`python -m eval.propose`: one class-agnostic box for each image of a split, as a CSV."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from eval.proposals.config import ProposeConfig
from wsol.command_line import parse
from wsol.errors import run_command


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    config = parse(ProposeConfig, "eval.propose", arguments)

    def body() -> None:
        from eval.proposals.write import propose  # brings scikit-image, which `--help` must not wait for

        propose(config)

    return run_command(body)


if __name__ == "__main__":
    sys.exit(main())
