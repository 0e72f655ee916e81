"""How far a long computation is: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

SECONDS_BETWEEN_LINES = 30.0
SECONDS_TO_ESTIMATE = 5.0
SECONDS_REMEMBERED = 30.0


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Yields a function that is told, from any thread, how many more images are done."""
    if not sys.stderr.isatty():
        yield Lines(what, total)
        return

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    rate = _Rate()
    with Progress(
        *columns, TextColumn("{task.fields[left]}"), console=Console(stderr=True), transient=True
    ) as bar:
        task = bar.add_task(what, total=total, left="")

        def advance(images: int) -> None:
            found = rate.after(images)
            left = f"about {_rough(max(0, total - rate.done) / found)} left" if found else ""
            bar.update(task, advance=images, left=left)

        yield advance


class _Rate:
    """Images per second of late. What lies before the first report is loading, compiling, or an earlier run's work;
    a second split's earlier work is forgotten after `SECONDS_REMEMBERED`."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self.done = 0
        self._reports: deque[tuple[float, int]] = deque()

    def after(self, images: int) -> float | None:
        """So many more are done; the rate, None where it has been watched for less than `SECONDS_TO_ESTIMATE`."""
        with self._lock:
            self.done += images
            now = self._clock()
            if self.done:
                self._reports.append((now, self.done))
            while len(self._reports) > 2 and self._reports[1][0] <= now - SECONDS_REMEMBERED:
                self._reports.popleft()
            since, first = self._reports[0] if self._reports else (now, 0)
            return (self.done - first) / (now - since) if now - since >= SECONDS_TO_ESTIMATE else None


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
        self._rate = _Rate(clock)
        self._said = clock()
        self._lock = threading.Lock()

    def __call__(self, images: int) -> None:
        """So many more are done."""
        with self._lock:
            rate, now = self._rate.after(images), self._clock()
            if now - self._said < self._every or not self._rate.done:
                return
            self._said = now
            left = max(0, self._total - self._rate.done) / rate if rate else None
            speed = "" if left is None else f", {rate:.1f} images/s, about {_rough(left)} left"
            sys.stderr.write(f"{self._what}: {self._rate.done} of {self._total} images{speed}\n")
            sys.stderr.flush()


def _rough(seconds: float) -> str:
    """A time to one unit.

    >>> _rough(40), _rough(200), _rough(9000)
    ('40 s', '3 min', '2.5 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
