"""Localization of train-fullsup during training, and its further logs: CSV, TensorBoard, Weights & Biases."""

from __future__ import annotations

import csv
import dataclasses
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from eval.training_logs import CsvLog
from eval.while_training import observer_for
from tests.helpers.oracles import oracle
from tests.helpers.tiny_dataset import make_tiny_dataset, tiny_config
from wsol.errors import UserError
from wsol.files.checked_safetensors import load_tensors
from wsol.manifest import Split, load_manifest, write_manifest
from wsol.training.progress import Silent
from wsol.training.session import train


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny dataset with a box for every validation image."""
    folder = make_tiny_dataset(tmp_path_factory.mktemp("tiny"))
    found = load_manifest(folder)
    split = found.splits["train-fullsup"]
    n = len(split)
    boxed = Split(
        split.image_ids,
        split.labels,
        paths=split.paths,
        sizes_wh=split.sizes_wh,
        boxes_xyxy=np.tile([4.4, 4.0, 35.2, 32.0], (n, 1)),
        box_offsets=np.arange(n + 1, dtype=np.int64),
    )
    write_manifest(dataclasses.replace(found, splits={**found.splits, "train-fullsup": boxed}), folder)
    return folder


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def log(folder: Path) -> list[dict[str, object]]:
    return [json.loads(text) for text in (folder / "log.jsonl").read_text().splitlines()]


def test_every_second_epoch_and_the_last_are_localized_without_changing_the_weights(manifest: Path) -> None:
    watched = train(
        tiny_config(manifest, epochs=3, localize_every=2, out="watched"),
        report=Silent(),
        make_observer=observer_for,
    ).run
    plain = train(tiny_config(manifest, epochs=3, out="plain"), report=Silent()).run
    lines = log(watched.dir)
    assert ["localization" in line for line in lines] == [False, True, True]
    found = lines[-1]["localization"]
    assert isinstance(found, dict)
    assert found["split"] == "train-fullsup"
    assert 0 <= found["maxboxacc"] <= 100
    assert watched.record["result"]["localization"] == found
    ours, theirs = (load_tensors(r.weights)[0] for r in (watched, plain))
    assert all(torch.equal(ours[k], theirs[k]) for k in theirs)


def test_tensorboard_holds_scalars_and_the_panel(manifest: Path) -> None:
    events = oracle("tensorboard", "tensorboard.backend.event_processing.event_accumulator")
    run = train(
        tiny_config(manifest, epochs=2, localize_every=1, tensorboard=True, out="run"),
        report=Silent(),
        make_observer=observer_for,
    ).run
    kept = events.EventAccumulator(str(run.dir / "tensorboard"))
    kept.Reload()
    lines = log(run.dir)
    scalars = [e.value for e in kept.Scalars("localization/maxboxacc_v2")]
    expected = [line["localization"]["maxboxacc_v2"] for line in lines]  # type: ignore[index]
    np.testing.assert_allclose(scalars, expected, rtol=1e-6)
    assert "validation/top1" in kept.Tags()["scalars"]
    assert [e.step for e in kept.Images("score maps of train-fullsup")] == [1, 2]


def test_csv_holds_the_log_and_a_repeated_epoch_once(manifest: Path, tmp_path: Path) -> None:
    run = train(
        tiny_config(manifest, epochs=2, log=("csv",), out="csv"), report=Silent(), make_observer=observer_for
    ).run
    rows = list(csv.DictReader((run.dir / "log.csv").open()))
    for row, line in zip(rows, log(run.dir), strict=True):
        assert int(row["epoch"]) == line["epoch"]
        assert float(row["train_loss"]) == line["train_loss"]
        assert float(row["validation/top1"]) == line["validation"]["top1"]  # type: ignore[index]
    kept = CsvLog(tmp_path)
    for epoch, found in ((1, {"a": 1.0}), (2, {"a": 2.0}), (3, {"a": 9.0}), (2, {"a": 2.5, "b": 0.1})):
        kept.add(epoch, found)  # killed after 3, resumed from 1
    assert (tmp_path / "log.csv").read_text() == "epoch,a,b\n1,1.0,\n2,2.5,0.1\n"


def test_wandb_is_told_of_every_epoch(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[object, ...]] = []

    def init(**settings: object) -> SimpleNamespace:
        told.append((settings["dir"], settings["resume"], settings["config"]["method"]))  # type: ignore[index]
        return SimpleNamespace(log=lambda scalars, step: told.append((step, scalars["validation/top1"])))

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    config = tiny_config(manifest, epochs=2, log=("wandb",), out="told")
    run = train(config, report=Silent(), make_observer=observer_for).run
    lines = log(run.dir)
    assert told[0] == (str(run.dir), "allow", "cutmix")
    assert told[1:] == [(line["epoch"], line["validation"]["top1"]) for line in lines]  # type: ignore[index]


def test_wandb_that_is_not_installed_is_said_before_training(
    manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(UserError, match="install the extra `wandb`"):
        train(tiny_config(manifest, log=("wandb",), out="none"), report=Silent(), make_observer=observer_for)


def test_without_boxes_it_is_refused_before_training(tmp_path: Path) -> None:
    folder = make_tiny_dataset(tmp_path / "bare")
    found = load_manifest(folder)
    split = found.splits["train-fullsup"]
    bare = Split(split.image_ids, split.labels, paths=split.paths)
    write_manifest(dataclasses.replace(found, splits={**found.splits, "train-fullsup": bare}), folder)
    with pytest.raises(UserError, match="train-fullsup split with boxes"):
        train(tiny_config(folder, localize_every=1, out="run"), report=Silent(), make_observer=observer_for)
    assert not Path("run").exists()
