"""What every fault is tried on: a tiny dataset, runs, maps, and their undisturbed results, in a scratch folder."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.faults.processes import Defect, finish, start
from eval.comparison.config import CompareConfig
from eval.evaluation.config import LocalizeConfig
from eval.evaluation.evaluate import localize
from eval.metrics.results_json import read_results
from eval.write_comparison import COMPARE, compare
from tests.helpers.map_folders import boxed_split, smooth_maps, write_maps
from tests.helpers.tiny_dataset import make_tiny_dataset
from wsol.files.checked_safetensors import load_tensors
from wsol.manifest import Manifest, write_manifest
from wsol.runs.record import RECORD
from wsol.training.config import parse_config
from wsol.training.progress import Silent
from wsol.training.session import train


class World:
    """Datasets, runs and undisturbed results in a scratch folder."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        os.chdir(scratch)
        self.log = scratch / "log"
        split = boxed_split(130)
        write_manifest(Manifest("d", ("a", "b", "c"), {"test": split}), scratch / "m")
        for i in (1, 2):
            write_maps(scratch / f"cam.v{i}", split, smooth_maps(130, seed=i, side=14))
        self.data = make_tiny_dataset(scratch / "tiny")
        self.training("run")()  # here: what is loaded and compiled once is there in every forked process
        self.scoring("cam.v1", "warm")()
        self.values = {name: self.scored(name, f"alone-{name}") for name in ("cam.v1", "cam.v2", "run")}
        self.weights = self.weights_of("run")
        self.run(self.comparing("alone-compare"))
        self.values["comparing"] = compared(Path("alone-compare"))

    def run(self, body: Callable[[], object]) -> None:
        """A body that must succeed."""
        if code := finish(start(body, self.log)):
            raise Defect(f"undisturbed, exit code {code}:\n{self.log.read_text()[-2000:]}")

    def scoring(self, what: str, out: str) -> Callable[[], object]:
        common: dict[str, Any] = {"out": Path(out), "bootstrap": 0, "pictures": 0, "threads": 1}
        if (Path(what) / RECORD).is_file():
            config = LocalizeConfig(run=Path(what), device="cpu", batch_size=4, **common)
        else:
            config = LocalizeConfig(score_maps=Path(what), dataset="m", **common)
        return lambda: localize(dataclasses.replace(config, protocols=("maxboxacc",)))

    def training(self, out: str, *more: str) -> Callable[[], object]:
        text = "--size 32 --epochs 1 --batch-size 8 --lr 0.01 --device cpu --workers 0 --precision fp32"
        text += " --checkpoint-every-steps 1 --resume"
        asked = ["--dataset", str(self.data), *text.split(), *more, "--out", out]
        return lambda: train(parse_config(asked), asked, Silent())

    def comparing(self, out: str) -> Callable[[], object]:
        runs = ("a=alone-cam.v1", "b=alone-cam.v2")
        return lambda: compare(CompareConfig(runs, out=Path(out), bootstrap=50, pictures=4))

    def scored(self, what: str, out: str) -> str:
        """Score to the end; the numbers."""
        self.run(self.scoring(what, out))
        return numbers(Path(out))

    def weights_of(self, out: str) -> dict[str, torch.Tensor]:
        return load_tensors(Path(out) / "model.safetensors")[0]

    def same_weights(self, out: str) -> bool:
        ours = self.weights_of(out)
        return all(torch.equal(ours[k], v) for k, v in self.weights.items())


def numbers(folder: Path) -> str:
    """results.json without what names the run."""
    found = read_results(folder)
    return json.dumps({k: v for k, v in found.items() if k not in ("provenance", "title")}, sort_keys=True)


def compared(folder: Path) -> str:
    """compare.json without what names the command."""
    found = json.loads((folder / COMPARE).read_text())
    return json.dumps({k: v for k, v in found.items() if k != "provenance"}, sort_keys=True)


def clean(*folders: str) -> None:
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)


def leftovers(folder: str) -> list[str]:
    return [str(p) for p in Path(folder).rglob("*.unfinished")]
