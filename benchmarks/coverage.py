"""How often the evaluation's intervals hold the truth, its verdicts are false, and its planner's power comes true:
simulated on populations of known truth (benchmarks/simulated.py) through the functions of eval/statistics.

    python -m benchmarks.coverage                                 1,000 simulations a cell and more (about an hour)
    python -m benchmarks.coverage --simulations 200 --only runs
    python -m benchmarks.coverage --json coverage.json            each cell is written as it is finished

docs/statistics.md holds the table. Every cell has a seed of its own, made of --seed and its name, so that one cell can
be run again alone.
"""

from __future__ import annotations

import argparse
import functools
import json
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.simulated import (
    METHODS,
    POPULATION,
    Hits,
    Runs,
    full_image_hits,
    pixel_histograms,
    planted_hits,
)
from eval.metrics.pixels import average_precision
from eval.statistics.clusters import cluster_weights
from eval.statistics.components import Components, RunPart, Sampled, components_of
from eval.statistics.counts import least_variance, score_interval
from eval.statistics.law import ALPHA, Law
from eval.statistics.multiplicity import Member, max_t, simultaneous_band
from eval.statistics.planning import Pilot, Side, power
from eval.statistics.prediction import new_pair
from eval.statistics.selection import CHOOSING_DRAWS, AtChosen, oracle, transferred

RESAMPLES = 500
_POOL = 6
Rng = np.random.Generator
Row = dict[str, float]
"""What one simulation gives, by quantity; a cell is the mean over simulations."""


@functools.cache
def weights(images: int, resamples: int = RESAMPLES, draws: float = 1.0) -> list[npt.NDArray[np.float32]]:
    """A few matrices of bootstrap weights [resamples, images] that sum to about `images`; simulations take turns."""
    rng = np.random.default_rng([7, images, resamples])
    count = int(draws * images)
    even = np.full(images, 1 / images)
    return [(rng.multinomial(count, even, resamples) / draws).astype(np.float32) for _ in range(_POOL)]


@dataclass(frozen=True)
class Curves:
    """Accuracy curves in percent of a sample, for each IoU threshold: [T], [B, T] resampled, [B', T] out of bag."""

    whole: list[npt.NDArray[np.float64]]
    resampled: list[npt.NDArray[np.float64]]
    out_of_bag: list[npt.NDArray[np.float64]]

    @classmethod
    def of(cls, hits: Sequence[Hits], weight: npt.NDArray[np.float32], outside: int = 100) -> Curves:
        n = len(hits[0])
        left = (weight[:outside] == 0).astype(np.float32)
        count = left.sum(1, keepdims=True)
        return cls(
            [100 * h.mean(0, dtype=np.float64) for h in hits],
            [((weight @ h) * (100 / n)).astype(np.float64) for h in hits],
            [((left @ h) * (100 / count)).astype(np.float64) for h in hits] if outside else [],
        )


def _part(hits: Sequence[Hits], protocol: str) -> list[Hits]:
    """Of a population's hits those of the largest contour (V1) or of all contours (V2)."""
    return [hits[0]] if protocol.endswith("V1") else list(hits[1:])


def _truth(hits: Sequence[Hits], choosing: int | None = None) -> float:
    """The population's best accuracy; with `choosing` the mean of that at a threshold chosen on so many images."""
    whole = [100 * h.mean(0, dtype=np.float64) for h in hits]
    if choosing is None:
        return float(np.mean([c.max() for c in whole]))
    rng = np.random.default_rng(choosing)
    found = []
    for _ in range(10_000 if choosing <= 100 else 1_000):
        rows = rng.integers(0, POPULATION, choosing)
        found.append(np.mean([c[h[rows].mean(0).argmax()] for c, h in zip(whole, hits)]))
    return float(np.mean(found))


_truth_of = functools.cache(
    lambda name, protocol, choosing=None, draw=0: _truth(_part(planted_hits(name, draw), protocol), choosing)
)


def _inside(interval: tuple[float, float], truth: float) -> float:
    return 100.0 * (interval[0] <= truth <= interval[1])


# --- one run's interval -------------------------------------------------------------------------------------------


