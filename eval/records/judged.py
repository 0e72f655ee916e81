"""What is judged, whatever it is: something that gives records of a split. `eval.records.judged_maps` has score maps,
`eval.records.controls` the controls."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from eval.boxes.frames import Frame
    from eval.maps.source import MapSource
    from eval.records.store import Records
    from eval.records.wanted import Wanted
    from wsol.machine.distributed import World
    from wsol.manifest import Split


@dataclass(frozen=True)
class Work:
    """Where and how records are made: the results' folder, this process among others, threads, who is told."""

    folder: Path
    world: World
    threads: int | None
    advance: Callable[[int], None]
    discard_results: Callable[[], None] = lambda: None
    """Called before records are made anew: results never stand beside records that are not theirs."""


@dataclass(frozen=True)
class JudgedRecords:
    """A split's records. `surplus` names what belongs to none of its images; `shared`: it may belong to another
    split's."""

    records: Records
    surplus: tuple[str, ...] = ()
    shared: bool = False


class Judged(Protocol):
    """What is judged."""

    def covers(self, split: Split, role: str) -> bool:
        """Whether it says something about the images of a split, so that thresholds can be chosen there."""
        ...

    def records(self, split: Split, role: str, wanted: Wanted, work: Work) -> JudgedRecords:
        """Records of a split, by role; made where they are not there. `UserError` where nothing can be scored."""
        ...

    def maps(self, split: Split, role: str, folder: Path, frame: Frame) -> MapSource | None:
        """Its score maps of a split, for pictures; None where it has none."""
        ...
