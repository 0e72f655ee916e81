"""Sums of 0/1 curves under the weights of a bootstrap, by where the curves change.

Whether an image is localised changes at few of a map's thresholds. A resample adds its weight there, and one cumulative
sum at the end gives its curve: some additions an image instead of one at every threshold. Sums of whole numbers are
exact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_array

if TYPE_CHECKING:
    import numpy.typing as npt


def changes_of(
    hits: npt.NDArray[np.bool_], columns: npt.NDArray[np.integer] | None = None, size: int | None = None
) -> csr_array:
    """Where each row of 0/1 curves [n, L] begins (+1) and ends (-1) to be 1, sparse float32 [n, T].

    T is L. With `columns` [n, L], not falling along a row, position l of row i is moved to column `columns[i, l]` of
    `size` many (T), so that each column shows the last position that was moved there or before.
    """
    steps = np.diff(hits.view(np.int8), axis=1, prepend=np.int8(0))
    rows, places = np.nonzero(steps)
    values = steps[rows, places].astype(np.float32)
    starts = np.searchsorted(rows, np.arange(len(hits) + 1))
    at = places if columns is None else columns[rows, places]
    return csr_array((values, at, starts), shape=(len(hits), size or hits.shape[1]))


def summed_changes(changes: csr_array, weights: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The changes [n, T] added up under weights [R, n]: [T, R]; cumulative over T they are the summed curves."""
    return np.asarray(changes.T @ weights.T)