def single(name: str, images: int, choosing: int) -> Callable[[Rng, int], Row]:
    """Coverage of one run's intervals: fixed, oracle and transferred thresholds."""
    population = planted_hits(name)
    column = 51  # threshold 0.2
    fixed = 100 * float(population[0][:, column].mean())

    def once(rng: Rng, number: int) -> Row:
        weight = weights(images)[number % _POOL]
        rows, chosen = rng.integers(0, POPULATION, images), rng.integers(0, POPULATION, choosing)
        test = Curves.of([h[rows] for h in population], weight)
        other = Curves.of(
            [h[chosen] for h in population], weights(choosing, draws=CHOOSING_DRAWS)[number % _POOL], 0
        )
        at = test.resampled[0][:, column]
        found = {
            "fixed": _inside(score_interval(float(test.whole[0][column]), float(at.var()), images), fixed)
        }
        for protocol, part in (("V1", slice(0, 1)), ("V2", slice(1, 4))):
            best = oracle(test.whole[part], test.resampled[part], test.out_of_bag[part])
            truth = _truth_of(name, protocol)
            found[f"oracle {protocol}"] = _inside(score_interval(best.centre, best.variance, images), truth)
            found[f"oracle {protocol}, percentiles"] = _inside(
                tuple(np.percentile(best.resampled, [2.5, 97.5])), truth
            )
            moved = transferred(
                test.whole[part], test.resampled[part], other.whole[part], other.resampled[part]
            )
            found[f"transferred {protocol}"] = _inside(
                score_interval(moved.value, moved.variance, images), _truth_of(name, protocol, choosing)
            )
        return found

    return once


def pixels(images: int) -> Callable[[Rng, int], Row]:
    """Coverage of the interval of PxAP."""
    inside, outside = pixel_histograms()
    truth = float(average_precision(inside.sum(0, dtype=np.float64), outside.sum(0, dtype=np.float64)))

    def once(rng: Rng, number: int) -> Row:
        rows = rng.integers(0, POPULATION, images)
        weight = weights(images)[number % _POOL]
        a, b = inside[rows], outside[rows]
        value = float(average_precision(a.sum(0, dtype=np.float64), b.sum(0, dtype=np.float64)))
        boot = average_precision((weight @ a).astype(np.float64), (weight @ b).astype(np.float64))
        return {"pxap": _inside(Law(value, float(boot.var(ddof=1)), images - 1).interval(), truth)}

    return once


def edges(percent: float, images: int) -> Callable[[Rng, int], Row]:
    """Coverage of one run's interval at a share near 0: the score interval, and percentiles beside it."""

    def once(rng: Rng, number: int) -> Row:
        hit = (rng.random(images) < percent / 100).astype(np.float32)
        boot = 100 * (weights(images)[number % _POOL] @ hit) / images
        return {
            "score interval": _inside(
                score_interval(100 * float(hit.mean()), float(boot.var()), images), percent
            ),
            "percentiles": _inside(tuple(np.percentile(boot, [2.5, 97.5])), percent),
        }

    return once


# --- two runs, a sentence on these runs ---------------------------------------------------------------------------


def _sampled(found: AtChosen) -> Sampled:
    return Sampled.of([found.value], [found.resampled], [found.optimism])


def _tested(a: Sampled, b: Sampled, units: int, least: float, *, paired: bool = True) -> tuple[Law, Member]:
    parts = components_of(a, b, paired=paired, units=units, least=least)
    law = parts.law(b.centre - a.centre)
    return law, Member(law.p_value(), parts, b.resampled.mean(0) - a.resampled.mean(0))


def two_runs(
    images: int, choosing: int, *, names: tuple[str, str] = ("wide", "wide")
) -> Callable[[Rng, int], Row]:
    """Misses of the paired difference of two runs on the same images: each protocol alone, and any of them after max-T.
    Two draws of one method's maps are two runs between which nothing is to be found on the whole population."""
    draws = [planted_hits(name, number if names[0] == names[1] else 0) for number, name in enumerate(names)]

    def truth(protocol: str, number: int, rule: int | None) -> float:
        return _truth_of(names[number], protocol, rule, number if names[0] == names[1] else 0)

    def once(rng: Rng, number: int) -> Row:
        rows, chosen = rng.integers(0, POPULATION, images), rng.integers(0, POPULATION, choosing)
        weight = weights(images)[number % _POOL]
        drawn = weights(choosing, draws=CHOOSING_DRAWS)[number % _POOL]
        tests = [Curves.of([h[rows] for h in hits], weight) for hits in draws]
        others = [Curves.of([h[chosen] for h in hits], drawn, 0) for hits in draws]
        found: Row = {}
        family: list[Member] = []
        for column in (25, 51, 90):
            pair = [
                Sampled.of([float(t.whole[0][column])], [t.resampled[0][:, column].astype(np.float64)])
                for t in tests
            ]
            real = 100 * float(draws[1][0][:, column].mean() - draws[0][0][:, column].mean())
            law, tested = _tested(pair[0], pair[1], images, least_variance(images))
            found[f"fixed at {column / 255:.1f}"] = 100 * (law.p_value(real) < ALPHA)
            family.append(_moved(tested, law, real))
        for protocol, part in (("V1", slice(0, 1)), ("V2", slice(1, 4))):
            best = [oracle(t.whole[part], t.resampled[part], t.out_of_bag[part]) for t in tests]
            read = [
                transferred(t.whole[part], t.resampled[part], o.whole[part], o.resampled[part])
                for t, o in zip(tests, others)
            ]
            for rule, pair_of, limit in (("oracle", best, None), ("transferred", read, choosing)):
                real = truth(protocol, 1, limit) - truth(protocol, 0, limit)
                law, tested = _tested(
                    _sampled(pair_of[0]), _sampled(pair_of[1]), images, least_variance(images)
                )
                found[f"{rule} {protocol}"] = 100 * (law.p_value(real) < ALPHA)
                family.append(_moved(tested, law, real))
        found["any of 7, max-T"] = 100 * (min(max_t(family)) < ALPHA)
        found["any of 7, alone"] = 100 * (min(t.p_value for t in family) < ALPHA)
        return found

    return once


