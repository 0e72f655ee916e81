"""Two methods by the measures that read no threshold, and whether these say what the primary outcome says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.analysis.evaluated import Evaluated
from eval.analysis.paired_statistics import Correction, adjusted, paired_difference
from eval.analysis.per_image import means_of_images
from eval.comparison.run_pairs import Pairing
from eval.comparison.sides import party_of
from eval.comparison.verdicts import judge
from eval.metrics.bootstrap import Bootstrap
from eval.records.measures import MEASURES
from eval.statistics.components import Sampled

if TYPE_CHECKING:
    import numpy.typing as npt


def without_threshold(
    pairing: Pairing, bootstrap: Bootstrap, correction: Correction
) -> tuple[dict[str, Any], str | None]:
    """By measure the paired difference on the images where every run defines it, one family; and where there is none,
    why.

    An entry is a `Difference` as JSON with verdict, `images`, what the centre Gaussian gets (`center_gaussian`), and
    the measure's definition.
    """
    runs = [*pairing.baseline, *pairing.other]
    lacking = [r for r in runs if not set(MEASURES) & set(r.store.index.measures)]
    if lacking:
        return {}, (
            f"'{lacking[0].name}' has no such measures: boxes and controls rank no pixels; where an earlier version "
            "scored it, run eval.localize on it again"
        )
    names = [m for m in MEASURES if all(m in r.store.index.measures for r in runs)]
    values = {str(r.folder): _columns(r, names) for r in runs}
    defined = np.all([np.isfinite(v) for v in values.values()], axis=0)  # [N, G]
    controls = _columns(runs[0], [f"center_gaussian.{n}" for n in names])
    gaussian, _ = means_of_images(controls, defined & np.isfinite(controls), Bootstrap(0))
    sides = []
    for side in (pairing.baseline, pairing.other):
        found = [means_of_images(values[str(r.folder)], defined, bootstrap) for r in side]
        sides.append(
            [
                Sampled.of([m[k] for m, _ in found], [b[k] for _, b in found], trained=party_of(side).trained)
                for k in range(len(names))
            ]
        )
    kept = [k for k in range(len(names)) if defined[:, k].any()]
    family = adjusted(
        [
            paired_difference(
                sides[0][k],
                sides[1][k],
                by_seed=pairing.by_seed,
                units=bootstrap.units(int(defined[:, k].sum())),
            )
            for k in kept
        ],
        correction,
    )
    return {
        names[k]: {
            **d.as_json(),
            "verdict": judge(d, None),
            "images": int(defined[:, k].sum()),
            "center_gaussian": float(gaussian[k]),
            "definition": MEASURES[names[k]].definition(),
        }
        for k, d in zip(kept, family)
    }, None


def _columns(run: Evaluated, names: Sequence[str]) -> npt.NDArray[np.float32]:
    """Measures of every image [N, G]; NaN where undefined."""
    return np.concatenate(
        [np.stack([np.asarray(b.measure(n)) for n in names], axis=1) for b in run.store.blocks()]
    )


def agreement(measures: Mapping[str, Any], verdict: str, primary: str, few_seeds: str = "") -> str:
    """Whether the measures without a threshold say what the primary outcome says; empty where there are none.
    `few_seeds` says why there is no verdict.

    >>> agreement({"a": {"verdict": "higher"}, "b": {"verdict": "undecided"}}, "higher", "maxboxacc")
    'Without a threshold, of 2 measures 1 says higher, 0 lower, 1 undecided: they agree with maxboxacc (higher).'
    """
    if not measures or all(m["verdict"] == "not tested" for m in measures.values()):
        return ""
    if few_seeds:
        return f"Without a threshold, none of {len(measures)} measures gets a verdict, {few_seeds}."
    higher, lower = (sum(m["verdict"] == word for m in measures.values()) for word in ("higher", "lower"))
    rest = len(measures) - higher - lower
    if higher and lower:
        said = "they contradict one another"
    elif verdict in ("higher", "lower"):
        same, opposite = (higher, lower) if verdict == "higher" else (lower, higher)
        if opposite:
            said = f"they contradict {primary} ({verdict})"
        elif same:
            said = f"they agree with {primary} ({verdict})"
        else:
            said = f"none confirms {primary} ({verdict}), whose difference may be one of thresholds"
    elif higher or lower:
        said = f"they show a difference that {primary} ({verdict}) does not"
    else:
        said = f"none shows a difference, nor does {primary} ({verdict})"
    return (
        f"Without a threshold, of {len(measures)} measures {higher} {'says' if higher == 1 else 'say'} higher, "
        f"{lower} lower, {rest} undecided: {said}."
    )
