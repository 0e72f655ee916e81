"""What the wheel holds: every file that the code reads, and console scripts that exist."""

from __future__ import annotations

import fnmatch
import importlib
import sys
from pathlib import Path

import pytest

from wsol.datasets import catalog
from wsol.datasets.cards import known_cards

PROJECT = Path(__file__).resolve().parents[2]

tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has none")


def test_every_file_beside_the_code_is_package_data() -> None:
    settings = tomllib.loads((PROJECT / "pyproject.toml").read_text())["tool"]["setuptools"]
    patterns = {
        f"{package.replace('.', '/')}/{pattern}"
        for package, found in settings["package-data"].items()
        for pattern in found
    }
    files = [
        str(f.relative_to(PROJECT))
        for folder in ("wsol", "eval")
        for f in (PROJECT / folder).rglob("*")
        if f.is_file() and f.suffix not in (".py", ".pyc", ".nbi", ".nbc")
    ]
    assert len(files) > 10
    assert [f for f in files if not any(fnmatch.fnmatch(f, p) for p in patterns)] == []


def test_console_scripts_name_functions_that_exist() -> None:
    scripts = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]["scripts"]
    assert {"wsol-train", "wsol-localize", "wsol-compare", "wsol-report", "wsol-prepare", "wsol-show"} == set(
        scripts
    )
    for target in scripts.values():
        module, _, function = target.partition(":")
        assert callable(getattr(importlib.import_module(module), function))


def test_an_installation_keeps_datasets_in_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    installed = tmp_path / "site-packages" / "wsol" / "__init__.py"
    (installed.parents[1] / "data_manifests").mkdir(parents=True)
    monkeypatch.setattr(sys.modules["wsol"], "__file__", str(installed))
    assert catalog.manifests_folder() == Path("data_manifests")
    assert "cub200" in known_cards(catalog.manifests_folder())
