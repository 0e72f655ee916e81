"""Every command and every block of Python in README.md and docs/ runs, page by page, on small files at the paths that
the pages name. What is changed for that, and what is not run, is listed here."""

from __future__ import annotations

import argparse
import contextlib
import importlib
import re
import runpy
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision

from eval import write_comparison
from eval.comparison.config import CompareConfig
from eval.evaluation.config import LocalizeConfig
from eval.metrics.results_json import read_results
from eval.search.__main__ import SearchConfig
from eval.study.__main__ import StudyConfig
from tests.helpers.documented import PAGES, PROJECT, blocks, inline_commands, words_of
from tests.helpers.documented_files import make_documented_files
from tests.helpers.dummy_network import TinyBackbone
from tests.helpers.oracles import oracle
from wsol.cams.registry import MAP_METHODS
from wsol.command_line import parse
from wsol.datasets.cards import known_cards
from wsol.models import NETWORKS, timm_network, torchvision_network
from wsol.training.config import parse_config

APPENDED = {
    "train_cutmix.py": "--epochs 1 --batch-size 8 --size 32 --workers 0 --cache off --device cpu --precision fp32",
    "train_cutmix.py --arch": "--size 64",  # of stride 32: an input of 32 would leave one cell
    "eval.localize": "--device cpu --bootstrap 20 --pictures 2",
    "eval.localize --checkpoint": "--size 64",
    "eval.localize --checkpoint lite0.pth --arch timm:tf_efficientnet_lite0 --dataset dogs10 --map-method": (
        "--map-method cam gradcam layercam --limit 4"
    ),
    "eval.grid_game --checkpoint": "--size 64",
    "eval.compare": "--bootstrap 20 --pictures 4",
    "eval.show": "--device cpu",
    "wsol.prepare parts": "--num-classes 2 --train-per-class 1 --val-per-class 1 --test-per-class 1",
    "wsol.prepare cub200": "--force",  # the audit counts: a small copy is an error
    "wsol.prepare imagenet": "--force",
    "wsol.prepare openimages30k": "--force",
    "wsol.prepare tiny-imagenet": "--force",
    "wsol.prepare wsol-metadata": "--force",
}
"""Options that shorten a command; they follow those of the page and replace them."""

REPLACED = {
    "--nproc-per-node 8": "one process, without torchrun (tests/commands/test_localize_distributed.py starts several)",
    "ResNet-50": "of one narrow block a stage instead of 3, 4, 6, 3 blocks",
    "downloaded weights": "random ones of the same network",
    "figures of a comparison": "drawn on the first page that compares, README.md",
}
"""What stands in for what is too large for a test."""

NOT_RUN = {
    "make demo": ".ci/run runs it",
    "--nnodes": "needs several hosts",
    "scontrol": "needs Slurm",
    "--cluster slurm": "needs Slurm",
    "eval.study": "trains 60 networks; tests/study/test_study_command.py runs a study of four, killed and continued",
    "eval.search": "trains for hours; tests/study/test_search.py runs a small search",
    "--log csv wandb": "needs Weights & Biases; tests/commands/test_while_training.py has it replaced",
    "runs/dino": "needs timm's weights of DINO; tests/training/test_map_methods.py reads such networks",
    **dict.fromkeys(("runs/maps-cub10", "maps-pets3", "tiny10"), "as dogs10's command, which is run"),
    "benchmarks.": "measures for minutes, or simulates for hours; the options are parsed",
}
"""Commands that hold such words are parsed and not run."""

UNRELATED = ("faq.md", "scaling.md")
"""Pages whose commands are answers to different questions, each to be run on its own: in turn they would meet the
runs of those before them."""

TRAINS = ("README.md",)
"""Pages that train what they score; others find runs there."""

PLACEHOLDERS = {
    r"\bMETHOD\b": ("vanilla", "cutmix"),
    r"\bS\b": ("0", "1", "2"),
    r"wsol\.prepare NAME\b": ("wsol.prepare folder",),
    r"\bPATH \[--out data_manifests/NAME\]": ("my_images",),
    r" \.\.\.": ("",),
}
"""What a person puts in for a placeholder; several where the page says so."""

CONFIGS = {
    "eval.localize": LocalizeConfig,
    "eval.compare": CompareConfig,
    "eval.study": StudyConfig,
    "eval.search": SearchConfig,
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory, small: None) -> Path:
    folder = tmp_path_factory.mktemp("documented") / "files"
    folder.mkdir()
    make_documented_files(folder)
    return folder


