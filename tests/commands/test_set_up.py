"""What commands do before torch loads: the allocator, and kernels compiled beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from eval.records import compile_ahead

ROOT = Path(__file__).resolve().parents[2]
FAULTS = """
import resource, sys
import numpy as np
from wsol.machine.allocator import keep_freed_memory
assert keep_freed_memory() is (sys.argv[1] == "kept")
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    np.empty(1 << 22)[:] = 1  # 32 MB
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def _faults(expected: str, **environment: str) -> int:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("MALLOC_") and k != "GLIBC_TUNABLES"}
    # without huge pages, so that a fault is a page of 4 KB
    answer = subprocess.run(
        [sys.executable, "-c", FAULTS, expected],
        env={**kept, "NUMPY_MADVISE_HUGEPAGE": "0", **environment},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return int(answer.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc")
def test_freed_memory_is_used_again() -> None:
    """20 arrays of 32 MB in turn: glibc alone pages each in anew (8,192 pages each)."""
    assert _faults("kept") < 2 * 8192 + 1000
    assert _faults("left", MALLOC_ARENA_MAX="4") > 10 * 8192


def test_compiled_code_is_kept_in_the_users_cache_and_never_beside_the_source(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "NUMBA_CACHE_DIR"}
    script = "import numba, eval.boxes.compiled; print(numba.config.CACHE_DIR)"

    def folder(cache: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", script],
            env={**environment, "XDG_CACHE_HOME": cache},
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    assert folder(str(tmp_path)) == str(tmp_path / "wsol-eval" / "numba")
    (tmp_path / "file").write_text("")
    private = folder(str(tmp_path / "file"))
    assert Path(private).name.startswith("wsol-eval-")
    assert not Path(private).exists(), "kept although only this process may use it"


def test_compiling_ahead_is_left_out_where_no_process_can_be_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A read-only installation of another user: the interpreter runs, but may not be started by its path."""
    monkeypatch.setattr(compile_ahead, "is_kept", lambda kernel: False)
    monkeypatch.setattr(compile_ahead, "_underway", [])
    monkeypatch.setattr(sys, "executable", str(tmp_path))
    compile_ahead.compile_ahead()
    compile_ahead.wait_until_compiled()
    assert capfd.readouterr().err == ""


def test_one_process_compiles_ahead_however_often_it_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    """A suite on a new installation had nine at once."""
    begun: list[object] = []
    monkeypatch.setattr(compile_ahead, "is_kept", lambda kernel: False)
    monkeypatch.setattr(compile_ahead, "_underway", [])
    monkeypatch.setattr(subprocess, "Popen", lambda *given, **named: begun.append(given))
    compile_ahead.compile_ahead()
    compile_ahead.compile_ahead()
    assert len(begun) == 1
