"""Tensors and plain values in one file that proves it is whole: safetensors, with a checksum over everything.

The checksum lies in the file's own header, so the file can be moved and still be checked. Reading never
runs code from the file: safetensors holds numbers and text only, and a pickle is recognised by its first
bytes and refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from wsol.errors import UserError
from wsol.files.atomic_write import write_durably
from wsol.files.regular import open_regular
from wsol.files.strict_json import load_json

_VALUES = "values"
_CHECKSUM = "sha256"
# What torch.save and pickle.dump begin with: a zip archive, or the pickle protocol mark.
_PICKLE_STARTS = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")


class DamagedFileError(UserError):
    """The file is cut, changed, or not of this kind; the message says which file and how it shows."""


def save_tensors(path: str | Path, tensors: Mapping[str, torch.Tensor], values: Mapping[str, Any]) -> None:
    """Write tensors and JSON values to one file, in one step (`wsol.files.atomic_write`)."""
    plain = {}
    seen = set()
    for name, tensor in tensors.items():
        copy = tensor.detach().to("cpu").contiguous()
        if (place := copy.untyped_storage().data_ptr()) in seen:  # safetensors takes no shared memory
            copy = copy.clone()
        seen.add(place)
        plain[name] = copy
    text = json.dumps(dict(values), sort_keys=True, allow_nan=False)
    data = save(plain, metadata={_VALUES: text, _CHECKSUM: tensors_sha256(plain, text)})
    write_durably(path, data)


def load_tensors(path: str | Path) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read a file that `save_tensors` wrote: tensors on the CPU, and the values.

    `DamagedFileError` when the file is cut short, differs from what was written by as much as a bit, or is a
    pickle. A missing file is a `UserError`.
    """
    path = Path(path)
    try:
        open_regular(path).close()
        with safe_open(path, framework="pt", device="cpu") as file:
            head = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (not a dict)
    except FileNotFoundError as error:
        raise UserError(f"'{path}' does not exist") from error
    except SafetensorError as error:
        with path.open("rb") as stream:
            if stream.read(4).startswith(_PICKLE_STARTS):
                raise DamagedFileError(
                    f"'{path}' holds a pickle, which may run any code when loaded; refused unread"
                ) from error
        raise DamagedFileError(f"'{path}' is cut short or damaged ({error})") from error
    if _VALUES not in head or _CHECKSUM not in head:
        raise DamagedFileError(f"'{path}' carries no checksum; it was not written by this project")
    if tensors_sha256(tensors, head[_VALUES]) != head[_CHECKSUM]:
        raise DamagedFileError(f"'{path}' was changed after it was written (its checksum differs)")
    return tensors, load_json(head[_VALUES], str(path))


def tensors_sha256(tensors: Mapping[str, torch.Tensor], text: str = "") -> str:
    """SHA-256 over a text and every tensor's name, type, shape and bytes, wherever the tensors are."""
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"\0{name}\0{tensor.dtype}\0{tuple(tensor.shape)}\0".encode())
        if tensor.numel():
            digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
