"""Fixtures and reports shared by every test file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.helpers.oracles import ORACLES, REQUIRED, absent, data_folder


@pytest.fixture(scope="session")
def wsol_data() -> Path:
    """Folder with the real archives, or a skip."""
    folder = data_folder()
    if not folder.is_dir():
        pytest.skip(f"the oracle data is absent: WSOL_DATA ('{folder}') is not a folder")
    return folder


def pytest_configure(config: pytest.Config) -> None:
    """Refuse to run without the oracles that must be there."""
    missing = [name for name in absent() if name in REQUIRED]
    if missing and os.environ.get("WSOL_REQUIRE_ORACLES"):
        pytest.exit(f"oracles that this run must have are absent: {', '.join(missing)}", returncode=4)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say which oracles were absent, so that a green run without them is not mistaken for one with them."""
    for name in absent():
        terminalreporter.write_line(f"oracle absent: {name} ({ORACLES[name].checks}); its tests were skipped")
