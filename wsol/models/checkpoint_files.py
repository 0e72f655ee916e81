"""Reading a checkpoint that anybody may have written: runs no code from it, and gives only dense finite tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wsol.errors import UserError, first_line
from wsol.files.regular import open_regular
from wsol.files.torch_files import HoldsObjects, load_torch
from wsol.models.hub import fetch_weights, is_hub

# A zip archive, or the pickle stream of torch before 1.6.
_TORCH_STARTS = (b"PK", b"\x80")
_LARGEST_SET_BYTES = 64 << 30


def read_checkpoint(path: str | PathLike[str]) -> Any:
    """What a checkpoint file (.pth, .pt, .ckpt ... of torch.save, or .safetensors) holds: tensors and plain values.
    `hf-hub:OWNER/NAME` is the .safetensors of a repository of the Hugging Face hub.

    Raises UserError when the file is missing, damaged, or holds objects that could run code when they are loaded.
    """
    file = fetch_weights(Path(path).as_posix()) if is_hub(path) else Path(path)
    if file.is_dir():
        raise UserError(f"{file} is a folder; expected a checkpoint file (.pth, .pt or .safetensors)")
    if not file.is_file():
        raise UserError(f"checkpoint {file} does not exist; check the path")
    return _read_safetensors(file) if file.suffix == ".safetensors" else _read_torch(file)


def check_tensors(state: Mapping[str, Tensor], file: str) -> None:
    """Refuse tensors that cannot be a network's weights: UserError naming the first, and how many there are.

    Sparse and quantised tensors, tensors without values (`meta`), more elements than the file stores (an expanded
    view), number formats below 16 bits, NaN and infinity.
    """
    if sum(value.numel() * value.element_size() for value in state.values()) > _LARGEST_SET_BYTES:
        name = max(state, key=lambda n: state[n].numel())
        raise UserError(
            f"checkpoint {file}: {name} has shape {list(state[name].shape)}, which is larger than any network's weights"
        )
    wrong = [(name, reason) for name, value in state.items() if (reason := _unusable(value))]
    if wrong:
        name, reason = wrong[0]
        raise UserError(
            f"checkpoint {file}: {name} {reason} ({len(wrong)} such tensors); save dense float32 or float16 weights"
        )
    broken = [n for n, value in state.items() if value.is_floating_point() and not value.isfinite().all()]
    if broken:
        raise UserError(
            f"checkpoint {file} holds NaN or infinite values in {len(broken)} tensors (first: {broken[0]}); "
            f"that training run diverged, use an earlier checkpoint"
        )


def _unusable(value: Tensor) -> str | None:
    if value.layout != torch.strided:
        return f"is sparse ({value.layout})"
    if value.is_quantized:
        return "is quantised"
    if value.device.type == "meta":
        return "has no values (device meta)"
    if value.numel() > 1 and value.numel() * value.element_size() > value.untyped_storage().nbytes():
        return f"has shape {list(value.shape)}, but the file stores fewer values"
    if value.is_floating_point() and value.element_size() < 2:
        return f"has the number format {str(value.dtype).removeprefix('torch.')}"
    if value.is_complex():
        return "holds complex numbers"
    return None


def _read_torch(file: Path) -> Any:
    try:
        with open_regular(file) as stream:
            start = stream.read(2)
            if not start.startswith(_TORCH_STARTS):
                raise _damaged(file, f"it starts with {start!r}, which no torch.save writes")
            return load_torch(stream, file)
    except HoldsObjects as error:
        raise _holds_objects(file, error) from error
    except (OSError, ValueError) as error:
        raise _damaged(file, first_line(error)) from error


def _holds_objects(file: Path, error: HoldsObjects) -> UserError:
    """Names the class that stands in the way, and how whoever trusts the file saves its weights alone."""
    found = re.search(r"GLOBAL ([\w.]+)", str(error))
    what = f"an object of {found[1]}" if found else "Python objects besides tensors"
    return UserError(
        f"checkpoint {file} holds {what}, and loading it could run code, so it is refused. If you trust its source, "
        f"save the weights alone once: old = torch.load({file.name!r}, weights_only=False), then "
        f"torch.save(old.state_dict() if hasattr(old, 'state_dict') else "
        f"{{k: v.state_dict() if hasattr(v, 'state_dict') else v for k, v in old.items() "
        f"if k in ('state_dict', 'model', 'model_state_dict', 'state_dict_ema', "
        f"'model_ema')}}, 'weights.pth')"
    )


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    try:
        from safetensors.torch import load_file
    except ImportError as error:
        raise UserError(f"reading {file} needs the package safetensors; pip install safetensors") from error
    try:
        return load_file(file)
    except Exception as error:  # the package passes on what torch makes of a header
        raise _damaged(file, first_line(error)) from error


def _damaged(file: Path, reason: str) -> UserError:
    return UserError(
        f"checkpoint {file} cannot be read ({reason}); it may be cut off or no checkpoint at all: "
        f"fetch it again"
    )
