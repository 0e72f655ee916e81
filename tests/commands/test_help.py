"""`--help` and `--version` of every command: complete, in sections, at any width."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from typing import Any

import pytest

from eval.comparison.config import CompareConfig
from eval.localize_config import LocalizeConfig
from wsol import __version__
from wsol.command_help import help_text
from wsol.command_line import program
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
        "eval.realistic",
        "eval.results_table",
        "eval.propose",
        "eval.overview",
        "eval.power",
        "eval.export",
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
