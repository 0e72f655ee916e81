"""The layouts that `python -m wsol.prepare NAME` reads, by NAME."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro.conf

from wsol.datasets.catalog import make_parts
from wsol.datasets.coco import Coco
from wsol.datasets.cub import Cub, NaBirds
from wsol.datasets.folder import Folder
from wsol.datasets.imagenet import ImageNet
from wsol.datasets.openimages import OpenImages
from wsol.datasets.openimages_csv import OpenImagesCsv
from wsol.datasets.options import Basic, Command, progress_bars
from wsol.datasets.parquet import Parquet
from wsol.datasets.parts_config import PartsConfig
from wsol.datasets.tiny_imagenet import TinyImageNet
from wsol.datasets.voc import Voc
from wsol.datasets.wsol_metadata import WsolMetadata
from wsol.datasets.yolo import Yolo
from wsol.manifest import Manifest


@dataclass(frozen=True)
class Parts(Basic):
    """The embedded dataset, composed from a seed in seconds; needs no --source."""

    # --- this layout
    config: Annotated[PartsConfig, tyro.conf.arg(name="")] = field(default_factory=PartsConfig)
    """Knobs of the composition."""

    def read(self, source: Path) -> Manifest:
        with progress_bars() as progress:
            return make_parts(self.config, lambda done, total: progress("composing", done, total))


COMMANDS: dict[str, Callable[..., Command]] = {
    "parts": Parts,
    "tiny-imagenet": TinyImageNet,
    "cub200": Cub,
    "nabirds": NaBirds,
    "imagenet": ImageNet,
    "openimages30k": OpenImages,
    "openimages-csv": OpenImagesCsv,
    "voc": Voc,
    "coco": Coco,
    "yolo": Yolo,
    "parquet": Parquet,
    "folder": Folder,
    "wsol-metadata": WsolMetadata,
}
"""NAME -> its options."""
