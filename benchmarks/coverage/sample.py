"""What simulations share: bootstrap weights, accuracy curves of a sample, and the population's truths."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from benchmarks.coverage.populations import POPULATION, Hits, planted_hits
from eval.statistics.components import Sampled, components_of
from eval.statistics.law import Law
from eval.statistics.multiplicity import Member
from eval.statistics.selection import CHOOSING_DRAWS, AtChosen, oracle, transferred

RESAMPLES = 250
CHOOSING = (20, 100, 1000)
"""Images of train-fullsup that choose a threshold."""
PARTS = (("V1", slice(0, 1)), ("V2", slice(1, 4)))
"""Of a population's hits those of MaxBoxAcc and of MaxBoxAccV2."""
_POOL = 6
Rng = np.random.Generator
Row = dict[str, float]
"""What one simulation gives, by quantity; a cell is the mean over simulations."""


@functools.cache
def _pool(images: int, draws: float) -> list[npt.NDArray[np.float32]]:
    rng = np.random.default_rng([7, images, RESAMPLES])
    count = int(draws * images)
    even = np.full(images, 1 / images)
    return [(rng.multinomial(count, even, RESAMPLES) / draws).astype(np.float32) for _ in range(_POOL)]


def weights(images: int, number: int, draws: float = 1.0) -> npt.NDArray[np.float32]:
    """Bootstrap weights [RESAMPLES, images] that sum to about `images`; simulations take turns with a few matrices,
    because the images that they weigh are drawn anew each time."""
    return _pool(images, draws)[number % _POOL]


@dataclass(frozen=True)
class Curves:
    """Accuracy curves in percent of a sample, for each IoU threshold: [T], [B, T] resampled, [B', T] out of bag."""

    whole: list[npt.NDArray[np.float64]]
    resampled: list[npt.NDArray[np.float64]]
    out_of_bag: list[npt.NDArray[np.float64]]

    @classmethod
    def of(cls, hits: Sequence[Hits], weight: npt.NDArray[np.float32], outside: int = 100) -> Curves:
        """Of the hits [n, T] of a sample; `outside` resamples are also read on the images that they left out."""
        n = len(hits[0])
        left = (weight[:outside] == 0).astype(np.float32)
        count = left.sum(1, keepdims=True)
        return cls(
            [100 * h.mean(0, dtype=np.float64) for h in hits],
            [((weight @ h) * (100 / n)).astype(np.float64) for h in hits],
            [((left @ h) * (100 / count)).astype(np.float64) for h in hits] if outside else [],
        )

    def best(self, part: slice) -> AtChosen:
        """At the best threshold on this sample."""
        return oracle(self.whole[part], self.resampled[part], self.out_of_bag[part])

    def at_best_of(self, other: Curves, part: slice) -> AtChosen:
        """At the best threshold of another sample."""
        return transferred(
            self.whole[part],
            self.resampled[part],
            [int(c.argmax()) for c in other.whole[part]],
            [c.argmax(1) for c in other.resampled[part]],
        )


def choosing_curves(rng: Rng, images: int, number: int, *populations: tuple[Hits, ...]) -> list[Curves]:
    """The curves of each population on the same draw of so many images of train-fullsup."""
    rows = rng.integers(0, POPULATION, images)
    weight = weights(images, number, CHOOSING_DRAWS)
    return [Curves.of([h[rows] for h in hits], weight, 0) for hits in populations]


def truth_of_hits(hits: Sequence[Hits], choosing: int | None = None) -> float:
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


@functools.cache
def truth(name: str, protocol: str, choosing: int | None = None, draw: int = 0) -> float:
    """`truth_of_hits` of planted maps under a protocol of `PARTS`."""
    return truth_of_hits(planted_hits(name, draw)[dict(PARTS)[protocol]], choosing)


def sampled(found: AtChosen) -> Sampled:
    """One run's number."""
    return Sampled.of([found.value], [found.resampled], [found.optimism or 0.0])


def law_and_member(
    a: Sampled, b: Sampled, units: int, least: float, *, paired: bool = True
) -> tuple[Law, Member]:
    """The law of the difference b - a, and its place in a family."""
    parts = components_of(a, b, paired=paired, units=units, least=least)
    law = parts.law(b.centre - a.centre)
    return law, Member(law.p_value(), parts, b.resampled.mean(0) - a.resampled.mean(0))