def _moved(tested: Member, law: Law, truth: float) -> Member:
    """The test of the true difference instead of that of 0: it may reject by mistake only."""
    return Member(law.p_value(truth), tested.components, tested.resampled)


def against_full_image(images: int) -> Callable[[Rng, int], Row]:
    """Misses of the difference between an oracle protocol and a control without a threshold, where no optimism
    cancels; and what the resampled maxima alone would miss."""
    method, control = planted_hits("wide"), full_image_hits()

    def once(rng: Rng, number: int) -> Row:
        rows = rng.integers(0, POPULATION, images)
        weight = weights(images)[number % _POOL]
        test, box = (Curves.of([h[rows] for h in hits], weight) for hits in (method, control))
        found: Row = {}
        for protocol, part in (("V1", slice(0, 1)), ("V2", slice(1, 4))):
            real = _truth_of("wide", protocol) - _truth(_part(control, protocol))
            a = oracle(box.whole[part], box.resampled[part])
            b = oracle(test.whole[part], test.resampled[part], test.out_of_bag[part])
            law, _ = _tested(_sampled(a), _sampled(b), images, least_variance(images))
            found[f"oracle {protocol}"] = 100 * (law.p_value(real) < ALPHA)
            low, high = np.percentile(b.resampled - a.resampled, [2.5, 97.5])
            found[f"oracle {protocol}, percentiles"] = 100.0 * (not low <= real <= high)
        return found

    return once


def rare(disagreements: int, images: int = 500) -> Callable[[Rng, int], Row]:
    """Misses where two runs disagree on few images."""

    def once(rng: Rng, number: int) -> Row:
        kind = rng.random(images)
        share = disagreements / images
        change = np.where(kind < share / 2, 1.0, np.where(kind < share, -1.0, 0.0)).astype(np.float32)
        boot = 100 * (weights(images)[number % _POOL] @ change) / images
        zero = Sampled.of([0.0], [np.zeros(RESAMPLES)])
        law, _ = _tested(
            zero,
            Sampled.of([100 * float(change.mean())], [boot.astype(np.float64)]),
            images,
            least_variance(images),
        )
        return {"misses": 100 * (law.p_value() < ALPHA)}

    return once


# --- several seeds, a sentence on methods --------------------------------------------------------------------------


def _run_numbers(hits: npt.NDArray[np.float32], weight: npt.NDArray[np.float32]) -> Sampled:
    n = len(hits)
    boot = (100 / n) * (weight @ hits).astype(np.float64)
    return Sampled.of([float(v) for v in 100 * hits.mean(0, dtype=np.float64)], list(boot.T))


