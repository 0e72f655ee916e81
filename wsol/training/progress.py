"""What a person sees of a run: a bar on a terminal, one line an epoch everywhere."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from wsol.wrapping import wrapped


class Reporter(Protocol):
    """Where a run's messages go."""

    def line(self, text: str) -> None:
        """A message that stays."""
        ...

    def bar(self, title: str, total: int) -> Bar:
        """A new bar, which replaces the one before; `advance` it, `close` it."""
        ...


class Bar(Protocol):
    """Progress of one stretch of work."""

    def advance(self, done: int, note: str = "") -> None:
        """Say how much is done in all, with a short note beside it."""
        ...

    def close(self) -> None:
        """Take the bar away."""
        ...


class _NoBar:
    def advance(self, done: int, note: str = "") -> None:
        pass

    def close(self) -> None:
        pass


class Silent:
    """Says nothing: for processes other than the first, and for tests."""

    def line(self, text: str) -> None:
        pass

    def bar(self, title: str, total: int) -> Bar:
        return _NoBar()


class Plain:
    """Lines on standard output, no bars: for logs and pipes."""

    def line(self, text: str) -> None:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()

    def bar(self, title: str, total: int) -> Bar:
        return _NoBar()


class Terminal:
    """Lines, and under them a moving bar, by rich."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, soft_wrap=True)

    def line(self, text: str) -> None:
        for line in wrapped(text, self._console.width):
            self._console.print(line, markup=False)

    def bar(self, title: str, total: int) -> Bar:
        return _RichBar(self._console, title, total)


class _RichBar:
    def __init__(self, console: object, title: str, total: int) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=30),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            TextColumn("{task.fields[note]}"),
            console=console,  # type: ignore[arg-type]
            transient=True,
            refresh_per_second=5,
        )
        self._task = self._progress.add_task(title, total=total, note="")
        self._progress.start()

    def advance(self, done: int, note: str = "") -> None:
        self._progress.update(self._task, completed=done, note=note)

    def close(self) -> None:
        self._progress.stop()


def reporter(*, first: bool = True) -> Reporter:
    """The reporter that fits: bars on a terminal, plain lines elsewhere, nothing from processes beside the first."""
    if not first:
        return Silent()
    return Terminal() if sys.stdout.isatty() else Plain()


@contextmanager
def progress_bar(report: Reporter, title: str, total: int) -> Iterator[Bar]:
    """A bar that is gone when the body ends, however it ends."""
    bar = report.bar(title, total)
    try:
        yield bar
    finally:
        bar.close()


def duration(seconds: float) -> str:
    """A time in words.

    >>> duration(7.25), duration(95), duration(7322)
    ('7.2 s', '1 min 35 s', '2 h 2 min')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    if seconds < 3600:
        return f"{int(seconds // 60)} min {int(seconds % 60)} s"
    return f"{int(seconds // 3600)} h {int(seconds % 3600 // 60)} min"
