"""Two runs, one a side, and a sentence on these runs: how often it is false."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from benchmarks.coverage.populations import POPULATION, full_image_hits, planted_hits
from benchmarks.coverage.sample import (
    CHOOSING,
    PARTS,
    RESAMPLES,
    Curves,
    Rng,
    Row,
    choosing_curves,
    law_and_member,
    sampled,
    truth,
    truth_of_hits,
    weights,
)
from eval.statistics.components import Sampled
from eval.statistics.counts import least_variance
from eval.statistics.law import ALPHA, Law
from eval.statistics.multiplicity import Member, max_t

_COLUMNS = (25, 51, 90)
"""Fixed thresholds: 0.1, 0.2 and 0.4 (0.353)."""


def two_runs(images: int, *, names: tuple[str, str] = ("wide", "wide")) -> Callable[[Rng, int], Row]:
    """Misses of the paired difference of two runs on the same images: each protocol alone and, for each size of
    train-fullsup, any of seven after max-T.

    Two draws of one method's maps are two runs between which next to nothing is to be found on the whole population;
    what there is, is known, and the test is of that.
    """
    own = [number if names[0] == names[1] else 0 for number in range(2)]
    draws = [planted_hits(name, draw) for name, draw in zip(names, own)]

    def real(protocol: str, choosing: int | None) -> float:
        a, b = (truth(name, protocol, choosing, draw) for name, draw in zip(names, own))
        return b - a

    def once(rng: Rng, number: int) -> Row:
        rows = rng.integers(0, POPULATION, images)
        tests = [Curves.of([h[rows] for h in hits], weights(images, number)) for hits in draws]
        least = least_variance(images)
        found: Row = {}
        family: list[Member] = []

        def test(a: Sampled, b: Sampled, true: float, name: str, members: list[Member]) -> None:
            law, member = law_and_member(a, b, images, least)
            found[name] = 100 * (law.p_value(true) < ALPHA)
            members.append(_of_the_truth(member, law, true))

        for column in _COLUMNS:
            a, b = (
                Sampled.of([float(t.whole[0][column])], [t.resampled[0][:, column].astype(np.float64)])
                for t in tests
            )
            true = 100 * float(draws[1][0][:, column].mean() - draws[0][0][:, column].mean())
            test(a, b, true, f"fixed at {column / 255:.1f}", family)
        for protocol, part in PARTS:
            a, b = (sampled(t.best(part)) for t in tests)
            test(a, b, real(protocol, None), f"oracle {protocol}", family)
        for choosing in CHOOSING:
            others = choosing_curves(rng, choosing, number, *draws)
            whole = list(family)
            for protocol, part in PARTS:
                a, b = (sampled(t.at_best_of(o, part)) for t, o in zip(tests, others))
                test(a, b, real(protocol, choosing), f"transferred {protocol} from {choosing}", whole)
            found[f"any of 7, max-T, from {choosing}"] = 100 * (min(max_t(whole)) < ALPHA)
            found[f"any of 7, alone, from {choosing}"] = 100 * (min(t.p_value for t in whole) < ALPHA)
        return found

    return once


def _of_the_truth(member: Member, law: Law, true: float) -> Member:
    """The test of the true difference instead of that of 0: it may reject by mistake only."""
    return Member(law.p_value(true), member.components, member.resampled)


def against_full_image(images: int) -> Callable[[Rng, int], Row]:
    """Misses of the difference between an oracle protocol and a control without a threshold, where no optimism
    cancels; and what the percentiles of the resamples' maxima would miss."""
    method, control = planted_hits("wide"), full_image_hits()

    def once(rng: Rng, number: int) -> Row:
        rows = rng.integers(0, POPULATION, images)
        test, box = (
            Curves.of([h[rows] for h in hits], weights(images, number)) for hits in (method, control)
        )
        found: Row = {}
        for protocol, part in PARTS:
            real = truth("wide", protocol) - truth_of_hits(control[part])
            a, b = box.best(part), test.best(part)
            law, _ = law_and_member(sampled(a), sampled(b), images, least_variance(images))
            found[f"oracle {protocol}"] = 100 * (law.p_value(real) < ALPHA)
            maxima = [np.mean([r.max(1) for r in t.resampled[part]], axis=0) for t in (box, test)]
            low, high = np.percentile(maxima[1] - maxima[0], [2.5, 97.5])
            found[f"oracle {protocol}, percentiles"] = 100.0 * (not low <= real <= high)
        return found

    return once


def rare(disagreements: int, images: int = 500) -> Callable[[Rng, int], Row]:
    """Misses where two runs disagree on few images."""

    def once(rng: Rng, number: int) -> Row:
        kind = rng.random(images)
        share = disagreements / images
        change = np.where(kind < share / 2, 1.0, np.where(kind < share, -1.0, 0.0)).astype(np.float32)
        boot = 100 * (weights(images, number) @ change) / images
        zero = Sampled.of([0.0], [np.zeros(RESAMPLES)])
        one = Sampled.of([100 * float(change.mean())], [boot.astype(np.float64)])
        law, _ = law_and_member(zero, one, images, least_variance(images))
        return {"misses": 100 * (law.p_value() < ALPHA)}

    return once
