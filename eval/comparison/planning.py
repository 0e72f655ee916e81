"""What it would take to show a difference: seeds and images from this comparison's own variance components."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from eval.analysis.paired_statistics import Difference
from eval.statistics.components import METHODS_FROM
from eval.statistics.planning import POWER, Pilot, Side, detectable, images_needed, runs_needed

RUNS = (3, 5, 8)


def planning(
    difference: Difference, protocol: str, margin: float | None, drawn: str = "images"
) -> dict[str, Any] | None:
    """Variance components of the primary outcome and what follows for a study of methods.

    `effect` is the margin, or else 2 points: `runs_needed` a side on as many images as here, `images_needed` for each
    of `RUNS`, and `detectable` with each of them on these images. `drawn` says what they are: images, or classes where
    those are resampled. None without resamples, or with a single run a side:
    one run says nothing about the spread between runs.
    """
    parts = difference.components
    if parts is None or not parts.parts:
        return None
    pilot = Pilot.of(parts)
    effect = margin or 2.0
    return {
        "protocol": protocol,
        "effect": effect,
        "power": POWER,
        "images": parts.units,
        "drawn": drawn,
        "standard_deviations": {
            "runs": [s.run**0.5 for s in pilot.sides],
            "method_by_image": pilot.image**0.5,
            "run_by_image": [s.interaction**0.5 for s in pilot.sides],
        },
        "paired": len(parts.parts) == 1,
        "pilot_runs": min(p.runs for p in parts.parts),
        "rough": min(p.runs for p in parts.parts) < METHODS_FROM,
        "runs_needed": runs_needed(pilot, effect, parts.units),
        "images_needed": {str(r): images_needed(pilot, effect, r) for r in RUNS},
        "detectable": {str(r): detectable(pilot, r, parts.units) for r in RUNS},
    }


def pilot_of(plan: Mapping[str, Any]) -> Pilot:
    """The pilot that an entry of `planning` was made from."""
    found = plan["standard_deviations"]
    sides = tuple(Side(r**2, i**2) for r, i in zip(found["runs"], found["run_by_image"], strict=True))
    return Pilot(found["method_by_image"] ** 2, sides)
