"""Reading weights from a file that anybody may have written: never runs code from it, never guesses."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from wsol.errors import UserError

# Where training scripts put the weights inside their checkpoint, the better ones (averaged) not preferred
# silently.
_NESTED = ("state_dict", "model_state_dict", "model", "network", "net")
# What wrappers (DataParallel, torch.compile, Lightning) put before every name.
_WRAPPERS = ("module.", "_orig_mod.", "model.")
# A zip archive, or the pickle stream of torch before 1.6.
_TORCH_STARTS = (b"PK", b"\x80")


def read_state_dict(path: str | PathLike[str]) -> dict[str, Tensor]:
    """The tensors of a checkpoint file (.pth/.pt/... of torch.save, or .safetensors) by name, on the CPU.

    Looks inside one level of `state_dict`, `model_state_dict`, `model`, `network` or `net`, and takes off
    `module.`, `_orig_mod.` and `model.` where every name has them. Raises UserError when the file is
    missing, damaged, holds objects other than tensors and plain values (they could run code), holds no
    weights, or holds NaN or infinity.
    """
    file = Path(path)
    if file.is_dir():
        raise UserError(f"{file} is a folder; expected a checkpoint file (.pth, .pt or .safetensors)")
    if not file.is_file():
        raise UserError(f"checkpoint {file} does not exist; check the path")
    content = _read_safetensors(file) if file.suffix == ".safetensors" else _read_torch(file)
    state = _without_wrappers(_tensors(content, file))
    broken = [
        name for name, value in state.items() if value.is_floating_point() and not value.isfinite().all()
    ]
    if broken:
        raise UserError(
            f"checkpoint {file} holds NaN or infinite values in {len(broken)} tensors (first: {broken[0]}); "
            f"that training run diverged, use an earlier checkpoint"
        )
    return state


def _read_torch(file: Path) -> Any:
    with file.open("rb") as stream:
        start = stream.read(2)
    if not start.startswith(_TORCH_STARTS):
        raise _damaged(file, f"it starts with {start!r}, which no torch.save writes")
    try:
        # Only the zip format of torch >= 1.6 can be mapped; mapping reads each tensor when it is copied.
        return torch.load(file, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(file))
    except pickle.UnpicklingError as error:
        raise UserError(
            f"checkpoint {file} holds Python objects besides tensors, and loading them could run code, so it is "
            f"refused. If you trust its source, save the weights alone once: "
            f"torch.save(torch.load(OLD, weights_only=False)['state_dict'], NEW)"
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, LookupError, AttributeError, TypeError) as error:
        raise _damaged(file, first_line(error)) from error


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise UserError(f"reading {file} needs the package safetensors; pip install safetensors") from error
    try:
        return load_file(file)
    except (SafetensorError, ValueError, KeyError) as error:
        raise _damaged(file, first_line(error)) from error


def first_line(error: BaseException) -> str:
    """The first line of an error's text, at most 200 characters, or its kind where it has no text."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _damaged(file: Path, reason: str) -> UserError:
    return UserError(
        f"checkpoint {file} cannot be read ({reason}); it may be cut off or no checkpoint at all: "
        f"fetch it again"
    )


def _tensors(content: Any, file: Path) -> dict[str, Tensor]:
    """The name -> tensor part of what the file held."""
    if isinstance(content, Mapping):
        for key in _NESTED:
            if isinstance(content.get(key), Mapping):
                content = content[key]
                break
        tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
        if tensors:
            return tensors
        keys = ", ".join(str(key) for key in list(content)[:8]) or "(nothing)"
        raise UserError(
            f"checkpoint {file} holds no weights; its top level has: {keys}. Expected names and tensors, "
            f"or these under one of {', '.join(_NESTED)}"
        )
    raise UserError(
        f"checkpoint {file} holds a {type(content).__name__}, expected a dict of names and tensors"
    )


def _without_wrappers(state: dict[str, Tensor]) -> dict[str, Tensor]:
    stripped = True
    while stripped:
        stripped = False
        for prefix in _WRAPPERS:
            if all(name.startswith(prefix) for name in state):
                state = {name.removeprefix(prefix): value for name, value in state.items()}
                stripped = True
    return state
