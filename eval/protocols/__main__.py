"""`python -m eval.protocols`: list, explain and compare definitions of protocols."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from eval.protocols.explain import print_protocols
from wsol.command_line import parse
from wsol.errors import run_command


@dataclass(frozen=True)
class ProtocolsConfig:
    """Without names: every protocol with the short hash that its numbers carry. With one: what it means, field by
    field. With several: in which fields they differ."""

    names: Annotated[tuple[str, ...], tyro.conf.Positional] = ()
    """Protocols, variants as NAME@max, NAME@pas, NAME@ivr, NAME@first_gt, NAME@aligned."""
    protocol_file: Path | None = None
    """Your own protocols in YAML, beside the published ones."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    config = parse(ProtocolsConfig, "eval.protocols", arguments)
    return run_command(lambda: print_protocols(config.names, config.protocol_file))


if __name__ == "__main__":
    sys.exit(main())
