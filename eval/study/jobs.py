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
from wsol.cams.registry import CAM_OF_FINAL
from wsol.errors import UserError
from wsol.files.atomic_write import write_durably
from wsol.runs.made_by import MAY_CHANGE_ON_RESUME
from wsol.runs.record import RECORD, load_run
from wsol.training.config import TrainConfig, default_of

EVAL = "eval"
RANDOM = "eval-random"
"""Where `eval.localize RUN --random-weights` writes."""

_ALIGNED = "--aligned"

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
    scoring: tuple[str, ...] = ()
    """Further arguments of `eval.localize`."""
    evaluations: tuple[str, ...] = (EVAL,)
    """Folders in the run's own that hold its evaluations: one for each map."""
    control: bool = False
    """Whether the network is also scored with random weights, once for each dataset and network."""

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
        for results in self.results():
            # results written before the weights were are another training's
            if not results.is_file() or results.stat().st_mtime_ns < run.weights.stat().st_mtime_ns:
                return "trained"
            read_results(results)
        return "scored"

    def results(self) -> list[Path]:
        """The results.json of every evaluation, the controls' last."""
        controls = [control_of(e) for e in self.evaluations] if self.control else []
        names = [*self.evaluations, *controls]
        return [self.folder / name / RESULTS for name in names]

    def _check_recipe(self, recorded: Mapping[str, Any]) -> None:
        """A run may be used where every setting that the study states is the recorded one; "auto" and None are
        resolved when a run starts, so they agree with anything. Before a setting existed, every run had its default."""
        for key, wanted in asdict(self.config).items():
            if key in MAY_CHANGE_ON_RESUME or key == "dataset" or wanted in (None, "auto"):
                continue
            found = recorded.get(key, default_of(key))
            wanted = list(wanted) if isinstance(wanted, tuple) else wanted  # as YAML gives it back
            if found != wanted:
                raise UserError(
                    f"'{self.folder}' holds a run with {key} {found!r}, and the study asks for {wanted!r}; move that "
                    "run away, or give the study another --out"
                )

    def commands(self, processes: int = 1) -> list[list[str]]:
        """What remains to be run, in order, as argument lists; each in so many processes."""
        state = self.state()
        python = [sys.executable, "-m"]
        if processes > 1:
            python += ["torch.distributed.run", "--standalone", f"--nproc-per-node={processes}", "-m"]
        localize = [*python, "eval.localize", str(self.folder), "--pictures", "0"]
        untrained = [*localize, "--random-weights", *(a for a in self.scoring if a != _ALIGNED)]
        score = [[*localize, *self.scoring], *([untrained] if self.control else [])]
        train = [*python, "train_cutmix"]
        if state == "missing":
            return [[*train, "--config", str(self.config_file), "--out", str(self.folder)], *score]
        if state == "interrupted":
            return [[*train, "--resume", "--out", str(self.folder)], *score]
        return score if state == "trained" else []

    @property
    def log(self) -> Path:
        """The output of the run's commands."""
        return self.folder.with_name(f"{self.folder.name}.log")

    @property
    def config_file(self) -> Path:
        """The YAML file that the training command reads."""
        return self.folder.with_name(f"{self.folder.name}.yaml")

    def write_config(self) -> None:
        """Write the settings that differ from `train_cutmix.py`'s defaults, or all where a preset has others."""
        plain = asdict(TrainConfig()) if self.config.preset is None else {}
        wanted = {
            k: v
            for k, v in asdict(self.config).items()
            if k in ("method", "seed") or k not in plain or v != plain[k]
        }
        wanted["dataset"] = str(self.manifest)
        for key in ("out", "config", "resume"):
            wanted.pop(key, None)
        self.config_file.parent.mkdir(parents=True, exist_ok=True)
        write_durably(self.config_file, yaml.safe_dump(wanted, sort_keys=False))


def control_of(evaluation: str) -> str:
    """The folder of the network with random weights, scored by the map of another evaluation."""
    return RANDOM + evaluation.removeprefix(EVAL)


def map_of(evaluation: str) -> str:
    """The map that an evaluation's folder is named after."""
    return CAM_OF_FINAL.label if evaluation == EVAL else evaluation.removeprefix(f"{EVAL}-")


def jobs_of(design: Design, out: Path) -> Iterator[Job]:
    """Every run of a study: seeds outermost, so that a study that is cut short holds whole comparisons."""
    scoring = (*([_ALIGNED] if design.aligned else []), *_map_arguments(design))
    evaluations = tuple(EVAL if m == CAM_OF_FINAL else f"{EVAL}-{m.label}" for m in design.maps)
    most = max(len(design.seeds_for(m)) for m in design.methods)
    for turn in range(most):
        for dataset, entry in design.datasets.items():
            manifest = entry.folder(dataset, out)
            for network in design.networks:
                for method in design.methods:
                    seeds = design.seeds_for(method)
                    if turn >= len(seeds) or network not in design.networks_of.get(method, (network,)):
                        continue
                    seed = seeds[turn]
                    folder = out / "runs" / dataset / network / f"{method}-{seed}"
                    config = design.training(dataset, network, method, seed)
                    yield Job(
                        *(dataset, network, method, seed, folder, manifest, config),
                        scoring=scoring,
                        evaluations=evaluations,
                        control=method == design.baseline and turn == 0,
                    )


def _map_arguments(design: Design) -> list[str]:
    if design.maps == (CAM_OF_FINAL,):
        return []
    return ["--map-method", *design.map_methods, "--map-layer", *design.map_layers]
