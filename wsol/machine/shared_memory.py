"""Shared memory, through which processes that read images hand over batches: too little is seen before the work."""

from __future__ import annotations

import os
from pathlib import Path

from wsol.errors import UserError

_PLACE = Path("/dev/shm")
SHARED_MEMORY_FULL = (
    "shared memory (/dev/shm) is full, so that processes that read images cannot hand over batches; in a container "
    "start it with more (docker run --shm-size 8g), or use fewer --workers, --workers 0, or a smaller --batch-size"
)


def free_shared_memory() -> int | None:
    """Bytes free in shared memory; None where there is no /dev/shm to ask."""
    try:
        found = os.statvfs(_PLACE)
    except (OSError, AttributeError):
        return None
    return found.f_bavail * found.f_frsize


def require_shared_memory(item_bytes: int, workers: int) -> None:
    """`UserError` where batches on their way would not fit: two a worker are made ahead, and one is in use.

    Args:
        item_bytes: size of one batch, in bytes.
        workers: processes that make batches; 0 needs none.
    """
    if not workers:
        return
    free, needed = free_shared_memory(), item_bytes * (2 * workers + 1)
    if free is not None and free < needed:
        raise UserError(
            f"{workers} --workers need about {needed >> 20} MB of shared memory for batches of "
            f"{max(1, item_bytes >> 20)} MB, and /dev/shm has {free >> 20} MB free; in a container start it with more "
            "(docker run --shm-size 8g), or use fewer --workers, --workers 0, or a smaller --batch-size"
        )
