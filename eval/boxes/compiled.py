"""How the kernels are compiled, and where the compiled code is kept: never in the installation."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numba
from numba import njit


def _cache_folder() -> str:
    """The user's cache folder; where nothing can be written there, one of this process alone."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    folder = Path(base) / "wsol-eval" / "numba"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK | os.X_OK)
    except OSError:
        writable = False
    if writable:
        return str(folder)
    # Numba unpickles what it finds, so a folder that others may write to is not an option.
    private = tempfile.mkdtemp(prefix="wsol-eval-")
    atexit.register(shutil.rmtree, private, ignore_errors=True)
    return private


_settings: Any = numba.config
if not _settings.CACHE_DIR:  # unless the user has set NUMBA_CACHE_DIR
    _settings.CACHE_DIR = _cache_folder()

_njit: Any = njit  # its type hints do not know all of its options
compiled: Any = functools.partial(_njit, nogil=True, cache=True)
"""For functions that Python calls: compiled on first use, without the GIL, kept for later processes."""

# For functions that only compiled code calls. They are compiled into the entry points, whose cache is the only one,
# and without the wrappers for Python, which saves a third of the time.
compiled_helper: Any = _njit(nogil=True, no_cpython_wrapper=True, no_cfunc_wrapper=True)


def is_kept(function: Any) -> bool:
    """Whether an earlier process has left a compiled function's code in the cache."""
    name = function.py_func.__name__
    return any(Path(function.stats.cache_path).glob(f"*{name}*.nbi"))