def methods(model: Runs, *, paired: bool = True) -> Callable[[Rng, int], Row]:
    """Verdicts on methods: how often 0 is rejected, what the variance components are on average, and how often a
    further pair of runs falls into its predicted interval."""
    further = Runs(
        (model.runs[0] + 1, model.runs[1] + 1),
        model.run_sd,
        model.effect,
        model.images,
        model.difficulty,
        model.method_image,
    )

    def once(rng: Rng, number: int) -> Row:
        drawn = [h[:, :, 0] for h in further.draw(rng)]
        weight = weights(model.images)[number % _POOL]
        a, b = (_run_numbers(h[:, :-1], weight) for h in drawn)
        new = 100 * float(drawn[1][:, -1].mean() - drawn[0][:, -1].mean())
        law, tested = _tested(a, b, model.images, least_variance(model.images), paired=paired)
        found = {
            "rejected": 100 * (law.p_value() < ALPHA),
            "width": 2 * law.critical() * law.standard_error,
            "image": tested.components.image,
        }
        for k, part in enumerate(tested.components.parts):
            found[f"spread {k}"], found[f"noise {k}"] = part.spread, part.noise
        bet = new_pair(a, b, paired=paired)
        if bet is not None:
            found["new pair inside"] = 100.0 * (bet.low <= new <= bet.high)
            found["other wins, said"] = 100 * bet.probability
            found["other wins"] = 100.0 * (new > 0)
        return found

    return once


def planned(found: Row, model: Runs) -> float:
    """The power in percent that the planner states, from the components that these simulations have on average."""
    sides = [k for k in range(2) if f"spread {k}" in found]
    runs = min(model.runs)
    parts = tuple(RunPart(runs, found[f"spread {k}"], found[f"noise {k}"]) for k in sides)
    pilot = Pilot.of(Components(found["image"], parts, model.images))
    # the mean of max(0, x) is not what the planner is to be given: a run's variance as it is in the model
    run = [(found[f"spread {k}"] - found[f"noise {k}"]) * runs for k in sides]
    pilot = Pilot(pilot.image, tuple(Side(max(0.0, r), s.interaction) for r, s in zip(run, pilot.sides)))
    return 100 * power(pilot, model.effect, runs, model.images)


def method_family(model: Runs, cuts: tuple[float, ...]) -> Callable[[Rng, int], Row]:
    """Any false verdict among several decisions on the same runs, after max-T."""

    def once(rng: Rng, number: int) -> Row:
        hits = model.draw(rng, cuts)
        weight = weights(model.images)[number % _POOL]
        family = []
        for k in range(len(cuts)):
            a, b = (_run_numbers(h[:, :, k], weight) for h in hits)
            family.append(_tested(a, b, model.images, least_variance(model.images))[1])
        return {
            "any, max-T": 100 * (min(max_t(family)) < ALPHA),
            "any, alone": 100 * (min(t.p_value for t in family) < ALPHA),
        }

    return once


# --- clusters and curves -------------------------------------------------------------------------------------------


def new_classes(classes: int, each: int = 25) -> Callable[[Rng, int], Row]:
    """Misses of a paired difference where the classes are a sample too: by class, and by image beside it."""
    labels = np.repeat(np.arange(classes), each)
    images = len(labels)

    def once(rng: Rng, number: int) -> Row:
        easy = rng.normal(0, 0.5, classes)[labels] + rng.normal(0, 0.6, images)
        pair = []
        for _ in range(2):
            latent = easy + rng.normal(0, 0.35, classes)[labels] + rng.normal(0, 0.5, images)
            pair.append((latent > -0.25).astype(np.float32)[:, None])
        found: Row = {}
        by_class = next(cluster_weights([labels], RESAMPLES, number))
        for name, weight, units in (
            ("by class", by_class, classes),
            ("by image", weights(images)[number % _POOL], images),
        ):
            share = weight / weight.sum(1, keepdims=True) * images
            a, b = (_run_numbers(h, share) for h in pair)
            law, _ = _tested(a, b, units, least_variance(images))
            found[name] = 100 * (law.p_value() < ALPHA)
        return found

    return once


def bands(images: int) -> Callable[[Rng, int], Row]:
    """How often the simultaneous band holds the whole true curve, of one method and of the difference."""
    draws = [planted_hits(name)[0] for name in METHODS]
    truths = [100 * h.mean(0, dtype=np.float64) for h in draws]

    def once(rng: Rng, number: int) -> Row:
        rows = rng.integers(0, POPULATION, images)
        weight = weights(images)[number % _POOL]
        tests = [Curves.of([h[rows]], weight, 0) for h in draws]
        found: Row = {}
        for name, value, boot, real in (
            ("one method", tests[0].whole[0], tests[0].resampled[0], truths[0]),
            (
                "difference",
                tests[1].whole[0] - tests[0].whole[0],
                tests[1].resampled[0] - tests[0].resampled[0],
                truths[1] - truths[0],
            ),
        ):
            variance = boot.var(0, ddof=1) + least_variance(images)
            band = simultaneous_band(value, boot, variance, np.inf)
            found[name] = 100.0 * bool(((band.low <= real) & (real <= band.high)).all())
        return found

    return once


