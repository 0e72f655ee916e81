"""An outcome over all cells of a study: datasets are strata of equal weight, networks are averaged within a dataset.

The difference of a cell (a dataset and a network) is that of the two methods' means over runs, D_dn. The study's is

    D = mean over datasets d of mean over networks n of D_dn

Test images are drawn anew within each dataset and shared by its networks, so the image part of the variance is that of
the networks' mean, dataset by dataset; runs are trained for each cell apart, so their parts add with weights squared
(`eval.statistics.components` has the terms of one cell). The sentence is on these datasets and networks: none is
inferred to others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from eval.analysis.paired_statistics import Difference
from eval.statistics.components import Components


@dataclass(frozen=True)
class Cell:
    """One dataset and network with the difference of two methods on it."""

    dataset: str
    network: str
    difference: Difference


def pool(cells: Sequence[Cell]) -> Difference:
    """The study's difference, with the law that its cells give it.

    The weakest scope of a cell is that of the whole: one cell with two seeds leaves no verdict. Without a law in every
    cell (no resamples) there is none. Raises ValueError where there is no cell.
    """
    if not cells:
        raise ValueError("there is no cell to pool")
    datasets: dict[str, list[Cell]] = {}
    for cell in cells:
        datasets.setdefault(cell.dataset, []).append(cell)
    weight = {id(c): 1 / (len(datasets) * len(datasets[c.dataset])) for c in cells}
    differences = [c.difference for c in cells]
    scopes = {d.scope for d in differences}
    pooled = Difference(
        baseline=sum(weight[id(c)] * c.difference.baseline for c in cells),
        other=sum(weight[id(c)] * c.difference.other for c in cells),
        law=None,
        components=None,
        moved=np.zeros(0),
        runs=(min(d.runs[0] for d in differences), min(d.runs[1] for d in differences)),
        scope="two seeds" if "two seeds" in scopes else "runs" if "runs" in scopes else "methods",
    )
    if any(d.law is None or d.components is None for d in differences):
        return pooled
    components = _components(list(datasets.values()), weight)
    centre = sum(weight[id(c)] * c.difference.law.value for c in cells if c.difference.law)
    return replace(pooled, components=components, law=components.law(centre))


def _components(datasets: Sequence[Sequence[Cell]], weight: dict[int, float]) -> Components:
    image, units, parts = 0.0, 0, []
    for cells in datasets:
        found = [c.difference.components for c in cells]
        known = [c for c in found if c is not None]
        moved = np.sum([weight[id(c)] * c.difference.moved for c in cells], axis=0)
        # each cell's own image part has corrections for few images on top of the bootstrap's variance: keep their size
        plain = sum(float(c.difference.moved.var(ddof=1)) for c in cells)
        corrected = sum(c.image for c in known)
        least = sum(weight[id(c)] ** 2 * k.image for c, k in zip(cells, known))
        image += float(moved.var(ddof=1)) * corrected / plain if plain > 0 else least
        units += max(c.units for c in known)
        for cell, components in zip(cells, known):
            squared = weight[id(cell)] ** 2
            parts += [
                replace(p, spread=p.spread * squared, noise=p.noise * squared) for p in components.parts
            ]
    return Components(image, tuple(parts), units)
