"""Standard output that cannot be written ends no command and leaves no traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import sys
from wsol.errors import run_command
def main():
    for i in range(20_000):
        sys.stdout.write(f"line {i} \\u00e9\\n")
    open("done", "w").close()
sys.exit(run_command(main))
"""


@pytest.mark.parametrize("how", [">&-", "| head -1", ">/dev/full", ">/dev/null"])
@pytest.mark.parametrize("encoding", ["ascii", "utf-8"])
def test_the_work_is_done(tmp_path: Path, how: str, encoding: str) -> None:
    """`train | head -1` once ended the training unsaved."""
    if how == ">/dev/full" and not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    done = subprocess.run(
        ["bash", "-c", f'set -o pipefail; "$0" -c "$1" {how}', sys.executable, SCRIPT],
        cwd=tmp_path,
        env={**os.environ, "PYTHONIOENCODING": encoding, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
    )
    assert (tmp_path / "done").exists()
    assert done.returncode == 0
    full = "note: standard output could not be written (No space left on device); what the command keeps is whole\n"
    assert done.stderr == (full if how == ">/dev/full" else "")
