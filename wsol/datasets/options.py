"""What the options of every `python -m wsol.prepare NAME` have in common; each reader adds its own in its own file."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, TypeVar

import tyro.conf
from rich.console import Console
from rich.progress import Progress as Bars

from wsol.datasets.boxes import BoxRules, Units
from wsol.datasets.catalog import manifests_folder
from wsol.datasets.detections import Policy
from wsol.files.archives import is_tar, unpack_tar
from wsol.files.roots import open_root
from wsol.manifest import Manifest

if TYPE_CHECKING:
    from wsol.datasets.inspect_files import Progress
    from wsol.files.roots import FileRoot

T = TypeVar("T")
Optional = Annotated[T | None, tyro.conf.DisallowNone]  # shown as `--out PATH`, not as `--out {None}|PATH`
Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]  # `--force` alone, without `--no-force`
Verify = Literal["names", "headers", "pixels"]


@dataclass(frozen=True)
class Basic:
    """What every dataset's command takes."""

    # --- source and manifest
    source: Optional[Path] = None
    """Folder or archive that holds the dataset."""
    out: Optional[Path] = None
    """Folder of the manifest. Default: data_manifests/NAME."""
    check: Flag = False
    """Audit the manifest that is there already against its files; write nothing."""
    verify: Verify = "headers"
    """How closely files are looked at: listed, opened (a seeded sample of very large splits), or decoded one by one."""
    force: Flag = False
    """Write the manifest although the audit found errors, which stay on record, or replaces another source's."""

    @property
    def rules(self) -> BoxRules:
        """How the source's boxes are read."""
        return BoxRules()

    @property
    def upright_boxes(self) -> bool:
        """Whether boxes refer to EXIF-rotated images as a viewer shows them."""
        return False

    @property
    def held_out(self) -> bool:
        """Whether train-fullsup is taken out of the training images (expected counts then count both together)."""
        return False

    @property
    def subset(self) -> bool:
        """Whether only some of the dataset was asked for."""
        return False


@dataclass(frozen=True)
class Common(Basic):
    """What every command takes that reads boxes from files."""

    # --- boxes in files
    clip_boxes: Flag = False
    """Clip boxes that reach over their image's edge by a pixel or more, and say how many, instead of refusing them."""
    box_units: Units = "pixels"
    """What box coordinates count: pixels, or shares (0 to 1), percent or thousandths of the
    image's width and height."""
    box_scale: float = 1.0
    """Factor on box coordinates, for images that were resized while their boxes were not."""
    boxes_in: Literal["stored", "upright"] = "stored"
    """Where images carry an EXIF rotation: whether boxes refer to the stored pixels or to the
    image as viewers show it."""

    @property
    def rules(self) -> BoxRules:
        return BoxRules(self.box_units, self.box_scale, self.clip_boxes)

    @property
    def upright_boxes(self) -> bool:
        return self.boxes_in == "upright"


@dataclass(frozen=True)
class Detections(Common):
    """For detection datasets, whose images may show several classes."""

    # --- classes and splits
    several_classes: Policy = "skip"
    """Images that show several classes: leave them out, or label them by their largest object."""
    holdout: int = 10
    """Training images a class that become train-fullsup where the source has no split for it."""
    seed: int = 0
    """Seed of the hold-out."""


@dataclass(frozen=True)
class Unpacked(Common):
    """For datasets that come as tar archives, which are unpacked first."""

    # --- archives
    unpack_to: Optional[Path] = None
    """Folder that an archive is unpacked to. Default: data/NAME beside data_manifests/."""

    def unpack_folder(self, name: str) -> Path:
        """Where archives go."""
        return self.unpack_to or manifests_folder().parent / "data" / name

    def open(self, source: Path, name: str) -> FileRoot:
        """The source's files, after unpacking where it is a tar archive."""
        if is_tar(source) and not source.is_dir():
            with progress_bars() as progress:
                source = unpack_tar(source, self.unpack_folder(name), progress=progress)
        return open_root(source)


class Command(Protocol):
    """What a dataset's options can do."""

    @property
    def source(self) -> Path | None: ...
    @property
    def out(self) -> Path | None: ...
    @property
    def rules(self) -> BoxRules: ...
    @property
    def upright_boxes(self) -> bool: ...
    @property
    def held_out(self) -> bool: ...
    @property
    def subset(self) -> bool: ...
    @property
    def check(self) -> bool: ...
    @property
    def verify(self) -> Verify: ...
    @property
    def force(self) -> bool: ...

    def read(self, source: Path) -> Manifest:
        """Read the dataset (`source` has no meaning for an embedded one)."""
        ...


@contextlib.contextmanager
def progress_bars() -> Iterator[Progress]:
    """Progress on stderr: one bar for each thing that is reported; nothing where stderr is not a terminal."""
    with Bars(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bars:
        tasks: dict[str, Any] = {}

        def report(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=total)
            bars.update(tasks[what], completed=done)

        yield report
