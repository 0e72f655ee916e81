"""`python -m wsol.prepare NAME --source PATH`: read a dataset from disk, audit it, write its manifest."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import tyro.extras

from wsol.command_help import commands_help, help_text
from wsol.command_line import answer_version, program
from wsol.datasets.catalog import manifest_folder
from wsol.datasets.commands import COMMANDS
from wsol.datasets.options import Basic, Command
from wsol.errors import UserError, run_command, unknown_name

ABOUT = "Read a dataset from disk, check it, and write its manifest: text files that list images, labels and boxes."


def parse(arguments: Sequence[str]) -> tuple[str, Command]:
    """Command line to (NAME, options). NAME is a layout, or with --check a prepared dataset; an unknown one is a
    `UserError` with the legal ones."""
    first = arguments[0] if arguments else ""
    if (
        first not in COMMANDS
        and "--check" in arguments
        and (manifest_folder(first) / "manifest.yaml").is_file()
    ):
        prog = f"{program('wsol.prepare')} {first}"
        return first, cast(Command, tyro.cli(Basic, args=list(arguments[1:]), prog=prog, description=ABOUT))
    if first and not first.startswith("-") and first not in COMMANDS:
        raise unknown_name("dataset layout", first, COMMANDS)
    prog = program("wsol.prepare")
    if "-h" in arguments or "--help" in arguments:
        chosen = cast(Any, COMMANDS.get(first))
        sys.stdout.write(
            help_text(chosen, f"{prog} {first}") if chosen else commands_help(COMMANDS, prog, ABOUT)
        )
        raise SystemExit(0)
    options = tyro.extras.subcommand_cli_from_dict(
        cast(Any, COMMANDS), args=list(arguments), prog=prog, description=ABOUT
    )
    return first, cast(Command, options)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; `arguments` default to the process's own."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    answer_version(given)
    name, options = parse(given)
    from wsol.preparation import check, manifests_folder, prepare  # slow to import; `--help` must not wait

    if options.check:
        folder = (
            manifests_folder() / default_folder(name, options) if name in COMMANDS else manifest_folder(name)
        )
        check(options.out or folder, options)
        return
    if options.source is None and name != "parts":
        raise UserError(f"--source is missing: `python -m wsol.prepare {name} --source PATH`")
    out = options.out or manifests_folder() / default_folder(name, options)
    prepare(
        name, options, options.source or Path(), out, shlex.join(["python", "-m", "wsol.prepare", *given])
    )


def default_folder(name: str, options: Command) -> str:
    """Name of the folder in data_manifests/ that a command writes to unless told otherwise."""
    dataset = getattr(options, "dataset_folder", None)
    return f"{dataset.lower()}-boxes" if dataset else name


def command() -> int:
    """The same as a console script: its exit code."""
    return run_command(main)


if __name__ == "__main__":
    sys.exit(command())
