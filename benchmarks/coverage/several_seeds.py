"""Several seeds a side and a sentence on methods: false verdicts, power beside the planner's, a further pair."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from benchmarks.coverage.populations import Runs
from benchmarks.coverage.sample import Rng, Row, law_and_member, weights
from eval.statistics.components import Components, RunPart, Sampled
from eval.statistics.counts import least_variance
from eval.statistics.law import ALPHA
from eval.statistics.multiplicity import max_t
from eval.statistics.planning import Pilot, Side, power
from eval.statistics.prediction import new_pair

CUTS = (-0.6, -0.3, -0.1, 0.0, 0.1, 0.3, 0.6)
"""Seven decisions on the same maps: a family of protocols."""


def run_numbers(hits: npt.NDArray[np.float32], weight: npt.NDArray[np.float32]) -> Sampled:
    """One side's numbers in percent from the hits [n, R] of its runs."""
    boot = (100 / len(hits)) * (weight @ hits).astype(np.float64)
    return Sampled.of([float(v) for v in 100 * hits.mean(0, dtype=np.float64)], list(boot.T))


def methods(model: Runs, *, paired: bool = True) -> Callable[[Rng, int], Row]:
    """Verdicts on methods: how often 0 is rejected, what the variance components are on average, and how often a
    further pair of runs falls into its predicted interval."""
    further = dataclasses.replace(model, runs=(model.runs[0] + 1, model.runs[1] + 1))

    def once(rng: Rng, number: int) -> Row:
        drawn = [h[:, :, 0] for h in further.draw(rng)]
        weight = weights(model.images, number)
        a, b = (run_numbers(h[:, :-1], weight) for h in drawn)
        new = 100 * float(drawn[1][:, -1].mean() - drawn[0][:, -1].mean())
        law, member = law_and_member(a, b, model.images, least_variance(model.images), paired=paired)
        found = {
            "rejected": 100 * (law.p_value() < ALPHA),
            "width": 2 * law.critical() * law.standard_error,
            "image": member.components.image,
        }
        for k, part in enumerate(member.components.parts):
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


def method_family(model: Runs) -> Callable[[Rng, int], Row]:
    """Any false verdict among several protocols on the same runs."""

    def once(rng: Rng, number: int) -> Row:
        hits = model.draw(rng, CUTS)
        weight = weights(model.images, number)
        family = []
        for k in range(len(CUTS)):
            a, b = (run_numbers(h[:, :, k], weight) for h in hits)
            family.append(law_and_member(a, b, model.images, least_variance(model.images))[1])
        return {
            "any, max-T": 100 * (min(max_t(family)) < ALPHA),
            "any, alone": 100 * (min(t.p_value for t in family) < ALPHA),
        }

    return once
