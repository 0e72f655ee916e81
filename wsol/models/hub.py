"""Weights named `hf-hub:OWNER/NAME[@REVISION]`: a repository of the Hugging Face hub in timm's form.

Two files of it are fetched on first use, into the hub's own cache: `model.safetensors`, and `config.json`, which says
the network and its input. Pickled weights are never fetched. Needs huggingface_hub, which timm brings.
"""

from __future__ import annotations

import re
from os import PathLike
from pathlib import Path
from typing import Any

from wsol.errors import UserError, first_line
from wsol.files.strict_json import read_json
from wsol.models.networks import TIMM_PREFIX, find_network
from wsol.models.pixels import Pixels, pixels_of

_PREFIXES = ("hf-hub:", "hf_hub:")
_WEIGHTS = "model.safetensors"


def is_hub(name: str | PathLike[str]) -> bool:
    """Whether a checkpoint is named as a repository of the hub.

    >>> is_hub("hf-hub:timm/resnet18.a1_in1k"), is_hub("resnet18.pth")
    (True, False)
    """
    return str(name).startswith(_PREFIXES)


def fetch_weights(name: str) -> Path:
    """The local file of a repository's weights; UserError where they cannot be had."""
    return _fetch(name, _WEIGHTS)


def network_of(checkpoint: str | PathLike[str], arch: str | None) -> tuple[str, Pixels]:
    """The network of a checkpoint and its input.

    `arch` None is for repositories of the hub, whose config.json says it; for these the input is config.json's too.
    Raises UserError where neither says it.
    """
    if not is_hub(checkpoint):
        if arch is None:
            raise UserError("--checkpoint needs --arch (such as resnet50, or timm:resnet50)")
        return arch, find_network(arch).input_pixels()
    name = Path(checkpoint).as_posix()
    config = read_json(_fetch(name, "config.json"))
    said = config.get("architecture") if isinstance(config, dict) else None
    if arch is None and not isinstance(said, str):
        raise UserError(f"{name}: its config.json names no 'architecture'; give the network with --arch")
    found = arch or f"{TIMM_PREFIX}{said}"
    own = find_network(found).input_pixels()
    stated = config.get("pretrained_cfg", config) if isinstance(config, dict) else {}
    return found, _input(stated, own, name)


def _input(stated: Any, own: Pixels, name: str) -> Pixels:
    """What config.json says of the input, the network's own where it says nothing."""
    if not isinstance(stated, dict) or not {"mean", "std", "input_size"} <= stated.keys():
        return own
    rest = stated.get("interpolation", own.interpolation), stated.get("crop_pct", own.crop_fraction)
    try:
        return pixels_of(stated["mean"], stated["std"], stated["input_size"], *rest)
    except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
        raise UserError(f"{name}: its config.json states no input that can be read ({error})") from error


def _fetch(name: str, file: str) -> Path:
    found = re.fullmatch(r"hf[-_]hub:([\w.-]+/[\w.-]+?)(?:@([\w./-]+))?", name)
    if found is None:
        raise UserError(
            f"'{name}' names no repository of the hub; expected hf-hub:OWNER/NAME, perhaps with @REVISION"
        )
    try:
        import huggingface_hub
    except ImportError as error:
        raise UserError(
            f"'{name}' needs huggingface_hub; install it with `pip install 'wsol-eval[backbones]'`"
        ) from error
    try:
        return Path(huggingface_hub.hf_hub_download(found[1], file, revision=found[2]))
    except (
        Exception
    ) as error:  # the hub raises errors of many kinds when the network or the repository is not there
        raise UserError(
            f"'{name}': {file} could not be fetched ({first_line(error)}). Pickled weights are never fetched; without "
            "network, download the file elsewhere and give its path"
        ) from error