@pytest.fixture(scope="module")
def small() -> Iterator[None]:
    """A ResNet-50 of four blocks, and random weights in place of a download."""
    monkeypatch = pytest.MonkeyPatch()

    def resnet50(weights: None = None, **options: Any) -> torch.nn.Module:
        return torchvision.models.ResNet(
            torchvision.models.resnet.Bottleneck, [1, 1, 1, 1], width_per_group=8, **options
        )

    def random(name: str) -> dict[str, torch.Tensor]:
        return getattr(torchvision.models, name)(weights=None).state_dict()

    def random_of_timm(arch: str) -> dict[str, torch.Tensor]:
        return timm_network.import_timm().create_model(arch.removeprefix("timm:")).state_dict()

    def timms_resnet50(pretrained: bool = False, **options: Any) -> torch.nn.Module:
        return timm.models.resnet._create_resnet(
            "resnet50",
            pretrained,
            block=timm.models.resnet.Bottleneck,
            layers=[1, 1, 1, 1],
            base_width=8,
            **options,
        )

    timm = oracle("timm")
    monkeypatch.setitem(timm.models._registry._model_entrypoints, "resnet50", timms_resnet50)
    monkeypatch.setattr(torchvision.models, "resnet50", resnet50)
    monkeypatch.setattr(torchvision_network, "weights", random)
    monkeypatch.setattr(timm_network, "weights", random_of_timm)
    yield
    monkeypatch.undo()


