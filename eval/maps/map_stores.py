"""Where people keep score maps: a folder of .npy, .png or .pt files, or one .npz, .h5, .pt or COCO .json of many."""

from __future__ import annotations

import io
import tokenize
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from eval.maps.coco_masks import drawn_masks, read_coco_masks
from wsol.errors import UserError
from wsol.files.arrays import DAMAGE, NpzArrays, read_array, require_size
from wsol.files.regular import file_stamp, open_regular, read_bytes
from wsol.files.roots import open_root
from wsol.files.torch_files import HoldsObjects, is_tensor, load_torch
from wsol.images import decode_levels, image_size_wh

if TYPE_CHECKING:
    import numpy.typing as npt
    from torch import Tensor

_DAMAGE = (*DAMAGE, tokenize.TokenError, UserError)
"""What the libraries raise on damaged maps; numpy reads a header with Python's own tokenizer."""


Array = TypeVar("Array")


class UnreadableMapError(Exception):
    """One map cannot be read; its text says why."""


@dataclass(frozen=True)
class MapStore:
    """Maps by name.

    `read` gives an array as it is kept, None where there is none, and raises `UnreadableMapError`; `names` gives all
    names; `stamp` something that changes when a map does, None where there is no such map.
    """

    read: Callable[[str], npt.NDArray[Any] | None]
    names: Callable[[], Iterator[str]]
    stamp: Callable[[str], object]


def open_store(location: Path) -> MapStore:
    """The maps at a path; `UserError` where there is none of the kinds above."""
    if location.is_dir():
        return _folder(location)
    if not location.is_file():
        raise UserError(
            f"no score maps at '{location}': expected a folder of .npy, .png or .pt files, an .npz, .h5 or .pt "
            "file, or COCO results with masks (.json)"
        )
    if location.suffix == ".npz":
        return _npz(location)
    if location.suffix in (".h5", ".hdf5"):
        return _h5(location)
    if location.suffix in (".pt", ".pth"):
        return _tensors(location)
    if location.suffix == ".json":
        return _coco(location)
    raise UserError(
        f"'{location}': unknown kind of score map store; expected a folder, .npz, .h5, .hdf5, .pt or .json"
    )


def _npy(data: bytes) -> npt.NDArray[Any]:
    return read_array(io.BytesIO(data))


def _png(data: bytes) -> npt.NDArray[Any]:
    """A grey picture; one with three equal channels counts as grey."""
    width, height = image_size_wh(data, "map")
    require_size((height, width, 4), 2)
    return decode_levels(data, "map")


def _pt(data: bytes) -> npt.NDArray[Any]:
    found = load_torch(io.BytesIO(data))
    if not is_tensor(found):
        raise ValueError(f"holds a {type(found).__name__}, expected one tensor")
    return _array(found)


def _array(tensor: Tensor) -> npt.NDArray[Any]:
    require_size(
        tuple(tensor.shape), max(4, tensor.element_size())
    )  # an expanded tensor announces more than it holds
    return np.asarray((tensor.detach().float() if tensor.is_floating_point() else tensor.detach()).numpy())


_DECODERS: dict[str, Callable[[bytes], npt.NDArray[Any]]] = {".npy": _npy, ".png": _png, ".pt": _pt}


def _reading(read: Callable[[], Array]) -> Array:
    """What `read` gives; `UnreadableMapError` in plain words for whatever it raises."""
    try:
        return read()
    except _DAMAGE as error:
        text = " ".join(str(error).split()) or type(error).__name__
        if isinstance(error, HoldsObjects) or text.startswith("holds object"):
            text = "holds pickled Python objects, which are not read; save the map itself, as an array"
        raise UnreadableMapError(text[:200]) from error


def _folder(location: Path) -> MapStore:
    root = open_root(location)  # links are followed, as in a dataset

    def file_of(name: str) -> str | None:
        return next((f"{name}{end}" for end in _DECODERS if root.exists(f"{name}{end}")), None)

    def read(name: str) -> npt.NDArray[Any] | None:
        file = file_of(name)
        if file is None:
            return None
        return _reading(lambda: _DECODERS[file[file.rindex(".") :]](root.read_bytes(file)))

    def names() -> Iterator[str]:
        found = (Path(path) for path in root.names())
        return iter(dict.fromkeys(p.with_suffix("").as_posix() for p in found if p.suffix in _DECODERS))

    def stamp(name: str) -> object:
        file = file_of(name)
        return None if file is None else (file, root.stamp(file))

    return MapStore(read, names, stamp)


def _npz(path: Path) -> MapStore:
    try:
        archive = NpzArrays(path)
    except _DAMAGE as error:
        raise UserError(f"'{path}' cannot be read as an .npz: {error}") from error
    members = {name.removesuffix(".npy"): name for name in archive}
    state = file_stamp(path)
    return MapStore(
        lambda name: _reading(lambda: archive[members[name]]) if name in members else None,
        lambda: iter(members),
        lambda name: state,
    )


def _h5(path: Path) -> MapStore:
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
        try:
            file.visititems(lambda name, node: found.append(name) if isinstance(node, h5py.Dataset) else None)
        except _DAMAGE as error:
            raise UserError(f"'{path}' is damaged: its names cannot be listed ({error})") from error
        return iter(found)

    state = file_stamp(path)
    return MapStore(lambda name: _reading(lambda: read(name)), names, lambda name: state)


def _coco(path: Path) -> MapStore:
    masks, state = read_coco_masks(path), file_stamp(path)
    return MapStore(
        lambda name: _reading(lambda: drawn_masks(masks[name])) if name in masks else None,
        lambda: iter(masks),
        lambda name: state,
    )


def _tensors(path: Path) -> MapStore:
    try:
        found = load_torch(io.BytesIO(read_bytes(path)))
    except ValueError as error:
        raise UserError(
            f"'{path}' cannot be read as tensors: {' '.join(str(error).split())[:200]}"
        ) from error
    if not isinstance(found, dict) or not all(map(is_tensor, found.values())):
        raise UserError(f"'{path}' holds a {type(found).__name__}, expected a dict of one tensor by image id")
    state = file_stamp(path)
    return MapStore(
        lambda name: _reading(lambda: _array(found[name])) if name in found else None,
        lambda: iter(map(str, found)),
        lambda name: state,
    )
