"""`python -m eval.localize`: score maps to boxes to every published number, with intervals, in one pass."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import tyro

from eval.localize_config import LocalizeConfig
from wsol.errors import run_command


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    config = tyro.cli(LocalizeConfig, args=arguments, prog="python -m eval.localize")
    # OpenMP's threads would spin while they wait and starve the box kernel on few cores; read when torch loads.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")

    def body() -> None:
        from eval.evaluate import localize_and_print  # brings torch, which `--help` must not wait for

        localize_and_print(config)

    return run_command(body)


if __name__ == "__main__":
    sys.exit(main())
