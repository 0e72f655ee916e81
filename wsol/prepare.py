"""`python -m wsol.prepare NAME --source PATH`: read a dataset from disk, audit it, write its manifest."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import tyro
import tyro.extras

from wsol.errors import UserError, run_command, unknown_name
from wsol.manifest import Manifest


@dataclass(frozen=True)
class Common:
    """What every dataset's command takes."""

    source: Path | None = None
    """Folder or archive that holds the dataset."""
    out: Path | None = None
    """Folder of the manifest. Default: data_manifests/NAME."""


@dataclass(frozen=True)
class TinyImageNet(Common):
    """Tiny ImageNet: the original zip (read in place) or its folder; a subset of the classes is fine."""

    classes: int | None = None
    """Use only the first N classes (sorted wnids)."""
    holdout: int = 25
    """Training images a class that become train-fullsup."""
    seed: int = 0
    """Seed of the hold-out."""

    def read(self, source: Path) -> Manifest:
        from wsol.datasets.tiny_imagenet import read_tiny_imagenet
        from wsol.images import open_root

        return read_tiny_imagenet(
            open_root(source), num_classes=self.classes, holdout_per_class=self.holdout, seed=self.seed
        )


COMMANDS: dict[str, type[Any]] = {"tiny-imagenet": TinyImageNet}
"""NAME -> its options; each has `.read(source) -> Manifest`."""


def parse(arguments: Sequence[str]) -> tuple[str, Any]:
    """Command line to (NAME, options). Touches no disk."""
    first = arguments[0] if arguments else ""
    if first and not first.startswith("-") and first not in COMMANDS:
        raise unknown_name("dataset layout", first, COMMANDS)
    choices = dict(COMMANDS)
    options = tyro.extras.subcommand_cli_from_dict(
        cast(Any, choices), args=list(arguments), prog="python -m wsol.prepare", description=__doc__
    )
    return first, options


def main() -> None:
    from wsol.datasets.catalog import manifests_folder
    from wsol.manifest import write_manifest

    name, options = parse(sys.argv[1:])
    if options.source is None:
        raise UserError(f"--source is missing: `python -m wsol.prepare {name} --source PATH`")
    out = options.out or manifests_folder() / name
    manifest = options.read(options.source)
    write_manifest(
        manifest,
        out,
        source=str(options.source),
        prepared_by=shlex.join(["python", "-m", "wsol.prepare", *sys.argv[1:]]),
    )
    sys.stdout.write(f"manifest: {out}\n")


if __name__ == "__main__":
    sys.exit(run_command(main))
