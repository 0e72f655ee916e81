"""How far a long computation is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

SECONDS_BETWEEN_LINES = 30.0


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yields a function that is told, from any thread, how many more images are done."""
    if not sys.stderr.isatty():
        yield Lines(what, total)
        return

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda images: bar.update(task, advance=images)


class Lines:
    """Progress in a file or a pipe: a line on standard error every `every` seconds, none for what is over sooner."""

    def __init__(
        self,
        what: str,
        total: int,
        every: float = SECONDS_BETWEEN_LINES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what, self._total, self._every, self._clock = what, total, every, clock
        self._done = 0
        self._begun = self._said = clock()
        self._lock = threading.Lock()

    def __call__(self, images: int) -> None:
        """So many more are done."""
        with self._lock:
            self._done += images
            now = self._clock()
            if now - self._said < self._every or not self._done:
                return
            self._said = now
            rate = self._done / (now - self._begun)
            left = (self._total - self._done) / rate
            sys.stderr.write(
                f"{self._what}: {self._done} of {self._total} images, {rate:.1f} images/s, about {_rough(left)} left\n"
            )
            sys.stderr.flush()


def _rough(seconds: float) -> str:
    """A time to one unit.

    >>> _rough(40), _rough(200), _rough(9000)
    ('40 s', '3 min', '2.5 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
