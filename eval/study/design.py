"""The design of a study, read from YAML: what is trained on what, how often, and what is asked beforehand.

    name: parts-cue
    question: Does CutMix localize better where a second cue exists?
    primary: maxboxacc_v2_transferred     # the one outcome that decides: a protocol, top-1 accuracy, or energy on PART
    margin: 2                             # points; a difference below it does not matter
    datasets:
      strong-cue: {prepare: [parts, --body-cue, "1.0"]}     # made by wsol.prepare where it is absent
      cub10: {manifest: cub10}                              # or a prepared one: its name, or its folder
    networks:
      small: {arch: resnet_small, size: 64}                 # training settings that make the network
    methods:
      vanilla: {}
      cutmix: {cutmix_prob: 0.5}
    seeds: 8                              # or a list; a method may have its own under `seeds_of`
    train: {epochs: 16, lr: 0.05}         # training settings that all runs share
    aligned: true                         # also score maps with each cell at the centre of what it sees
    map_methods: [cam, layercam]          # further maps of the same networks, as secondary outcomes,
    map_layers: [final, layer3]           # each method at each layer

The first method is the baseline. Every training setting is one of `train_cutmix.py`; `preset` stands for what it gives
a run's dataset, network and method.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from itertools import product
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pydantic

from eval.protocols import protocol_named
from eval.study.measured import is_measured
from wsol.cams.map_method import LayerMap
from wsol.cams.registry import CAM_OF_FINAL, layer_maps
from wsol.datasets.catalog import manifest_folder
from wsol.errors import UserError
from wsol.files.regular import read_text
from wsol.files.strict_yaml import load_yaml
from wsol.training.config import TrainConfig, check_settings
from wsol.training.presets import preset_values

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
_SET_BY_THE_STUDY = frozenset({"dataset", "seed", "out", "resume", "config"})


MOST_SEEDS = 1000
"""More than anybody trains, and few enough to list."""


@dataclass(frozen=True)
class StudyDataset:
    """A prepared manifest, by its folder or its name in data_manifests/, or the arguments with which `wsol.prepare`
    makes one."""

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = pydantic.ConfigDict(extra="forbid")
    manifest: Path | None = None
    prepare: tuple[str, ...] = ()
    train: Mapping[str, Any] = field(default_factory=dict)
    """Training settings for this dataset alone."""

    def __post_init__(self) -> None:
        if (self.manifest is None) == (not self.prepare):
            raise ValueError("give either `manifest` or `prepare`")

    def folder(self, name: str, out: Path) -> Path:
        """The manifest's folder; one that is made lies in the folder `out` of results."""
        return manifest_folder(self.manifest) if self.manifest else out / "data_manifests" / name


