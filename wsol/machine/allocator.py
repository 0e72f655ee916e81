"""glibc's memory allocator, told to keep what it has been given: a quarter of a forward pass on a Linux CPU.

By default glibc gives every large block back to the kernel when it is freed and asks for it again at the next layer, so
that each activation is paged in and zeroed anew. Kept, the pages are there already. Measured by `eval.localize` on 192
photographs (docs/performance.md); results are equal to the last digit.
"""

from __future__ import annotations

import ctypes
import os
import sys

_M_TRIM_THRESHOLD = -1
_M_MMAP_MAX = -4
_LARGEST = 2**31 - 1  # bytes; mallopt takes an int


def keep_freed_memory() -> bool:
    """Let this process, and those forked from it, keep freed memory for its next allocation. True where that was done.

    Only on Linux with glibc, and not where the user has chosen settings of their own (`MALLOC_...`, `GLIBC_TUNABLES`).
    Call it before torch allocates anything.
    """
    chosen = any(name.startswith("MALLOC_") or name == "GLIBC_TUNABLES" for name in os.environ)
    if not sys.platform.startswith("linux") or chosen:
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_MAX, 0)) and bool(mallopt(_M_TRIM_THRESHOLD, _LARGEST))


def set_up_process() -> None:
    """What a command that computes asks of its process before torch loads: memory as above, and threads that wait
    without occupying a core."""
    keep_freed_memory()
    # GNU OpenMP's threads spin without bound while they wait; where another program (or the box kernel) wants the core,
    # a step then takes up to twenty times as long. A short spin is as fast on idle cores. Read when torch loads.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
