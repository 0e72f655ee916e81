"""`python -m wsol.export LAYOUT MANIFEST OUT`: write a manifest in a layout that other tools read."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from wsol import __version__
from wsol.command_line import program
from wsol.errors import run_command

LAYOUTS = ("wsol-metadata", "coco")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line; touches no disk."""
    parser = argparse.ArgumentParser(prog=program("wsol.export"), description=__doc__)
    parser.add_argument("--version", action="version", version=f"wsol-eval {__version__}")
    parser.add_argument(
        "layout", choices=LAYOUTS, help="reference metadata (text files), or COCO instances JSON"
    )
    parser.add_argument("manifest", help="a manifest folder, or the name of one in data_manifests/")
    parser.add_argument("out", type=Path, help="a new folder")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; `arguments` default to the process's own."""
    from wsol.export_formats import export_manifest  # slow to import; `--help` must not wait

    options = parse(arguments)
    export_manifest(options.layout, options.manifest, options.out)


if __name__ == "__main__":
    sys.exit(run_command(main))
