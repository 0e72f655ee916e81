"""`--help` and `--version` of every command: complete, in sections, at any width."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from typing import Any

import pytest

from eval.comparison.config import CompareConfig
from eval.evaluation.config import LocalizeConfig
from wsol import __version__
from wsol.command_help import help_text
from wsol.command_line import program
from wsol.datasets.commands import COMMANDS
from wsol.training.config import TrainConfig

CONFIGS = (LocalizeConfig, CompareConfig, TrainConfig)


@pytest.mark.parametrize("config", CONFIGS)
@pytest.mark.parametrize("width", [50, 80, 200])
def test_every_option_is_described_within_the_width(config: Any, width: int) -> None:
    text = help_text(config, "command", width=width)
    for field in dataclasses.fields(config):
        flag = field.name.replace("_", "-")
        assert f"--{flag}" in text or f"--[no-]{flag}" in text or field.name.removesuffix("s").upper() in text
    assert max(map(len, text.splitlines())) <= max(width, 60)
    for unwanted in ("{None}", "(default: None)", "(default: )", "STR"):
        assert unwanted not in text


@pytest.mark.parametrize("layout", COMMANDS)
def test_every_option_of_a_layout_is_described(layout: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        importlib.import_module("wsol.prepare").main([layout, "--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: python -m wsol.prepare {layout} [options]\n")
    assert text.index("\nsource and manifest\n") < text.index("  --source")
    for unwanted in ("None", "(default: )", "STR", "\noptions\n", ".."):
        assert unwanted not in text.replace("...", "")
    options = [line for line in text.splitlines() if line.startswith("  --")]
    assert len({line.split()[0] for line in options}) == len(options)
    lines = text.splitlines()
    for i, line in enumerate(lines):  # a description beside or below each
        assert not line.startswith("  --") or len(line) > 26 or lines[i + 1].startswith(" " * 26)


def test_prepare_lists_its_layouts(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        importlib.import_module("wsol.prepare").main(["--help"])
    text = capsys.readouterr().out
    assert [
        line.split()[0] for line in text.splitlines() if line.startswith("  ") and line[2] != " "
    ] == list(COMMANDS)


def test_options_stand_in_the_sections_of_the_source() -> None:
    text = help_text(TrainConfig, "train_cutmix.py", width=100)
    assert text.index("\ndata\n") < text.index("--dataset") < text.index("\nnetwork\n") < text.index("--arch")
    words = " ".join(text.split())
    assert "Passes over the training images; the last epoch's weights are the result (default: 20)." in words
    assert words.count("(default: size * 256 / 224)") == 1


@pytest.mark.parametrize(
    "module",
    [
        "eval.localize",
        "eval.compare",
        "eval.grid_game",
        "eval.realistic.__main__",
        "eval.results_table.__main__",
        "eval.propose",
        "eval.overview.__main__",
        "eval.power.__main__",
        "eval.study.__main__",
        "eval.export.__main__",
        "eval.protocols.__main__",
        "wsol.prepare",
        "wsol.export",
    ],
)
def test_version(module: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        importlib.import_module(module).main(["--version"])
    assert end.value.code == 0
    assert capsys.readouterr().out == f"wsol-eval {__version__}\n"


def test_a_console_script_calls_itself_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/wsol-localize"])
    assert program("eval.localize") == "wsol-localize"
