"""The commands of docs/datasets.md, "Your own images", run as they stand there on a folder made here."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from wsol.datasets.cards import known_cards
from wsol.prepare import COMMANDS

PROJECT = Path(__file__).resolve().parents[2]
DOCS = PROJECT / "docs" / "datasets.md"


def own_images(folder: Path) -> None:
    """Two classes of coloured squares on noise, half of them with a box."""
    draw = np.random.default_rng(0)
    rows = ["image,x0,y0,x1,y1"]
    for name, colour in (("apple", (200, 40, 40)), ("pear", (60, 180, 60))):
        (folder / name).mkdir(parents=True)
        for i in range(24):
            pixels = draw.integers(60, 140, (48, 48, 3))
            x, y, side = (int(v) for v in draw.integers((2, 2, 14), (22, 22, 24)))
            pixels[y : y + side, x : x + side] = np.array(colour) + draw.integers(-20, 20, (side, side, 3))
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{i}.png")
            if i % 2:
                rows.append(f"{name}/{i}.png,{x},{y},{x + side},{y + side}")
    (folder / "boxes.csv").write_text("\n".join(rows))


def documented_commands() -> list[str]:
    block = re.search(r"<!-- run by tests/test_own_dataset\.py -->\n```sh\n(.*?)```", DOCS.read_text(), re.S)
    assert block is not None
    return block.group(1).strip().splitlines()


def test_the_documented_commands_train_localize_and_report(tmp_path: Path) -> None:
    own_images(tmp_path / "fruit")
    (tmp_path / "data_manifests").mkdir()
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "OMP_NUM_THREADS": "1"}
    commands = documented_commands()
    assert len(commands) == 4
    for line in commands:
        words = shlex.split(line)
        assert words[0] == "python"
        if words[1] == "train_cutmix.py":
            words[1] = str(PROJECT / words[1])
            words += ["--epochs", "1", "--batch-size", "8", "--workers", "0"]  # the documented run, cut short
        done = subprocess.run(
            [sys.executable, *words[1:]], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    results = json.loads((tmp_path / "runs" / "fruit" / "eval" / "results.json").read_text())
    assert results["num_images"] == 18
    assert 0 <= results["protocols"]["maxboxacc"]["value"] <= 100
    assert "<html" in (tmp_path / "runs" / "fruit" / "eval" / "report.html").read_text()


@pytest.mark.parametrize(
    "line", re.findall(r"^    python -m wsol\.prepare (\S+)(.*?)(?:#.*)?$", DOCS.read_text(), re.M)
)
def test_every_documented_prepare_line_is_legal(line: tuple[str, str]) -> None:
    from wsol.prepare import parse

    name, options = line
    if name != "NAME":
        words = shlex.split(options.split("  ")[0])
        assert parse([name, *words])[0] in COMMANDS


def test_every_card_is_documented() -> None:
    text = DOCS.read_text()
    for card in known_cards().values():
        assert card.prepare.split()[3] in text
