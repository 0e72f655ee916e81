"""Every door of docs/security.md: valid files, how they are broken, and how the commands read them.

`doors(folder)` is the table; `benchmarks.fuzz_doors` runs it.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.doors.archives import archives
from benchmarks.doors.arrays_and_weights import arrays_and_weights
from benchmarks.doors.door import Door
from benchmarks.doors.images import images
from benchmarks.doors.own_records import own_records
from benchmarks.doors.texts import texts

__all__ = ["Door", "doors"]


def doors(folder: Path) -> list[Door]:
    """Every door; `folder` keeps what files of our own lie beside."""
    return [*texts(), *own_records(folder), *arrays_and_weights(), *images(), *archives()]
