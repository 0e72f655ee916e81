"""`python -m wsol.prepare NAME --source PATH`: read a dataset from disk, audit it, write its manifest."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeVar, cast

import tyro
import tyro.conf
import tyro.extras

from wsol.errors import UserError, run_command, unknown_name
from wsol.manifest import Manifest

T = TypeVar("T")
Optional = Annotated[T | None, tyro.conf.DisallowNone]  # shown as `--out PATH`, not as `--out {None}|PATH`


@dataclass(frozen=True)
class Common:
    """What every dataset's command takes."""

    source: Optional[Path] = None
    """Folder or archive that holds the dataset."""
    out: Optional[Path] = None
    """Folder of the manifest. Default: data_manifests/NAME."""


class Command(Protocol):
    """What a dataset's options can do."""

    @property
    def source(self) -> Path | None: ...

    @property
    def out(self) -> Path | None: ...

    def read(self, source: Path) -> Manifest:
        """Read the dataset; `source` is an existing path."""
        ...


@dataclass(frozen=True)
class TinyImageNet(Common):
    """Tiny ImageNet: the original zip (read in place) or its folder; a subset of the classes is fine."""

    classes: Optional[int] = None
    """Use only the first N classes (sorted wnids)."""
    holdout: int = 25
    """Training images a class that become train-fullsup."""
    seed: int = 0
    """Seed of the hold-out."""

    def read(self, source: Path) -> Manifest:
        from wsol.datasets.tiny_imagenet import read_tiny_imagenet
        from wsol.images import open_root

        root = open_root(source)
        return read_tiny_imagenet(
            root, num_classes=self.classes, holdout_per_class=self.holdout, seed=self.seed
        )


@dataclass(frozen=True)
class WsolMetadata(Common):
    """The reference metadata layout (text files of ids, labels, sizes and boxes); images may be absent."""

    dataset_folder: Optional[str] = None
    """Which dataset, where the source holds several: CUB, ILSVRC, OpenImages."""
    images: Optional[Path] = None
    """Folder or zip that the image ids are relative to. Default: none, for work on boxes alone."""
    num_classes: Optional[int] = None
    """Number of classes. Default: the highest label + 1."""

    def read(self, source: Path) -> Manifest:
        from wsol.datasets.wsol_metadata import read_wsol_metadata
        from wsol.images import open_root

        return read_wsol_metadata(
            open_root(source),
            dataset_folder=self.dataset_folder,
            images=open_root(self.images).location if self.images else None,
            num_classes=self.num_classes,
        )


COMMANDS: dict[str, type[Command]] = {
    "tiny-imagenet": TinyImageNet,
    "wsol-metadata": WsolMetadata,
}
"""NAME -> its options."""


def parse(arguments: Sequence[str]) -> tuple[str, Command]:
    """Command line to (NAME, options). Touches no disk; an unknown NAME is a `UserError` with the legal
    ones."""
    first = arguments[0] if arguments else ""
    if first and not first.startswith("-") and first not in COMMANDS:
        raise unknown_name("dataset layout", first, COMMANDS)
    options = tyro.extras.subcommand_cli_from_dict(
        cast(Any, COMMANDS), args=list(arguments), prog="python -m wsol.prepare", description=__doc__
    )
    return first, cast(Command, options)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; `arguments` default to the process's own."""
    from wsol.datasets.catalog import manifests_folder
    from wsol.manifest import write_manifest

    given = list(sys.argv[1:] if arguments is None else arguments)
    name, options = parse(given)
    if options.source is None:
        raise UserError(f"--source is missing: `python -m wsol.prepare {name} --source PATH`")
    manifest = options.read(options.source)
    out = options.out or manifests_folder() / name
    prepared = shlex.join(["python", "-m", "wsol.prepare", *given])
    write_manifest(manifest, out, source=str(options.source), prepared_by=prepared)
    sys.stdout.write(f"manifest: {out}\n")


if __name__ == "__main__":
    sys.exit(run_command(main))
