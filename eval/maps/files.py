"""Other people's score maps: `<root>/<image_id>.npy` and its variants, one .npz, or one .h5, already in [0, 1].

Both file namings in the wild are found (`val2/0/0.npy` and `val2/0/0.jpeg.npy` for `val2/0/0.jpeg`); float16, 32 and
64 are read; a map of another size than the frame is resized to it and counted. A map that is missing, unreadable,
holds NaN or leaves [0, 1] is scored as all zeros and counted: the denominator never shrinks.
"""

from __future__ import annotations

import hashlib
import os
import tokenize
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from eval.maps.batch import RawBatch, unpredicted
from eval.maps.normalization import NORMALIZATIONS, MapStatus
from eval.records.store import BLOCK
from wsol.errors import UserError
from wsol.files.arrays import DAMAGE, NpzArrays, read_array, require_size
from wsol.files.regular import open_regular

if TYPE_CHECKING:
    import numpy.typing as npt

    from wsol.cams.cell_centers import CellCenters
    from wsol.manifest import Split

SizePolicy = Literal["resize", "refuse"]
Values = Literal["normalized", "raw"]
_DAMAGE = (*DAMAGE, tokenize.TokenError)  # numpy reads a header with Python's own tokenizer


def spellings(image_id: str) -> tuple[str, ...]:
    """Names under which an image's map may be stored, most specific first, without `.npy`."""
    stem = str(PurePosixPath(image_id).with_suffix("")) if PurePosixPath(image_id).suffix else image_id
    return (image_id, stem) if stem != image_id else (image_id,)


class ScoreMapFiles:
    """Maps of the whole image ("resize" frame) from a folder, an .npz or an .h5 file."""

    frames = ("resize",)
    input_size: int | None = None
    cells: CellCenters | None = None

    def __init__(
        self,
        location: str | os.PathLike[str],
        split: Split,
        *,
        values: Values = "normalized",
        size_policy: SizePolicy = "resize",
        frame_size: int = 224,
    ) -> None:
        self.location = Path(location)
        self.split = split
        self.values = values
        self.size_policy = size_policy
        self.frame_size = frame_size
        self._store = _open_store(self.location)
        self._state: str | None = None
        short = Counter(spellings(image_id)[-1] for image_id in split.image_ids)
        self._shared = {name for name, images in short.items() if images > 1}

    def _names_of(self, image_id: str) -> tuple[str, ...]:
        """Names under which this image's map may be stored: not one that another image could claim as well."""
        own, *others = spellings(image_id)
        return (own, *(name for name in others if name not in self._shared))

    def describe(self) -> dict[str, Any]:
        if self._state is None:
            self._state = self._digest()
        return {
            "kind": "files",
            "location": str(self.location),
            "state": self._state,
            "values": self.values,
            "size_policy": self.size_policy,
            "frames": ["resize"],
        }

    def _digest(self) -> str:
        """SHA-256 over the sizes and times of the images' maps: changed, new or removed ones give another."""
        digest = hashlib.sha256()
        for image_id in self.split.image_ids:
            stamps = (self._store.stamp(name) for name in self._names_of(image_id))
            digest.update(repr(next((s for s in stamps if s is not None), None)).encode())
        return digest.hexdigest()

    def unusable(self, normalization: str, frame: str) -> str | None:
        if frame != "resize":
            return f"score maps from files show the whole image, and this protocol needs the '{frame}' frame"
        if self.values == "normalized" and not NORMALIZATIONS[normalization].affine_invariant:
            return (
                f"'{normalization}' normalisation needs raw maps, and these are taken as already normalised to [0, 1] "
                "(say --map-values raw if they are not)"
            )
        return None

    def missing_and_surplus(self) -> tuple[list[str], list[str]]:
        """Image ids without a map, and map names that belong to no image of the split."""
        names = set(self._store.names())
        missing: list[str] = []
        used: set[str] = set()
        for image_id in self.split.image_ids:
            name = next((s for s in self._names_of(image_id) if s in names), None)
            if name is None:
                missing.append(image_id)
            else:
                used.add(name)
        return missing, sorted(names - used)

    def batches(self, rows: npt.NDArray[np.int64], batch_size: int = 64) -> Iterator[RawBatch]:
        if BLOCK % batch_size:
            raise ValueError(f"batch_size must divide {BLOCK}")
        for start in range(0, len(rows), batch_size):
            some = rows[start : start + batch_size]
            maps: list[npt.NDArray[np.floating] | None] = []
            status = np.zeros(len(some), np.uint8)
            for i, row in enumerate(some):
                m, found = self._map(self.split.image_ids[int(row)])
                maps.append(m)
                status[i] = int(found)
            yield RawBatch(some, {"resize": maps}, status, *unpredicted(len(some)))

    def _map(self, image_id: str) -> tuple[npt.NDArray[np.floating] | None, MapStatus]:
        m: npt.NDArray[Any] | None = None
        for name in self._names_of(image_id):
            try:
                m = self._store.read(name)
            except _DAMAGE:
                return None, MapStatus.UNREADABLE
            if m is not None:
                break
        if m is None:
            return None, MapStatus.MISSING
        if m.ndim == 3 and 1 in (m.shape[0], m.shape[-1]):
            m = m.squeeze(0 if m.shape[0] == 1 else -1)
        if m.ndim != 2 or m.dtype.kind not in "fiu" or m.size == 0:
            return None, MapStatus.UNREADABLE
        if m.dtype == np.uint8 and self.values == "normalized":
            m = m / 255.0
        if not np.isfinite(m).all():
            return None, MapStatus.NAN
        if self.values == "normalized" and not (m.min() >= 0 and m.max() <= 1):
            return None, MapStatus.OUT_OF_RANGE
        if m.shape != (self.frame_size, self.frame_size):
            if self.size_policy == "refuse":
                raise UserError(
                    f"{self.location}: the map of '{image_id}' has size {m.shape[1]}x{m.shape[0]}, expected "
                    f"{self.frame_size}x{self.frame_size}; --map-size resize would resize it"
                )
            return m, MapStatus.RESIZED
        return m, MapStatus.OK


