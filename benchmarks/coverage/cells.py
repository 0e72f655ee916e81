"""The table: every cell with its name, what it simulates and how often."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.coverage.bands import bands
from benchmarks.coverage.groups import SIZES, interaction, kinds_of_error, new_classes
from benchmarks.coverage.one_run import edges, pixels, single
from benchmarks.coverage.populations import METHODS, Runs
from benchmarks.coverage.sample import Rng, Row
from benchmarks.coverage.several_seeds import method_family, methods, planned
from benchmarks.coverage.two_runs import against_full_image, rare, two_runs

_SPREADS = (0.0, 1.0, 2.0)


@dataclass(frozen=True)
class Cell:
    """One line of the table: what is simulated, and how often at `weight` times the simulations asked for."""

    name: str
    make: Callable[[], Callable[[Rng, int], Row]]
    weight: int = 1
    model: Runs | None = None


def _one_run() -> Iterator[Cell]:
    for images in (100, 500, 2000):
        for name in METHODS:
            yield Cell(
                f"interval of one run: {name}, {images} images", functools.partial(single, name, images)
            )
        yield Cell(f"interval of one run: pxap, {images} images", functools.partial(pixels, images))
    for n in (100, 500):
        yield Cell(f"edge: 1 %, {n} images", functools.partial(edges, 1.0, n), 5)


def _two_runs() -> Iterator[Cell]:
    for images in (100, 500, 2000):
        yield Cell(f"one run a side: {images} images", functools.partial(two_runs, images))
    unlike = functools.partial(two_runs, 500, names=("wide", "sharp"))
    yield Cell("one run a side: wide against sharp, 500 images", unlike)
    for n in (100, 500):
        yield Cell(f"full image: oracle against it, {n} images", functools.partial(against_full_image, n))
    for k in (2, 5, 10, 20, 80):
        yield Cell(f"rare: {k} disagreements of 500", functools.partial(rare, k), 5)


def _seeds() -> Iterator[Cell]:
    for runs in (3, 5, 8):
        for spread in _SPREADS:
            for effect, paired in ((0.0, True), (0.0, False), (2.0, True), (4.0, True)):
                model = Runs((runs, runs), spread, effect)
                yield Cell(
                    f"seeds: {runs} a side, run SD {spread:g}, true difference {effect:g}, "
                    + ("paired" if paired else "unpaired"),
                    functools.partial(methods, model, paired=paired),
                    1 if effect else 3,
                    model,
                )
    for counts in ((8, 3), (3, 5)):
        model = Runs(counts, 1.0)
        yield Cell(
            f"seeds: {counts[0]} against {counts[1]}, run SD 1, true difference 0, unpaired",
            functools.partial(methods, model, paired=False),
            5,
            model,
        )


def _families() -> Iterator[Cell]:
    for runs in (3, 5):
        for spread in _SPREADS:
            model = Runs((runs, runs), spread, images=1000)
            yield Cell(
                f"family: 7 protocols, {runs} seeds a side, run SD {spread:g}",
                functools.partial(method_family, model),
            )
    for runs in (1, 3, 5):
        # a sentence on two runs is false only where these two do not differ
        model = Runs((runs, runs), 0.0 if runs == 1 else 1.0, images=1000)
        how = "1 run a side" if runs == 1 else f"{runs} seeds a side, run SD 1"
        yield Cell(f"family: 4 groups of size, {how}", functools.partial(interaction, model, SIZES))
        yield Cell(f"family: 20 classes of 50, {how}", functools.partial(interaction, model, (0.05,) * 20))
        yield Cell(f"family: 6 kinds of error, {how}", functools.partial(kinds_of_error, model))


def _rest() -> Iterator[Cell]:
    for classes in (10, 40):
        yield Cell(f"clusters: {classes} classes of 25", functools.partial(new_classes, classes), 2)
    for n in (100, 500, 2000):
        yield Cell(f"bands: {n} images", functools.partial(bands, n))


CELLS: tuple[Cell, ...] = (*_one_run(), *_two_runs(), *_seeds(), *_families(), *_rest())


def simulate(cell: Cell, simulations: int, seed: int = 0) -> Row:
    """The means over simulations of one cell."""
    once = cell.make()
    rng = np.random.default_rng([seed, zlib.crc32(cell.name.encode())])
    rows = [once(rng, number) for number in range(simulations * cell.weight)]
    found = {key: float(np.mean([r[key] for r in rows])) for key in rows[0]}
    if cell.model is not None and cell.model.effect and "spread 0" in found:
        found["planner says"] = planned(found, cell.model)
    return found