@pytest.fixture
def tables() -> Iterator[None]:
    """The tables that pages add entries to, as they were."""
    kept = [(table, dict(table)) for table in (NETWORKS, MAP_METHODS)]
    yield
    for table, entries in kept:
        table.clear()
        table.update(entries)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page(
    page: Path, files: Path, small: None, tables: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    oracle("timm")
    here = tmp_path / "here"
    shutil.copytree(files, here)
    monkeypatch.chdir(here)
    monkeypatch.syspath_prepend(str(here))
    if page.name in TRAINS:
        _without_finished_runs(here / "runs")
    if page.name != "README.md":
        monkeypatch.setattr(write_comparison, "write_figures", lambda comparison, folder: [])
    names, problems = _examples(), list[str]()
    for block in blocks(page):
        for line, command in block.commands:
            if page.name in UNRELATED:
                _begin_again(here, files)
            for filled in _filled(command):
                with _noted(problems, f"{page.name}:{line}: {filled}"), monkeypatch.context() as patch:
                    _run(filled, patch)
        if block.file:
            (here / block.file).write_text(block.text)
        if block.is_python:
            with _noted(problems, f"{page.name}:{block.line}"):
                exec(compile(block.text, f"{block.page}:{block.line}", "exec"), names)
    assert not problems, "\n".join(problems)
    if page.name == "datasets.md":  # a folder of somebody's own: read, trained on, scored, reported
        results = read_results(Path("runs/fruit/eval"))
        assert results["num_images"] == 18
        assert 0 <= results["protocols"]["maxboxacc"]["value"] <= 100
        assert "<html" in Path("runs/fruit/eval/report.html").read_text()


def test_what_is_listed_is_there() -> None:
    """A line of the lists above that no command needs any more is a mistake."""
    commands = [c for page in PAGES for block in blocks(page) for _, c in block.commands]
    assert len(commands) > 90
    for words in NOT_RUN:
        assert any(words in c for c in commands), words
    for prefix in APPENDED:
        assert any(prefix in c for c in commands), prefix


@pytest.mark.parametrize(
    ("page", "command"), sorted({(p.name, c) for p in PAGES for c in inline_commands(p)}), ids=str
)
def test_a_command_within_a_sentence_is_accepted(
    page: str, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _parse_only(words_of(command), monkeypatch)


def test_the_readme_is_short_and_links_lead_somewhere() -> None:
    assert len((PROJECT / "README.md").read_text().splitlines()) <= 120
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_every_card_is_documented() -> None:
    text = (PROJECT / "docs" / "datasets.md").read_text()
    for card in known_cards().values():
        assert card.prepare.split()[3] in text


# --- running --------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _noted(problems: list[str], where: str) -> Iterator[None]:
    """A failure becomes a line that says where the page is wrong."""
    try:
        yield
    except SystemExit as ended:
        if ended.code:
            problems.append(f"{where}: exit code {ended.code}")
    except Exception as error:
        problems.append(f"{where}: {type(error).__name__}: {error}")


def _filled(command: str) -> list[str]:
    """A command with its placeholders filled in, in every way that is meant."""
    found = [command]
    for pattern, values in PLACEHOLDERS.items():
        found = [
            re.sub(pattern, value, c) for c in found for value in values if re.search(pattern, c)
        ] or found
    return found


def _begin_again(here: Path, files: Path) -> None:
    """The folder as it was; what no command of the page writes into stays."""
    for entry in sorted(here.iterdir()):
        if not (files / entry.name).exists():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    for name in ("runs", "RUN", "RUN1", "RUN2", "data_manifests"):
        shutil.rmtree(here / name)
        shutil.copytree(files / name, here / name)


def _without_finished_runs(runs: Path) -> None:
    for run in runs.iterdir():
        if run.name != "killed":
            shutil.rmtree(run)


def _run(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    words = words_of(command)
    if any(part in command for part in NOT_RUN):
        _parse_only(words, monkeypatch)
        return
    module, arguments = _module(words)
    for prefix, more in APPENDED.items():
        if f"{module} {' '.join(arguments)} ".startswith(f"{prefix} ") and "--resume" not in arguments:
            arguments = [*arguments, *more.split()]
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    main = _main(module)
    code = main() if module.startswith(("train", "benchmarks")) else main(arguments)
    if code:
        raise SystemExit(code)


def _module(words: list[str]) -> tuple[str, list[str]]:
    """(program, its arguments), whatever starts it."""
    for k, word in enumerate(words):
        if re.fullmatch(r"train_cutmix\.py|(?:eval|wsol|benchmarks)\.\w+", word):
            return word, words[k + 1 :]
    raise AssertionError(f"no program of this project: {words}")


def _main(module: str) -> Callable[..., int | None]:
    if module == "train_cutmix.py":
        return importlib.import_module("train_cutmix").command
    if module == "benchmarks.localize":
        return lambda: runpy.run_module(module, run_name="__main__") and None
    package = "main" not in vars(importlib.import_module(module))
    return importlib.import_module(f"{module}.__main__" if package else module).main


class _Parsed(Exception):
    """The options were accepted."""


def _parse_only(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    if words[0] == "make" or words[0].startswith("head="):
        return
    module, arguments = _module(words)
    monkeypatch.setattr(sys, "argv", [module, *arguments])
    if arguments == ["--help"] or "NAME" in arguments[:1]:
        return
    if module == "train_cutmix.py":
        parse_config(arguments)
    elif module in CONFIGS:
        if arguments:
            parse(CONFIGS[module], module, arguments)
    elif module.startswith("benchmarks"):
        _parse_benchmark(module, monkeypatch)
    else:
        importlib.import_module(module)


def _parse_benchmark(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The options of a script that measures, which stops behind its own parser."""
    parse_args = argparse.ArgumentParser.parse_args

    def parse_and_stop(parser: argparse.ArgumentParser, args: Any = None, namespace: Any = None) -> Any:
        parse_args(parser, args, namespace)
        raise _Parsed

    if "argparse" not in _main(module).__globals__:
        return  # it takes no options
    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_and_stop)
    with pytest.raises(_Parsed):
        _main(module)()


def _examples() -> dict[str, Any]:
    """What a page's Python takes as given."""
    from torch import nn

    torch.manual_seed(0)
    model = nn.Sequential()
    for name, layer in (
        ("layer3", nn.Conv2d(3, 4, 3, 2, 1)),
        ("layer4", nn.Conv2d(4, 4, 3, 2, 1)),
        ("pool", nn.AdaptiveAvgPool2d(1)),
        ("flat", nn.Flatten()),
        ("fc", nn.Linear(4, 9)),
    ):
        model.add_module(name, layer)
    rng = np.random.default_rng(0)
    return {
        "model": model.eval(),
        "dataset": "data_manifests/fruit",
        "images": torch.zeros((2, 3, 64, 64), dtype=torch.uint8),
        "class_ids": torch.tensor([0, 1]),
        "score_maps": rng.random((2, 64, 64)),
        "your_maps": rng.random((2, 64, 64)),
        "boxes": [np.array([[4, 4, 30, 30]])] * 2,
        "MyBackbone": TinyBackbone,
    }
