"""Every command in the README and in docs/ is one that its program accepts today, and every module block runs."""

from __future__ import annotations

import importlib
import re
import shlex
import sys
from pathlib import Path

import pytest

from eval.compare_config import CompareConfig
from eval.export import ExportConfig
from eval.fsl import FslConfig
from eval.localize_config import LocalizeConfig
from eval.overview import OverviewConfig
from eval.report.__main__ import ReportConfig
from eval.search.__main__ import SearchConfig
from eval.show_config import ShowConfig
from eval.study.__main__ import StudyConfig
from wsol.command_line import parse
from wsol.prepare import parse as parse_prepare
from wsol.training.config import parse_config

PROJECT = Path(__file__).resolve().parents[2]
PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]
CONFIGS = {
    "eval.localize": LocalizeConfig,
    "eval.compare": CompareConfig,
    "eval.overview": OverviewConfig,
    "eval.report": ReportConfig,
    "eval.export": ExportConfig,
    "eval.show": ShowConfig,
    "eval.fsl": FslConfig,
    "eval.study": StudyConfig,
    "eval.search": SearchConfig,
}
_MODULE = r"(eval\.\w+|wsol\.\w+|train_cutmix\.py|benchmarks\.\w+)"
_LAUNCHER = r"(?:python (?:-m )?|(?:srun )?torchrun (?:--standalone |--[\w-]+ \S+ )*(?:-m )?)"
_COMMAND = re.compile(rf"^(?:    )?(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?{_LAUNCHER}{_MODULE}(.*)$")


def _commands() -> list[tuple[str, str, str]]:
    found = []
    for page in PAGES:
        for line in page.read_text().splitlines():
            match = _COMMAND.match(line)
            if match:
                found.append((page.name, match[1], re.split(r"\s{2,}#|\s#\s", match[2])[0].strip()))
    return found


def test_commands_are_found() -> None:
    found = _commands()
    assert len(found) > 60
    assert {module for _, module, _ in found} >= {*CONFIGS, "wsol.prepare", "train_cutmix.py"}


@pytest.mark.parametrize(("page", "module", "options"), sorted(set(_commands())))
def test_a_documented_command_is_accepted(
    page: str, module: str, options: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", [module])
    words = shlex.split(options.replace("...", "").replace("--seed S", "--seed 0"))
    if module in CONFIGS:
        parse(CONFIGS[module], module, words)
    elif module == "train_cutmix.py":
        parse_config([w for w in words if w != "--config" and w != "mine.yaml"])
    elif module == "wsol.prepare":
        if words[0] != "NAME":
            parse_prepare([w for w in words if w not in ("[--out", "data_manifests/NAME]")])
    else:
        importlib.import_module(module)


def test_the_readme_is_short_and_its_links_lead_somewhere() -> None:
    text = (PROJECT / "README.md").read_text()
    assert len(text.splitlines()) <= 120
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
