"""Files of torch.save: tensors and plain values, by torch's loader that runs nothing from the file.

Torch is imported with the first such file: `eval.compare` can read them, seldom has any, and saves 0.5 GB without it.
"""

from __future__ import annotations

import argparse
import collections
import datetime
import importlib
import pathlib
import pickle
import warnings
import zipfile
from typing import IO, Any

import numpy as np

_MULTIARRAY: Any = importlib.import_module(
    "numpy._core.multiarray" if np.lib.NumpyVersion(np.__version__) >= "2.0.0" else "numpy.core.multiarray"
)
# What scripts put beside the weights and torch does not read by itself. None of it holds code.
_HARMLESS: list[Any] = [
    *(
        argparse.Namespace,
        collections.defaultdict,
        list,
        dict,
        datetime.datetime,
        datetime.date,
        datetime.timedelta,
    ),
    *(  # Python 3.13 spells them with _local
        (kind, f"{module}.{name}")
        for module in ("pathlib", "pathlib._local")
        for kind, name in ((pathlib.PurePosixPath, "PosixPath"), (pathlib.PureWindowsPath, "WindowsPath"))
    ),
    *(np.dtype, np.ndarray),
    *(
        type(np.dtype(kind))
        for kind in ("?", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8", "U", "S")
    ),
    *(  # as numpy 2 and numpy 1 spell them
        (function, f"{package}.multiarray.{name}")
        for package in ("numpy._core", "numpy.core")
        for name, function in (("scalar", _MULTIARRAY.scalar), ("_reconstruct", _MULTIARRAY._reconstruct))
    ),
]


class HoldsObjects(ValueError):
    """The file holds objects that could run code when they are loaded."""


def load_torch(stream: IO[bytes], path: pathlib.Path | None = None) -> Any:
    """What torch.save wrote to a stream, on the CPU; with `path`, the stream's file, large tensors are mapped.

    Raises HoldsObjects (its text is torch's, which names the class), or ValueError for anything else that is no file of
    torch.save: a damaged one, or an archive whose members announce more than the file holds.
    """
    import torch

    try:
        if zipped := zipfile.is_zipfile(stream):
            _require_stored(stream)
        stream.seek(0)
        with torch.serialization.safe_globals(_HARMLESS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a pickle protocol other than torch's own is no matter
            # Only the zip format of torch >= 1.6 can be mapped; mapping reads each tensor when it is copied.
            if zipped and path is not None:
                return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
            return torch.load(stream, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise HoldsObjects(str(error)) from error
    except Exception as error:  # what lies in a pickle makes the loader raise nearly anything
        raise ValueError((str(error).strip().splitlines() or [type(error).__name__])[0][:200]) from error


def is_tensor(value: object) -> bool:
    """Whether a value that `load_torch` gave is a tensor."""
    import torch

    return isinstance(value, torch.Tensor)


def _require_stored(stream: IO[bytes]) -> None:
    """Refuse an archive that would unpack to more than its size; torch.save stores, and never compresses."""
    size = stream.seek(0, 2)
    with zipfile.ZipFile(stream) as archive:
        announced = sum(info.file_size for info in archive.infolist())
    if announced > size:
        raise ValueError(f"its members announce {announced} bytes, the file holds {size}")
