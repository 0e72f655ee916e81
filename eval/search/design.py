"""What a search tries, read from YAML.

    name: parts
    score: maxboxacc_v2                   # of the maps on train-fullsup, the threshold chosen there too
    trials: 30                            # of each method, as Choe et al. (CVPR 2020)
    datasets:
      cub10: {manifest: data_manifests/cub10}
    networks:
      small: {arch: resnet_small, size: 64}
    train: {epochs: 4, lr: {log: [1.0e-3, 1]}}
    methods:
      vanilla: {}
      cutmix: {cutmix_prob: {linear: [0, 1]}}

Under `train` and `methods` a range may stand where a study has a value (`eval.search.ranges`). A trial is one drawn
setting, trained on every dataset and network; its score is the mean over them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any, ClassVar

import pydantic

from eval.protocols import protocol_named
from eval.search.ranges import Range, is_range, read_range
from eval.study.design import StudyDataset, check_names, read_validated, training_config
from eval.study.jobs import Job
from wsol.errors import UserError
from wsol.training.config import TrainConfig, check_settings

SPLIT = "train-fullsup"
EVALUATION = f"eval-{SPLIT}"


@dataclass(frozen=True)
class Search:
    """A search as it was stated; validated on construction."""

    __pydantic_config__: ClassVar[pydantic.ConfigDict] = pydantic.ConfigDict(extra="forbid")
    name: str
    datasets: Mapping[str, StudyDataset]
    networks: Mapping[str, Mapping[str, Any]]
    methods: Mapping[str, Mapping[str, Any]]
    train: Mapping[str, Any] = field(default_factory=dict)
    trials: int = 30
    score: str = "maxboxacc_v2"
    seed: int = 0
    """Of the draws and of every training."""
    notes: str = ""

    def __post_init__(self) -> None:
        check_names(
            {
                "search": [self.name],
                "dataset": self.datasets,
                "network": self.networks,
                "method": self.methods,
            }
        )
        if not (self.datasets and self.networks and self.methods):
            raise UserError("a search needs a dataset, a network and a method")
        if self.trials < 1:
            raise UserError(f"trials: expected at least 1, got {self.trials}")
        if protocol_named(self.score).threshold == "transferred":
            raise UserError(
                f"score: {self.score} takes its threshold from {SPLIT}, which is the split that is scored here; name "
                "the protocol that chooses it on the scored split"
            )
        for method in self.methods:
            ranges = self.ranges(method)
            if not ranges:
                raise UserError(f"methods.{method}: nothing is searched; state a range here or under `train`")
            for cell in product(self.datasets, self.networks):
                for ends in ({n: r.values[0] for n, r in ranges.items()}, _last(ranges)):
                    self.training(*cell, method, ends)

    def ranges(self, method: str) -> dict[str, Range]:
        """What is searched for a method: its own ranges, and those under `train` that it does not set itself."""
        own = self.methods[method]
        found = {
            name: read_range(name, value, "train")
            for name, value in self.train.items()
            if is_range(value) and name not in own
        }
        return found | {
            name: read_range(name, value, f"methods.{method}")
            for name, value in own.items()
            if is_range(value)
        }

    def training(self, dataset: str, network: str, method: str, drawn: Mapping[str, Any]) -> TrainConfig:
        """The training config of one run of a trial, but for its dataset's and its own folder."""
        fixed = {
            f"datasets.{dataset}.train": self.datasets[dataset].train,
            f"networks.{network}": self.networks[network],
        }
        for place, part in fixed.items():
            taken = sorted(set(part) & set(self.ranges(method)))
            if taken:
                raise UserError(f"{place}: '{taken[0]}' is searched; leave it out here")
        parts = {
            "train": _values(self.train),
            **fixed,
            f"methods.{method}": {**_values(self.methods[method]), **drawn},
        }
        manifest = self.datasets[dataset].manifest
        return training_config(parts, method, self.seed, manifest.name if manifest else dataset)

    def setting(self, method: str, drawn: Mapping[str, Any]) -> dict[str, Any]:
        """What sets a method apart: itself, its own settings, and the drawn ones."""
        own = check_settings(_values(self.methods[method]), f"methods.{method}")
        return {"method": own.pop("method", method), **own, **drawn}

    def jobs(self, method: str, number: int, drawn: Mapping[str, Any], out: Path) -> list[Job]:
        """The runs of a trial."""
        found = []
        for (dataset, entry), network in product(self.datasets.items(), self.networks):
            folder = trial_folder(out, method, number) / dataset / network
            config = self.training(dataset, network, method, drawn)
            found.append(
                Job(
                    *(dataset, network, method, self.seed, folder, entry.folder(dataset, out), config),
                    scoring=(
                        *("--split", SPLIT, "--threshold-split", "None", "--protocols", self.score),
                        *("--bootstrap", "0", "--out", str(folder / EVALUATION)),
                    ),
                    evaluations=(EVALUATION,),
                )
            )
        return found


def trial_folder(out: Path, method: str, number: int) -> Path:
    """Where a trial's runs lie."""
    return out / "trials" / method / f"{number:03d}"


def read_search(file: Path) -> Search:
    """A search's YAML file; a defect is a `UserError` with the place and what was expected."""
    return read_validated(file, Search, "the search")


def _values(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if not is_range(value)}


def _last(ranges: Mapping[str, Range]) -> dict[str, Any]:
    return {name: r.values[-1] for name, r in ranges.items()}
