"""A network from outside the package is built, trained and localized by the product as it is, with its own input."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from eval.compare import main as compare
from eval.evaluation.config import LocalizeConfig
from eval.evaluation.evaluate import localize
from eval.metrics.results_json import read_results
from tests.helpers.dummy_network import TINY, TinyNet
from tests.helpers.moments import in_a_child
from tests.helpers.tiny_dataset import make_tiny_dataset, tiny_config
from wsol.files.checked_safetensors import load_tensors
from wsol.manifest import load_manifest, write_manifest
from wsol.models import NETWORKS
from wsol.runs.record import load_run
from wsol.training.config import parse_config
from wsol.training.loop import Trainer
from wsol.training.progress import Silent
from wsol.training.session import train


@pytest.fixture(autouse=True)
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(NETWORKS, "tiny", TINY)


def test_a_network_from_outside_trains_and_localizes(tmp_path: Path) -> None:
    manifest = make_tiny_dataset(tmp_path)
    run = train(tiny_config(manifest, arch="tiny", epochs=1, out="run"), report=Silent()).run
    recorded = yaml.safe_load((run.dir / "run.yaml").read_text())["classifier"]
    assert recorded["pixels"]["mean"] == [0.5, 0.4, 0.3]
    assert (recorded["output_stride"], recorded["pixels"]["interpolation"]) == (4, "bicubic")
    localize(LocalizeConfig(run=run.dir, device="cpu", bootstrap=0, pictures=0))
    assert read_results(run.dir / "eval")["provenance"]["classifier"]["pixels"] == recorded["pixels"]


def test_it_resumes_after_a_kill_and_is_compared(tmp_path: Path) -> None:
    manifest = make_tiny_dataset(tmp_path)
    settings = {"arch": "tiny", "epochs": 2, "checkpoint_every_steps": 2}

    def killed_after_a_checkpoint() -> None:
        def save(trainer: Trainer) -> None:
            saved(trainer)
            os.kill(os.getpid(), signal.SIGKILL)

        saved, Trainer.save = Trainer.save, save  # type: ignore[method-assign]
        train(tiny_config(manifest, method="vanilla", out="vanilla", **settings), report=Silent())

    assert in_a_child(killed_after_a_checkpoint) == -signal.SIGKILL
    assert load_run("vanilla").status == "killed"
    train(parse_config(["--resume", "--out", "vanilla"]), ["--resume", "--out", "vanilla"], Silent())
    train(tiny_config(manifest, method="vanilla", out="undisturbed", **settings), report=Silent())
    weights = [load_tensors(Path(name) / "model.safetensors")[0] for name in ("vanilla", "undisturbed")]
    assert all(torch.equal(weights[0][k], weights[1][k]) for k in weights[1])
    train(tiny_config(manifest, method="cutmix", out="cutmix", **settings), report=Silent())
    for name in ("vanilla", "cutmix"):
        localize(LocalizeConfig(run=Path(name), device="cpu", bootstrap=20, pictures=0))
    assert compare(["vanilla", "cutmix", "--out", "comparison", "--bootstrap", "20"]) == 0
    assert "this run of cutmix" in (tmp_path / "comparison" / "compare.html").read_text()


def test_its_checkpoint_is_read_at_its_own_size_and_mean_or_at_those_asked_for(tmp_path: Path) -> None:
    manifest = make_tiny_dataset(tmp_path)
    torch.save({"state_dict": TinyNet().state_dict(), "best_acc1": 3.0}, tmp_path / "w.pth")

    def localized(**options: object) -> dict[str, object]:
        config = LocalizeConfig(
            checkpoint=tmp_path / "w.pth",
            arch="tiny",
            dataset=str(manifest),
            device="cpu",
            bootstrap=0,
            pictures=0,
            out=tmp_path / f"out{len(options)}",
            **options,  # type: ignore[arg-type]
        )
        found = localize(config)
        assert found is not None
        return found[1]["provenance"]["classifier"]

    own = localized()
    assert (own["input_size"], own["pixels"]) == (32, TINY.input_pixels().to_dict())
    asked = localized(size=48, mean=(0.1, 0.1, 0.1))
    assert (asked["input_size"], asked["pixels"]["mean"]) == (48, [0.1, 0.1, 0.1])  # type: ignore[index]


def test_with_pretrained_weights_the_default_size_is_theirs(tmp_path: Path) -> None:
    manifest = make_tiny_dataset(tmp_path)
    torch.save(TinyNet(7).state_dict(), tmp_path / "w.pth")
    config = tiny_config(
        manifest, arch="tiny", epochs=1, size=None, pretrained=str(tmp_path / "w.pth"), out="run"
    )
    run = train(config, report=Silent()).run
    assert (run.spec.input_size, run.config["size"]) == (32, 32)


def test_more_outputs_than_classes_give_the_numbers_of_a_dataset_of_all_of_them(tmp_path: Path) -> None:
    """A network of five classes on three of them, by a class map, and on a dataset that has all five."""
    manifest = make_tiny_dataset(tmp_path)
    torch.manual_seed(0)
    torch.save(TinyNet(5).state_dict(), tmp_path / "w.pth")
    (tmp_path / "map.txt").write_text("grey\nblue\nred\ngreen\nblack\n")
    few = load_manifest(manifest)
    labels = {role: np.array([2, 3, 1], np.int32)[split.labels] for role, split in few.splits.items()}
    splits = {role: split.replace(labels=labels[role]) for role, split in few.splits.items()}
    names = ("grey", "blue", "red", "green", "black")
    write_manifest(replace(few, classes=names, splits=splits), tmp_path / "all")
    found = []
    for dataset, class_map in ((manifest, tmp_path / "map.txt"), (tmp_path / "all", None)):
        config = LocalizeConfig(
            checkpoint=tmp_path / "w.pth",
            arch="tiny",
            dataset=str(dataset),
            class_map=class_map,
            device="cpu",
            bootstrap=0,
            pictures=0,
            out=tmp_path / f"out-{dataset.name}",
        )
        result = localize(config)
        assert result is not None
        found.append(result[1])
    values = [{k: v["value"] for k, v in r["protocols"].items()} for r in found]
    assert values[0] == values[1]
    assert found[0]["classification"] == found[1]["classification"]
    assert found[0]["provenance"]["class_map"]["outputs"] == [2, 3, 1]
