"""Photographs of a person's own: files and folders of them, as a viewer would show them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from wsol.errors import UserError
from wsol.files.regular import read_bytes
from wsol.images import decode_rgb, exif_orientation

if TYPE_CHECKING:
    import numpy.typing as npt

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True)
class Photograph:
    """A file, and the name that outputs give it: its path inside the folder that was named."""

    file: Path
    name: str

    def pixels(self) -> npt.NDArray[np.uint8]:
        """uint8 [H, W, 3], upright: EXIF's orientation is applied, since no annotation refers to the stored pixels."""
        data = read_bytes(self.file)
        return upright(decode_rgb(data, str(self.file)), exif_orientation(data, str(self.file)))


def find_photographs(places: Sequence[Path], limit: int | None = None) -> list[Photograph]:
    """The photographs of files and folders (subfolders included, sorted by name; at most `limit` of each folder).

    Raises UserError for a place that is not there, and for a folder without any.
    """
    found: list[Photograph] = []
    for place in places:
        if place.is_dir():
            files = sorted(f for f in place.rglob("*") if f.suffix.lower() in SUFFIXES and f.is_file())
            if not files:
                raise UserError(
                    f"folder '{place}' holds no photograph; expected files that end in {', '.join(SUFFIXES)}"
                )
            found += [Photograph(f, f.relative_to(place).as_posix()) for f in files[:limit]]
        elif place.is_file():
            found.append(Photograph(place, place.name))
        else:
            raise UserError(f"'{place}' does not exist; name a photograph or a folder of them")
    return found


def example_photograph() -> Photograph:
    """The cat that scikit-image ships; UserError where it is not there."""
    spec = find_spec("skimage")  # without importing it: only its folder is wanted
    folder = Path(spec.origin).parent if spec and spec.origin else None
    file = folder / "data" / "chelsea.png" if folder else None
    if file is None or not file.is_file():
        raise UserError("scikit-image's photograph chelsea.png is not here; name a photograph of your own")
    return Photograph(file, file.name)


_TURNS = {2: (0, True), 3: (2, False), 4: (2, True), 5: (3, True), 6: (3, False), 7: (1, True), 8: (1, False)}


def upright(stored: npt.NDArray[np.uint8], orientation: int) -> npt.NDArray[np.uint8]:
    """The picture [H, W, 3] as a viewer shows it, from its stored pixels and EXIF orientation (1 to 8)."""
    quarter_turns, mirrored = _TURNS.get(orientation, (0, False))
    turned = np.rot90(stored, quarter_turns)
    return np.ascontiguousarray(turned[:, ::-1] if mirrored else turned)
