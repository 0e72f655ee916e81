"""Fixtures shared by every test file: the real data, where it is at hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def wsol_data() -> Path:
    """Folder with the real archives (environment variable WSOL_DATA, else ../shared/data), or a skip."""
    folder = Path(os.environ.get("WSOL_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"real data not at hand: WSOL_DATA ('{folder}') is not a folder")
    return folder
