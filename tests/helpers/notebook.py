"""The code cells of a notebook, one after the other: `python -m tests.helpers.notebook docs/first_look.ipynb`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def run_cells(notebook: Path) -> dict[str, Any]:
    """Run every code cell in turn; returns the names that they leave."""
    names: dict[str, Any] = {}
    for cell in json.loads(notebook.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    return names


if __name__ == "__main__":
    run_cells(Path(sys.argv[1]))
