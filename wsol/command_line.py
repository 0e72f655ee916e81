"""How every command reads its arguments: one config dataclass, `--help`, `--version`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import tyro

from wsol import __version__
from wsol.command_help import help_text

C = TypeVar("C")


def program(module: str) -> str:
    """What the user typed: the console script (`wsol-localize`), or how the module is run.

    >>> program("eval.localize")
    'python -m eval.localize'
    """
    typed = Path(sys.argv[0]).name
    if typed.startswith("wsol-"):
        return typed
    return module if module.endswith(".py") else f"python -m {module}"


def parse(
    config: type[C],
    module: str,
    arguments: Sequence[str] | None = None,
    *,
    description: str | None = None,
    default: C | None = None,
) -> C:
    """The config that a command line asks for. `--help`, `--version` and misspelled flags end the program."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    answer_version(given)
    if "-h" in given or "--help" in given:
        sys.stdout.write(help_text(config, program(module), description))
        raise SystemExit(0)
    kept: dict[str, Any] = {} if default is None else {"default": default}
    return tyro.cli(config, prog=program(module), description=description, args=given, **kept)


def answer_version(arguments: Sequence[str]) -> None:
    """End the program with the version where the arguments ask for it."""
    if "--version" in arguments:
        sys.stdout.write(f"wsol-eval {__version__}\n")
        raise SystemExit(0)
