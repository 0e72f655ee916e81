"""Where a number comes from: versions, the checkout's commit, and the command as typed."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any


def software_versions() -> dict[str, str]:
    """Versions of Python and of the libraries that decide numbers; those not installed are left out."""
    found = {"python": platform.python_version()}
    for name in ("wsol-eval", "torch", "torchvision", "timm", "numpy", "Pillow", "safetensors"):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def git_state() -> dict[str, Any] | None:
    """Commit of this project's checkout and whether files differ from it; None outside a git checkout."""
    here = Path(__file__).resolve().parents[2]

    def ask(*arguments: str) -> str:
        command = ["git", "-C", str(here), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        if not (here / ".git").exists():
            return None
        return {
            "sha": ask("rev-parse", "HEAD"),
            "dirty": bool(ask("status", "--porcelain", "--untracked-files=no")),
        }
    except (OSError, subprocess.SubprocessError):
        return None


def command_line() -> list[str]:
    """The command as typed, without the interpreter; of `python -m PACKAGE` the package's name."""
    file = Path(sys.argv[0])
    return [file.parent.name if file.name == "__main__.py" else file.name, *sys.argv[1:]]
