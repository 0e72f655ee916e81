"""What goes wrong in which class: a section for the page of a run and for the page of a comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.analysis.error_kinds import KINDS, UNSCORED
from eval.report.sections import section

if TYPE_CHECKING:
    import numpy.typing as npt

SHOWN = 30


def errors_by_class(
    labels: npt.NDArray[np.integer], kinds: Mapping[str, npt.NDArray[np.int8]], names: Sequence[str]
) -> dict[str, Any]:
    """Percent of each class's images by kind of error, the class with most failures first.

    Args:
        labels: integer [N], each image's class.
        kinds: for each method its images' kinds of error, int8 [N], as `error_kinds.classify` gives them.
        names: of the classes.
    """
    right = KINDS.index("correct")
    rows: list[tuple[float, list[str]]] = []
    for label, name in enumerate(names):
        shares = []
        for found in kinds.values():
            counted = found[(labels == label) & (found != UNSCORED)]
            if len(counted) > 1:
                shares.append([100 * float((counted == k).mean()) for k in range(len(KINDS))])
        if len(shares) == len(kinds):
            cells = [" → ".join(f"{of_method[k]:.0f}" for of_method in shares) for k in range(len(KINDS))]
            rows.append((float(np.mean([s[right] for s in shares])), [name, f"{len(counted):,}", *cells]))
    rows.sort(key=lambda row: row[0])
    methods = f"{' → '.join(kinds)}. " if len(kinds) > 1 else ""
    few = "" if len(rows) <= SHOWN else f"The {SHOWN} of {len(rows)} classes with most failures. "
    return section(
        "Kinds of error by class",
        table={
            "columns": ["class", "images", *(f"{k}, %" for k in KINDS)],
            "rows": [cells for _, cells in rows[:SHOWN]],
        },
        note=f"{methods}{few}Classes of one image are left out.",
    )