# --- the table -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cell:
    """One line of the table: what is simulated, and how often at `weight` times the simulations asked for."""

    name: str
    make: Callable[[], Callable[[Rng, int], Row]]
    weight: int = 1
    model: Runs | None = None


def _cells() -> list[Cell]:
    cells = []
    for images in (100, 500, 2000):
        for choosing in (20, 100, 1000):
            for name in METHODS:
                cells.append(
                    Cell(
                        f"interval of one run: {name}, {images} images, train-fullsup {choosing}",
                        functools.partial(single, name, images, choosing),
                    )
                )
        cells.append(Cell(f"interval of one run: pxap, {images} images", functools.partial(pixels, images)))
        for choosing in (20, 100, 1000):
            cells.append(
                Cell(
                    f"one run a side: {images} images, train-fullsup {choosing}",
                    functools.partial(two_runs, images, choosing),
                )
            )
    cells.append(
        Cell(
            "one run a side: wide against sharp, 500 images, train-fullsup 250",
            functools.partial(two_runs, 500, 250, names=("wide", "sharp")),
        )
    )
    cells += [Cell(f"edge: 1 %, {n} images", functools.partial(edges, 1.0, n), 5) for n in (100, 500)]
    cells += [
        Cell(f"full image: oracle against it, {n} images", functools.partial(against_full_image, n))
        for n in (100, 500)
    ]
    cells += [
        Cell(f"rare: {k} disagreements of 500", functools.partial(rare, k), 5) for k in (2, 5, 10, 20, 80)
    ]
    for runs in (3, 5, 8):
        for spread in (0.0, 1.0, 2.0):
            for effect in (0.0, 2.0, 4.0):
                for paired in (True, False):
                    if not paired and effect:
                        continue
                    model = Runs((runs, runs), spread, effect)
                    how = "paired" if paired else "unpaired"
                    cells.append(
                        Cell(
                            f"seeds: {runs} a side, run SD {spread:g}, true difference {effect:g}, {how}",
                            functools.partial(methods, model, paired=paired),
                            1 if effect else 3,
                            model,
                        )
                    )
    for counts in ((8, 3), (3, 5)):
        model = Runs(counts, 1.0)
        cells.append(
            Cell(
                f"seeds: {counts[0]} against {counts[1]}, run SD 1, true difference 0, unpaired",
                functools.partial(methods, model, paired=False),
                5,
                model,
            )
        )
    cuts = (-0.6, -0.3, -0.1, 0.0, 0.1, 0.3, 0.6)
    cells += [
        Cell(
            f"family: 7 protocols, {runs} seeds a side, run SD {spread:g}",
            functools.partial(method_family, Runs((runs, runs), spread, images=1000), cuts),
            2,
        )
        for runs in (3, 5)
        for spread in (0.0, 1.0, 2.0)
    ]
    cells += [Cell(f"clusters: {c} classes of 25", functools.partial(new_classes, c), 2) for c in (10, 40)]
    cells += [Cell(f"bands: {n} images", functools.partial(bands, n)) for n in (100, 500)]
    return cells


CELLS: tuple[Cell, ...] = tuple(_cells())


def simulate(cell: Cell, simulations: int, seed: int = 0) -> Row:
    """The means over simulations of one cell."""
    once = cell.make()
    rng = np.random.default_rng([seed, zlib.crc32(cell.name.encode())])
    rows = [once(rng, number) for number in range(simulations * cell.weight)]
    found = {key: float(np.mean([r[key] for r in rows])) for key in rows[0]}
    if cell.model is not None and cell.model.effect and "spread 0" in found:
        found["planner says"] = planned(found, cell.model)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, a line a cell; with --json write it too, cell by cell."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--simulations", type=int, default=1000)
    parser.add_argument("--only", default="", help="only cells whose name holds this text")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="file that gets every finished cell")
    options = parser.parse_args(arguments)
    done: list[dict[str, Any]] = []
    for cell in (c for c in CELLS if options.only in c.name):
        start = time.perf_counter()
        found = simulate(cell, options.simulations, options.seed)
        took = time.perf_counter() - start
        count = options.simulations * cell.weight
        words = "  ".join(f"{k} {v:.1f}" for k, v in found.items())
        print(f"{cell.name} ({count:,} simulations, {took:.0f} s)\n    {words}", flush=True)
        done.append({"cell": cell.name, "simulations": count, "seed": options.seed, **found})
        if options.json is not None:
            options.json.write_text(json.dumps(done, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
