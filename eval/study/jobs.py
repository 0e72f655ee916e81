"""The runs of a study: where each lies, how far it has come, and the commands that bring it to its end."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from eval.metrics.results_json import RESULTS, read_results
from eval.study.design import Design
from wsol.errors import UserError
from wsol.files.atomic_write import write_durably
from wsol.runs.made_by import MAY_CHANGE_ON_RESUME
from wsol.runs.record import RECORD, load_run
from wsol.training.config import TrainConfig

State = Literal["missing", "interrupted", "running", "trained", "scored"]


@dataclass(frozen=True)
class Job:
    """One training run of a study and its evaluation, in a folder of its own."""

    dataset: str
    network: str
    method: str
    seed: int
    folder: Path
    manifest: Path
    config: TrainConfig

    @property
    def name(self) -> str:
        return f"{self.dataset}/{self.network}/{self.method}-{self.seed}"

    def state(self) -> State:
        """How far the run has come. `UserError` where the folder holds a run of another recipe."""
        if not (self.folder / RECORD).is_file():
            return "missing"
        run = load_run(self.folder)
        self._check_recipe(run.config)
        if run.status == "running":
            return "running"
        if run.status != "finished":
            return "interrupted"
        results = self.folder / "eval" / RESULTS
        # results written before the weights were are another training's
        if results.is_file() and results.stat().st_mtime_ns >= run.weights.stat().st_mtime_ns:
            read_results(results)
            return "scored"
        return "trained"

    def _check_recipe(self, recorded: Mapping[str, Any]) -> None:
        """A run may be used where every setting that the study states is the recorded one; "auto" and None are
        resolved when a run starts, so they agree with anything."""
        for key, wanted in asdict(self.config).items():
            if key in MAY_CHANGE_ON_RESUME or key == "dataset" or wanted in (None, "auto"):
                continue
            found = recorded.get(key)
            wanted = list(wanted) if isinstance(wanted, tuple) else wanted  # as YAML gives it back
            if found != wanted:
                raise UserError(
                    f"'{self.folder}' holds a run with {key} {found!r}, and the study asks for {wanted!r}; move that "
                    "run away, or give the study another --out"
                )

    def commands(self) -> list[list[str]]:
        """What remains to be run, in order, as argument lists."""
        state = self.state()
        python = [sys.executable, "-m"]
        train = [*python, "train_cutmix"]
        localize = [*python, "eval.localize", str(self.folder), "--pictures", "0"]
        if state == "missing":
            return [[*train, "--config", str(self.config_file), "--out", str(self.folder)], localize]
        if state == "interrupted":
            return [[*train, "--resume", "--out", str(self.folder)], localize]
        return [localize] if state == "trained" else []

    @property
    def config_file(self) -> Path:
        """The YAML file that the training command reads."""
        return self.folder.with_name(f"{self.folder.name}.yaml")

    def write_config(self) -> None:
        """Write the settings that differ from `train_cutmix.py`'s defaults."""
        plain = asdict(TrainConfig())
        wanted = {k: v for k, v in asdict(self.config).items() if v != plain[k] or k in ("method", "seed")}
        wanted["dataset"] = str(self.manifest)
        wanted.pop("out", None)
        self.config_file.parent.mkdir(parents=True, exist_ok=True)
        write_durably(self.config_file, yaml.safe_dump(wanted, sort_keys=False))


def jobs_of(design: Design, out: Path) -> Iterator[Job]:
    """Every run of a study: seeds outermost, so that a study that is cut short holds whole comparisons."""
    most = max(len(design.seeds_for(m)) for m in design.methods)
    for turn in range(most):
        for dataset, entry in design.datasets.items():
            manifest = entry.manifest or out / "data_manifests" / dataset
            for network in design.networks:
                for method in design.methods:
                    seeds = design.seeds_for(method)
                    if turn >= len(seeds) or network not in design.networks_of.get(method, (network,)):
                        continue
                    seed = seeds[turn]
                    folder = out / "runs" / dataset / network / f"{method}-{seed}"
                    config = design.training(dataset, network, method, seed)
                    yield Job(dataset, network, method, seed, folder, manifest, config)
