"""What an evaluation scores, whatever it is: a dataset, what is judged on it, and where results go."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.records.judged import Judged
from wsol.cams.registry import layer_maps
from wsol.datasets.catalog import open_dataset
from wsol.errors import UserError
from wsol.manifest import SPLIT_ROLES

if TYPE_CHECKING:
    from eval.evaluation.config import LocalizeConfig
    from wsol.cams.map_method import LayerMap
    from wsol.manifest import Manifest


@dataclass(frozen=True)
class Subject:
    """What is being scored: the dataset, what is judged on it, and where results go."""

    manifest: Manifest
    judged: Judged
    out: Path
    provenance: dict[str, Any]
    title: str


def opened(config: LocalizeConfig, default: str | None = None, root: str | None = None) -> Manifest:
    """The config's dataset, or `default`; `UserError` for one without an image of the scored split."""
    name = config.dataset or default
    if name is None:
        raise UserError("name the dataset with --dataset (a prepared name, or a manifest folder)")
    roles = {config.split, *([config.threshold_split] if config.threshold_split else [])}
    found = open_dataset(name, data_root=config.data_root or root, roles=sorted(roles))
    if config.split in SPLIT_ROLES and not len(found.splits.get(config.split, ())):
        open_dataset(name).split(config.split)  # the error names every split that has images
    return found


def wanted_map(config: LocalizeConfig) -> LayerMap:
    """The one map method and layer of the config."""
    (only,) = layer_maps(config.map_method, config.map_layer)
    return only
