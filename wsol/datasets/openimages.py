"""OpenImages30k (Choe et al., CVPR 2020): images and masks beside each other, listed by the reference metadata.

    <images>/{train,val,test}/<class>/<id>.jpg
    <images>/{val,test}/<class>/<id>_m<class>_<hash>.png       one mask an instance
    <images>/{val,test}/<class>/<id>_ignore.png                pixels left out of the score
    <metadata>/{train,val,test}/*.txt                          the reference layout

Image sizes are not in the metadata; the audit reads them. Only an image's first mask line names an ignore
mask, the others leave that column blank; an image without any ignore mask is fine. `openimages_csv` reads
OpenImages' own files of boxes.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from wsol.datasets.options import Basic, Optional
from wsol.datasets.wsol_metadata import read_wsol_metadata
from wsol.errors import UserError
from wsol.files.roots import FileRoot, open_root
from wsol.manifest import Manifest


def read_openimages(images: FileRoot, metadata: FileRoot | None = None) -> Manifest:
    """Read OpenImages30k; `metadata` defaults to a folder `metadata` below the images, or the images' own folder."""
    if metadata is None:
        inside = images.subfolder("metadata")
        metadata = inside if next(inside.names(), None) is not None else images
    plain = any(metadata.exists(f"{s}/image_ids.txt") for s in ("train", "val", "test"))
    read = read_wsol_metadata(
        metadata, dataset_folder=None if plain else "OpenImages", images=images.location
    )
    for role in ("train-fullsup", "test"):
        split = read.splits.get(role)
        if split is not None and not split.masks and len(split):
            raise UserError(
                f"'{metadata.location}': {role} lists no masks; this is not OpenImages30k's metadata"
            )
    return dataclasses.replace(read, dataset="openimages30k", root=images.location)


@dataclass(frozen=True)
class OpenImages(Basic):
    """OpenImages30k: images and masks beside each other, listed by the reference metadata."""

    # --- this layout
    metadata: Optional[Path] = None
    """Reference metadata (folder or zip). Default: SOURCE/metadata, or SOURCE itself."""

    def read(self, source: Path) -> Manifest:
        return read_openimages(open_root(source), open_root(self.metadata) if self.metadata else None)
