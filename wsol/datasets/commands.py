"""The options of `python -m wsol.prepare NAME`, one class a NAME, and how each reads its dataset."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol, TypeVar

import tyro
import tyro.conf
from rich.console import Console
from rich.progress import Progress as Bars

from wsol.datasets.catalog import make_parts, manifests_folder
from wsol.datasets.coco import read_coco
from wsol.datasets.cub import Cubv2, read_cub
from wsol.datasets.folder import read_folder
from wsol.datasets.imagenet import read_imagenet, unpack_known
from wsol.datasets.openimages import read_openimages
from wsol.datasets.parts_config import PartsConfig
from wsol.datasets.tiny_imagenet import read_tiny_imagenet
from wsol.datasets.voc import read_voc
from wsol.datasets.wsol_metadata import read_wsol_metadata
from wsol.errors import UserError
from wsol.files.archives import is_tar, unpack_tar
from wsol.images import open_root
from wsol.manifest import Corners, Manifest

if TYPE_CHECKING:
    from wsol.datasets.inspect_files import Progress
    from wsol.images import FileRoot

T = TypeVar("T")
Optional = Annotated[T | None, tyro.conf.DisallowNone]  # shown as `--out PATH`, not as `--out {None}|PATH`

Flag = Annotated[bool, tyro.conf.FlagCreatePairsOff]  # `--force` alone, without `--no-force`


@dataclass(frozen=True)
class Common:
    """What every dataset's command takes."""

    source: Optional[Path] = None
    """Folder or archive that holds the dataset."""
    out: Optional[Path] = None
    """Folder of the manifest. Default: data_manifests/NAME."""
    check: Flag = False
    """Audit the manifest that is there already against its files; write nothing."""
    verify: Literal["names", "headers", "pixels"] = "headers"
    """How closely files are looked at: listed, opened (a seeded sample of very large splits), or decoded one
    by one."""
    clip_boxes: Flag = False
    """Clip boxes that reach over their image's edge, and say how many, instead of refusing them."""
    force: Flag = False
    """Write the manifest although the audit found errors; they stay on record in it."""

    @property
    def held_out(self) -> bool:
        """Whether train-fullsup is taken out of the training images (expected counts then count both
        together)."""
        return False

    @property
    def subset(self) -> bool:
        """Whether only some of the dataset was asked for."""
        return False


@dataclass(frozen=True)
class Unpacked(Common):
    """For datasets that come as tar archives, which are unpacked first."""

    unpack_to: Optional[Path] = None
    """Folder that a tar archive is unpacked to. Default: data/NAME beside data_manifests/."""

    def unpack_folder(self, name: str) -> Path:
        """Where archives go."""
        return self.unpack_to or manifests_folder().parent / "data" / name

    def open(self, source: Path, name: str) -> FileRoot:
        """The source's files, after unpacking where it is a tar archive."""
        if is_tar(source) and not source.is_dir():
            with progress_bars() as progress:
                source = unpack_tar(source, self.unpack_folder(name), progress=progress)
        return open_root(source)


@dataclass(frozen=True)
class Reading:
    """A manifest and further JSON files that belong beside it, by name."""

    manifest: Manifest
    beside: Mapping[str, Any]


class Command(Protocol):
    """What a dataset's options can do."""

    @property
    def source(self) -> Path | None: ...
    @property
    def out(self) -> Path | None: ...
    @property
    def held_out(self) -> bool: ...
    @property
    def subset(self) -> bool: ...
    @property
    def check(self) -> bool: ...
    @property
    def verify(self) -> Literal["names", "headers", "pixels"]: ...
    @property
    def clip_boxes(self) -> bool: ...
    @property
    def force(self) -> bool: ...

    def read(self, source: Path) -> Manifest | Reading:
        """Read the dataset (`source` has no meaning for an embedded one)."""
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

    @property
    def held_out(self) -> bool:
        return True

    @property
    def subset(self) -> bool:
        return self.classes is not None

    def read(self, source: Path) -> Manifest:
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
        return read_wsol_metadata(
            open_root(source),
            dataset_folder=self.dataset_folder,
            images=open_root(self.images).location if self.images else None,
            num_classes=self.num_classes,
        )


@dataclass(frozen=True)
class Cub(Unpacked):
    """CUB-200-2011: the .tgz or its folder; with CUBV2 as train-fullsup where you have it."""

    cubv2: Optional[Path] = None
    """Folder of CUBV2's images. Without it a hold-out of training images becomes train-fullsup."""
    metadata: Optional[Path] = None
    """Reference metadata (folder or zip) that holds CUBV2's boxes; needed with --cubv2."""
    holdout: int = 5
    """Training images a class that become train-fullsup where there is no CUBV2."""
    seed: int = 0
    """Seed of the hold-out."""

    @property
    def held_out(self) -> bool:
        return self.cubv2 is None

    def read(self, source: Path) -> Manifest:
        cubv2 = None
        if self.cubv2 is not None:
            if self.metadata is None:
                raise UserError(
                    "--cubv2 needs --metadata: CUBV2's labels and boxes are in the reference metadata"
                )
            cubv2 = Cubv2(open_root(self.cubv2), open_root(self.metadata))
        root = self.open(source, "cub200")
        return read_cub(root, cubv2=cubv2, holdout_per_class=self.holdout, seed=self.seed)