Stamp = tuple[str, int, int]


@dataclass(frozen=True)
class _Store:
    """A folder, .npz or .h5 file of maps by name.

    `read` gives a map, None where there is none; `names` all names; `stamp` what changes when a map does (file, size,
    time), None where there is no such file.
    """

    read: Callable[[str], npt.NDArray[Any] | None]
    names: Callable[[], Iterator[str]]
    stamp: Callable[[str], Stamp | None]


def _stamp(path: Path) -> Stamp | None:
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return path.name, found.st_size, found.st_mtime_ns


def _open_store(location: Path) -> _Store:
    if location.is_dir():
        return _folder_store(location)
    if not location.is_file():
        raise UserError(
            f"no score maps at '{location}': expected a folder of .npy files, an .npz, or an .h5 file"
        )
    if location.suffix == ".npz":
        return _npz_store(location)
    if location.suffix in (".h5", ".hdf5"):
        return _h5_store(location)
    raise UserError(f"'{location}': unknown kind of score map store; expected a folder, .npz, .h5 or .hdf5")


def _folder_store(root: Path) -> _Store:
    top = root.resolve()

    def read(name: str) -> npt.NDArray[Any] | None:
        path = root / f"{name}.npy"
        if not path.is_file():
            return None
        if top not in path.resolve().parents:
            raise UserError(
                f"the map of '{name}' lies outside '{root}'; links out of the folder are not followed"
            )
        with open_regular(path) as stream:
            return read_array(stream)

    def names() -> Iterator[str]:
        for folder, _, files in os.walk(root):
            relative = Path(folder).relative_to(root)
            for file in files:
                if file.endswith(".npy"):
                    yield (relative / file[: -len(".npy")]).as_posix()

    return _Store(read, names, lambda name: _stamp(root / f"{name}.npy"))


def _npz_store(path: Path) -> _Store:
    try:
        archive = NpzArrays(path)
    except _DAMAGE as error:
        raise UserError(f"'{path}' cannot be read as an .npz: {error}") from error
    members = {name.removesuffix(".npy"): name for name in archive}
    state = _stamp(path)
    return _Store(
        lambda name: archive[members[name]] if name in members else None,
        lambda: iter(members),
        lambda name: state,
    )


def _h5_store(path: Path) -> _Store:
    try:
        import h5py
    except ImportError as error:
        raise UserError(f"reading '{path}' needs h5py: install the extra `stores`") from error
    try:
        open_regular(path).close()
        file = h5py.File(path, "r")
    except OSError as error:
        raise UserError(f"'{path}' cannot be read as HDF5: {error}") from error

    def read(name: str) -> npt.NDArray[Any] | None:
        group, parts = file, name.split("/")
        for i, part in enumerate(parts):
            # looked at before it is followed: a soft or external link may lead anywhere
            if part not in group or not isinstance(group.get(part, getlink=True), h5py.HardLink):
                return None
            node = group[part]
            if i == len(parts) - 1:
                break
            if not isinstance(node, h5py.Group):
                return None
            group = node
        if not isinstance(node, h5py.Dataset):
            return None
        if node.is_virtual or node.external:
            raise ValueError("its values lie in other files")
        require_size(node.shape or (), node.dtype.itemsize)
        if node.dtype.kind not in "biuf":
            raise ValueError(f"holds {node.dtype}, not numbers")
        require_size(node.chunks or (), node.dtype.itemsize)  # a chunk is decompressed whole
        return np.asarray(node[()])

    def names() -> Iterator[str]:
        found: list[str] = []
        file.visititems(lambda name, node: found.append(name) if isinstance(node, h5py.Dataset) else None)
        return iter(found)

    state = _stamp(path)
    return _Store(read, names, lambda name: state)