@dataclass(frozen=True)
class Design:
    """A study as it was stated before its results; validated on construction."""

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = pydantic.ConfigDict(extra="forbid")
    name: str
    question: str
    primary: str
    margin: float
    datasets: Mapping[str, StudyDataset]
    networks: Mapping[str, Mapping[str, Any]]
    methods: Mapping[str, Mapping[str, Any]]
    seeds: int | tuple[int, ...]
    train: Mapping[str, Any] = field(default_factory=dict)
    seeds_of: Mapping[str, int | tuple[int, ...]] = field(default_factory=dict)
    networks_of: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Methods that are trained on some of the networks only."""
    aligned: bool = False
    map_methods: tuple[str, ...] = ("cam",)
    map_layers: tuple[str, ...] = ("final",)
    notes: str = ""

    def __post_init__(self) -> None:
        check_names(
            {"study": [self.name], "dataset": self.datasets, "network": self.networks, "method": self.methods}
        )
        if not self.datasets or not self.networks or len(self.methods) < 2:
            raise UserError("a study needs a dataset, a network, and two methods")
        if not is_measured(self.primary):
            protocol_named(self.primary)
        if not self.margin > 0:
            raise UserError(f"margin: expected points above 0, got {self.margin:g}")
        for kind, unknown in (
            ("seeds_of", set(self.seeds_of) - set(self.methods)),
            ("networks_of", set(self.networks_of) - set(self.methods)),
            ("networks_of", {n for some in self.networks_of.values() for n in some} - set(self.networks)),
        ):
            if unknown:
                raise UserError(f"{kind} names '{sorted(unknown)[0]}', which the study does not have")
        for method in self.methods:
            asked = self.seeds_of.get(method, self.seeds)
            if isinstance(asked, int) and asked > MOST_SEEDS:
                raise UserError(f"method '{method}': at most {MOST_SEEDS:,} seeds")
            if not self.seeds_for(method):
                raise UserError(f"method '{method}' has no seed")
        if self.maps[:1] != (CAM_OF_FINAL,):
            raise UserError(
                "map_methods begin with cam, and map_layers with final: the primary outcome's map"
            )
        for cell in product(self.datasets, self.networks, self.methods):
            self.training(*cell, seed=0)

    @property
    def baseline(self) -> str:
        """The method that the others are compared with: the first."""
        return next(iter(self.methods))

    @property
    def maps(self) -> tuple[LayerMap, ...]:
        """The maps that every network is scored by, CAM of the final map first."""
        return layer_maps(self.map_methods, self.map_layers)

    def seeds_for(self, method: str) -> tuple[int, ...]:
        """The seeds of a method's runs."""
        seeds = self.seeds_of.get(method, self.seeds)
        return tuple(range(seeds)) if isinstance(seeds, int) else tuple(seeds)

    def training(self, dataset: str, network: str, method: str, seed: int) -> TrainConfig:
        """The training config of one run, but for its dataset's and its own folder."""
        entry = self.datasets[dataset]
        return training_config(
            {
                "train": self.train,
                f"datasets.{dataset}.train": entry.train,
                f"networks.{network}": self.networks[network],
                f"methods.{method}": self.methods[method],
            },
            method,
            seed,
            entry.manifest.name if entry.manifest else dataset,
        )


def training_config(
    parts: Mapping[str, Mapping[str, Any]], method: str, seed: int, dataset: str
) -> TrainConfig:
    """The training config that several places of a file state together, later ones over earlier ones.

    `parts` holds the settings by the place that an error names; `method` counts where no part names one; `dataset` is
    the name by which a preset is found.
    """
    settings: dict[str, Any] = {}
    for place, part in parts.items():
        taken = sorted(_SET_BY_THE_STUDY & set(part))
        if taken:
            raise UserError(f"{place}: '{taken[0]}' is set by the study itself")
        settings |= check_settings(part, place)
    settings = {"method": method, **settings, "seed": seed}
    preset = settings.get("preset")
    if preset is not None:
        arch = settings.get("arch", TrainConfig.arch)
        settings = {**preset_values(preset, dataset, arch, settings["method"]), **settings}
    return TrainConfig(**settings)


def read_design(file: Path) -> Design:
    """A study's YAML file; a defect is a `UserError` with the place and what was expected."""
    return read_validated(file, Design, "a study")


D = TypeVar("D")


def read_validated(file: Path, kind: type[D], what: str) -> D:
    """A YAML file as a dataclass; `UserError` with the place and what was expected."""
    try:
        content = load_yaml(read_text(file), str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{what} '{file}' cannot be read: {error}") from error
    if not isinstance(content, dict):
        needed = ", ".join(f.name for f in fields(kind) if f.default is f.default_factory is MISSING)  # type: ignore[arg-type]
        raise UserError(f"{file}: expected a mapping with {needed}")
    try:
        return pydantic.TypeAdapter(kind).validate_python(content)
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise UserError(f"{file}: {place}: {first['msg']}") from error
    except UserError as error:
        raise UserError(f"{file}: {error}") from error


def check_names(names: Mapping[str, Iterable[str]]) -> None:
    """`UserError` for a name, of the kinds that are the keys, that cannot name a folder."""
    for kind, some in names.items():
        for name in some:
            if not _NAME.match(name):
                raise UserError(
                    f"{kind} '{name}': use letters, digits, '.', '_' and '-', as it names a folder"
                )