@dataclass(frozen=True)
class ImageNet(Unpacked):
    """ImageNet (ILSVRC 2012): official tars or folders, boxes from XML or Kaggle's CSV, ImageNetV2 as
    train-fullsup."""

    v2_metadata: Optional[Path] = None
    """Reference metadata (folder or zip) with ImageNetV2's boxes; its images lie in SOURCE/val2."""
    holdout: int = 10
    """Boxed training images a class that become train-fullsup where there is no ImageNetV2."""
    seed: int = 0
    """Seed of the hold-out."""

    @property
    def held_out(self) -> bool:
        return self.v2_metadata is None

    def read(self, source: Path) -> Manifest:
        with progress_bars() as progress:
            folder = unpack_known(source, self.unpack_folder("imagenet"), progress)
        return read_imagenet(
            open_root(folder),
            v2_metadata=open_root(self.v2_metadata) if self.v2_metadata else None,
            holdout_per_class=self.holdout,
            seed=self.seed,
            clip=self.clip_boxes,
        )


@dataclass(frozen=True)
class OpenImages(Common):
    """OpenImages30k: images and masks beside each other, listed by the reference metadata."""

    metadata: Optional[Path] = None
    """Reference metadata (folder or zip). Default: SOURCE/metadata, or SOURCE itself."""

    def read(self, source: Path) -> Manifest:
        return read_openimages(open_root(source), open_root(self.metadata) if self.metadata else None)


@dataclass(frozen=True)
class Voc(Unpacked):
    """Pascal VOC: the tar or its folder."""

    several_classes: Literal["skip", "largest"] = "skip"
    """Images that show several classes: leave them out, or label them by their largest object."""
    zero_based: Flag = False
    """These XML files count pixels from 0 (VOC's own count from 1)."""
    holdout: int = 10
    """Training images a class that become train-fullsup where there is no annotated test list."""
    seed: int = 0
    """Seed of the hold-out."""

    def read(self, source: Path) -> Manifest:
        return read_voc(
            self.open(source, "voc"),
            several_classes=self.several_classes,
            counts_from_zero=self.zero_based,
            holdout_per_class=self.holdout,
            seed=self.seed,
            clip=self.clip_boxes,
        )


@dataclass(frozen=True)
class Coco(Common):
    """COCO instances JSON: boxes, and on request masks from polygons and run lengths."""

    train: str = "annotations/instances_train2017.json=train2017"
    """JSON of the training images and their folder, under SOURCE: JSON=FOLDER. Empty for none."""
    val: str = ""
    """The same for train-fullsup. Empty: a hold-out of training images."""
    test: str = "annotations/instances_val2017.json=val2017"
    """The same for the test images."""
    masks: Flag = False
    """Also decode the segmentations, to PNG files in data/<folder of the manifest>-masks/."""
    several_classes: Literal["skip", "largest"] = "skip"
    """Images that show several classes: leave them out, or label them by their largest object."""
    holdout: int = 10
    """Training images a class that become train-fullsup where there is no --val."""
    seed: int = 0
    """Seed of the hold-out."""

    def read(self, source: Path) -> Reading:
        out = self.out or manifests_folder() / "coco"
        manifest, beside = read_coco(
            open_root(source),
            {"train": self.train, "val": self.val, "test": self.test},
            masks_into=manifests_folder().parent / "data" / f"{out.name}-masks" if self.masks else None,
            several_classes=self.several_classes,
            holdout_per_class=self.holdout,
            seed=self.seed,
            clip=self.clip_boxes,
        )
        return Reading(manifest, {"coco.json": beside})


@dataclass(frozen=True)
class Folder(Common):
    """Your own images: class-named folders and a CSV of boxes."""

    boxes: Optional[Path] = None
    """CSV of boxes, with a header. Default: SOURCE/boxes.csv."""
    corners: Corners = "half-open"
    """Whether x1, y1 is one past the last pixel (half-open) or the last pixel itself (inclusive)."""
    masks: Optional[str] = None
    """Folder under SOURCE with a .png mask for each image that has one, in the images' own folders."""
    holdout: int = 5
    """Boxed training images a class that become train-fullsup where train is given but val is not."""
    seed: int = 0
    """Seed of the splits."""

    def read(self, source: Path) -> Manifest:
        root = open_root(source)
        if self.boxes is None:
            text, where = root.read_bytes("boxes.csv"), f"{root.location}/boxes.csv"
        else:
            if not self.boxes.is_file():
                raise UserError(f"--boxes '{self.boxes}' does not exist")
            text, where = self.boxes.read_bytes(), str(self.boxes)
        return read_folder(
            root,
            text,
            where,
            corners=self.corners,
            masks=self.masks,
            holdout_per_class=self.holdout,
            seed=self.seed,
            clip=self.clip_boxes,
            name=self.out.name if self.out else "folder",
        )


@dataclass(frozen=True)
class Parts(Common):
    """The embedded dataset, composed from a seed in seconds; needs no --source."""

    config: Annotated[PartsConfig, tyro.conf.arg(name="")] = field(default_factory=PartsConfig)
    """Knobs of the composition."""

    def read(self, source: Path) -> Manifest:
        with progress_bars() as progress:
            return make_parts(self.config, lambda done, total: progress("composing", done, total))


COMMANDS: dict[str, Callable[..., Command]] = {
    "parts": Parts,
    "tiny-imagenet": TinyImageNet,
    "cub200": Cub,
    "imagenet": ImageNet,
    "openimages30k": OpenImages,
    "voc": Voc,
    "coco": Coco,
    "folder": Folder,
    "wsol-metadata": WsolMetadata,
}
"""NAME -> its options."""


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
