"""How often a 95 % interval misses zero although two methods do not differ: the comparison's statistics, simulated.

    python -m benchmarks.coverage                    2,000 simulations of every kind (50 minutes on a busy core)
    python -m benchmarks.coverage --simulations 200

Each simulation draws two methods' records of the same images from one model (images differ in difficulty, methods
share it, so decisions are correlated), runs the evaluation's own `summarize` and the comparison's own
`paired_difference`, and asks whether the interval holds the true difference, 0.
"""

from __future__ import annotations

import argparse
import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from eval.analysis.paired_statistics import Sampled, paired_difference
from eval.metrics.bootstrap import NO_BOOTSTRAP, Bootstrap
from eval.metrics.outcomes import Summary
from eval.metrics.summarize import summarize
from eval.protocols import PROTOCOLS, Protocol
from eval.records.block import channel_array
from eval.records.store import LEVELS, MemoryRecords, RecordIndex

SINGLE = PROTOCOLS["gt_known_fixed"]
MAXIMUM = PROTOCOLS["maxboxacc"]
MEAN_OF_MAXIMA = PROTOCOLS["maxboxacc_v2"]


def simulated_records(iou: npt.NDArray[np.float32]) -> MemoryRecords:
    """Records of images with one box each, given as IoU at every level [N, 256]."""
    n, channel = len(iou), MAXIMUM.channel
    arrays: dict[str, npt.NDArray[Any]] = {
        "num_boxes": np.ones(n, np.int32),
        "top1": np.ones(n, np.int8),
        channel_array(channel, "max_level"): np.full(n, LEVELS - 1, np.uint8),
        channel_array(channel, "largest_any"): iou,
        channel_array(channel, "all_any"): iou,
    }
    return MemoryRecords(RecordIndex("simulated", "test", "", n, (str(channel),), False, ()), arrays)


def draw_iou(
    difficulty: npt.NDArray[np.float64], rng: np.random.Generator, *, width: float = 60, skill: float = 0.0
) -> npt.NDArray[np.float32]:
    """IoU [N, 256] of one method: a peak at a level of its own for every image, high where the image is easy.

    `width` of the peak in levels: wide gives a flat accuracy curve, narrow a sharp one. `skill` shifts the IoU.
    """
    n = len(difficulty)
    peak = 0.62 + 0.16 * (0.7 * difficulty + 0.7 * rng.normal(size=n)) + skill
    centre = 90 + 25 * rng.normal(size=n)
    distance = np.abs(np.arange(LEVELS)[None, :] - centre[:, None]) / width
    return np.clip(peak[:, None] - 0.25 * distance**2, 0, 1).astype(np.float32)


@dataclass(frozen=True)
class Case:
    """One row of the table: what is simulated, and under which protocol."""

    name: str
    protocol: Protocol
    images: int = 300
    seeds: int = 1
    seed_spread: float = 0.0
    widths: tuple[float, float] = (60, 60)
    """Width of the IoU peak of either method; with unequal ones the true difference is found from many images."""


CASES: tuple[Case, ...] = (
    Case("single threshold", SINGLE),
    Case("maximum over thresholds", MAXIMUM),
    Case("mean of three maxima", MEAN_OF_MAXIMA),
    Case("maximum, 1,000 images", MAXIMUM, images=1000),
    Case("single threshold, 3 seeds that differ", SINGLE, seeds=3, seed_spread=0.05),
    Case("maximum, 2 seeds that differ", MAXIMUM, seeds=2, seed_spread=0.05),
    Case("maximum, a flat curve against a sharp one", MAXIMUM, widths=(120, 45)),
)


@functools.cache
def true_difference(case: Case) -> float:
    """Other minus baseline over 100,000 images; 0 where both methods are drawn from one model."""
    if case.widths[0] == case.widths[1]:
        return 0.0
    rng = np.random.default_rng(99)
    values = []
    for width in case.widths:
        iou = draw_iou(rng.normal(size=100_000), rng, width=width)
        found = summarize(simulated_records(iou), [case.protocol], bootstrap=NO_BOOTSTRAP)[case.protocol.name]
        assert isinstance(found, Summary)
        values.append(found.value)
    return values[1] - values[0]


def misses_truth(case: Case, rng: np.random.Generator, *, resamples: int, seed: int) -> bool | None:
    """Simulate once; None where the interval is undefined."""
    difficulty = rng.normal(size=case.images)

    def method(width: float) -> Sampled:
        found = []
        for _ in range(case.seeds):
            skill = rng.normal(0, case.seed_spread) if case.seed_spread else 0.0
            iou = draw_iou(difficulty, rng, width=width, skill=skill)
            outcome = summarize(simulated_records(iou), [case.protocol], bootstrap=Bootstrap(resamples, seed))
            summary = outcome[case.protocol.name]
            assert isinstance(summary, Summary)
            found.append(summary)
        return Sampled.of([s.value for s in found], [s.resampled for s in found])

    ci = paired_difference(*(method(w) for w in case.widths), by_seed=True, seed=seed).ci95
    return None if ci is None else not ci[0] <= true_difference(case) <= ci[1]


def miss_rate(
    case: Case,
    simulations: int,
    *,
    resamples: int = 1000,
    seed: int = 0,
    tick: Callable[[], None] = lambda: None,
) -> float:
    """Share of simulations, in percent, whose interval misses the truth; 5 is nominal."""
    rng = np.random.default_rng([seed, case.images, case.seeds])
    missed = 0
    for number in range(simulations):
        missed += bool(misses_truth(case, rng, resamples=resamples, seed=seed * 1_000_003 + number))
        tick()
    return 100 * missed / simulations


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--simulations", type=int, default=2000)
    parser.add_argument("--only", default="", help="only cases whose name holds this text")
    parser.add_argument("--resamples", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    noise = 100 * 1.96 * np.sqrt(0.05 * 0.95 / options.simulations)
    print(f"{options.simulations} simulations: a correct interval misses in 5 % +/- {noise:.1f}")
    for case in (c for c in CASES if options.only in c.name):
        start = time.perf_counter()
        rate = miss_rate(case, options.simulations, resamples=options.resamples, seed=options.seed)
        took = time.perf_counter() - start
        print(f"{case.name:40s} {case.images:5d} images  {rate:5.2f} %  ({took:.0f} s)", flush=True)


if __name__ == "__main__":
    main()
