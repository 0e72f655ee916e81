"""What a first user meets in training: one class alone, another run's settings, the log's sentence."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from tests.helpers.tiny_dataset import make_tiny_dataset, tiny_config
from wsol.errors import UserError
from wsol.manifest import load_manifest, write_manifest
from wsol.training.config import parse_config
from wsol.training.data import open_data
from wsol.training.log import sentence


def test_one_class_is_refused(tmp_path: Path) -> None:
    manifest = load_manifest(make_tiny_dataset(tmp_path))
    splits = {role: split.take((split.labels == 0).nonzero()[0]) for role, split in manifest.splits.items()}
    alone = dataclasses.replace(manifest, classes=("red",), splits=splits)
    with pytest.raises(UserError, match="has one class"):
        open_data(tiny_config(write_manifest(alone, tmp_path / "alone")))


def test_another_runs_settings_are_taken_from_its_run_yaml(tmp_path: Path) -> None:
    record = tmp_path / "run.yaml"
    record.write_text(
        "schema: 1\nstatus: finished\nconfig:\n  method: mixup\n  epochs: 3\n  out: runs/old\n  resume: false\n"
    )
    config = parse_config(["--config", str(record), "--epochs", "4"])
    assert (config.method, config.epochs, config.out) == ("mixup", 4, None)


def test_a_line_of_the_log_says_localization_and_the_time_that_is_left() -> None:
    line = {
        "epoch": 2,
        "train_loss": 1.5,
        "train_top1_mixed": 50.0,
        "validation": {"top1": 61.0},
        "images_per_second": 100.0,
        "seconds": 30.0,
        "waited_for_data": 0.0,
        "localization": {"maxboxacc": 41.5, "maxboxacc_v2": 33.25},
    }
    text = sentence(line, 4)
    assert "MaxBoxAcc  41.5  V2  33.2" in text
    assert text.endswith("1 min 0 s left")
    assert "left" not in sentence({**line, "epoch": 4}, 4)
