"""The state of this process's global random generators, as tensors."""

from __future__ import annotations

import random
from collections.abc import Mapping

import numpy as np
import torch


def random_state() -> dict[str, torch.Tensor]:
    """The state of every global random generator of this process: torch's, CUDA's, numpy's, Python's.

    Our own draws need none of them (`wsol.training.rng`); a network's dropout, say, does.
    """
    tensors = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        tensors["cuda"] = torch.cuda.get_rng_state()
    _, keys, place, has_gauss, gauss = np.random.get_state(legacy=True)  # noqa: NPY002  (others may use it)
    tensors["numpy"] = torch.from_numpy(np.append(np.asarray(keys).astype(np.int64), int(place)))
    tensors["numpy_gauss"] = torch.tensor([has_gauss, gauss], dtype=torch.float64)
    _, numbers, spare = random.getstate()
    tensors["python"] = torch.tensor(numbers, dtype=torch.int64)
    tensors["python_gauss"] = torch.tensor([spare is not None, spare or 0.0], dtype=torch.float64)
    return tensors


def restore_random_state(tensors: Mapping[str, torch.Tensor]) -> None:
    """Put back what `random_state` took; CUDA's state only where there is a CUDA device."""
    torch.set_rng_state(tensors["torch"])
    if "cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["cuda"])
    keys = tensors["numpy"].numpy()
    has_gauss, gauss = tensors["numpy_gauss"].tolist()
    np.random.set_state(("MT19937", keys[:-1].astype(np.uint32), int(keys[-1]), int(has_gauss), gauss))  # noqa: NPY002
    has_spare, spare = tensors["python_gauss"].tolist()
    random.setstate((3, tuple(tensors["python"].tolist()), spare if has_spare else None))
