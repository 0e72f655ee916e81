"""Outcomes of a study that read no threshold: top-1 accuracy, and the shares of a map's energy on parts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from eval.analysis.evaluated import Evaluated
from eval.analysis.paired_statistics import Difference, paired_difference
from eval.comparison.run_pairs import Pairing
from eval.metrics.bootstrap import DEFAULT_BOOTSTRAP, resampled_means
from eval.statistics.components import Sampled
from wsol.errors import UserError
from wsol.manifest import Manifest

ENERGY = "energy on "
TOP1 = "top-1 accuracy"


def is_measured(outcome: str) -> bool:
    """Whether an outcome is named as one of these, and not as a protocol."""
    return outcome == TOP1 or outcome.startswith(ENERGY)


def measured_outcomes(part_names: Sequence[str]) -> Mapping[str, tuple[str, int | None]]:
    """The outcomes of a dataset with these parts, each with the array of the records that holds it and its column."""
    return {
        TOP1: ("top1", None),
        f"{ENERGY}object": ("energy_object", None),
        **{f"{ENERGY}{part}": ("energy_parts", k) for k, part in enumerate(part_names)},
    }


def require_measured(outcome: str, manifest: Manifest) -> None:
    """`UserError` where the test images lack the masks, or the dataset the part, that an outcome is measured on."""
    split = manifest.split("test")
    parts = manifest.part_names if len(split.part_masks) == len(split) else ()
    masks = len(split.masks) == len(split)
    known = list(measured_outcomes(parts)) if masks else [TOP1]
    if outcome not in known:
        why = "there are " + ", ".join(known) if masks else "its test images do not all have a mask"
        raise UserError(f"primary: no '{outcome}' on dataset '{manifest.dataset}': {why}")


def measured_differences(pairing: Pairing, only: str | None = None) -> dict[str, Difference]:
    """The difference in every outcome that was recorded, or in `only` one: top-1 accuracy, without which a map says
    little, and, where there are masks, the map's positive energy on the object and on each part."""
    index = pairing.baseline[0].store.index
    units = DEFAULT_BOOTSTRAP.units(index.num_images)
    found = {}
    for name, (array, column) in measured_outcomes(index.part_names).items():
        if only not in (None, name):
            continue
        a, b = (_means(runs, array, column) for runs in (pairing.baseline, pairing.other))
        if a is not None and b is not None:
            found[name] = paired_difference(a, b, by_seed=pairing.by_seed, units=units)
    return found


def _means(runs: Sequence[Evaluated], array: str, column: int | None) -> Sampled | None:
    """The mean of a per-image measure in percent, run by run, with its resamples; None where it was not recorded."""
    means = []
    for run in runs:
        blocks = []
        for block in run.store.blocks():
            values = block.measure(array)
            if values is None:
                return None
            chosen = (values if column is None else values[:, column])[:, None]
            blocks.append((chosen, np.isfinite(chosen) & (chosen >= 0)))
        if not any(fine.any() for _, fine in blocks):
            return None
        means.append(resampled_means(blocks, [len(v) for v, _ in blocks], DEFAULT_BOOTSTRAP)[:, 0])
    return Sampled.of([float(m[0]) for m in means], [m[1:] for m in means])
