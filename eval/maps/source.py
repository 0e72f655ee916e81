"""Where score maps come from: a network, stored raw maps, other people's files, or a fixed control."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from eval.maps.batch import RawBatch
    from wsol.cams.cells import CellCenters


class MapSource(Protocol):
    """Gives raw maps for rows of a split, in the order asked."""

    @property
    def frames(self) -> tuple[str, ...]:
        """Frames it has maps of: "resize", "center-crop"."""
        ...

    @property
    def input_size(self) -> int | None:
        """Side of the network's input; None where maps are not a network's."""
        ...

    @property
    def cells(self) -> CellCenters | None:
        """Where the maps' cells look in the network's input; None where nobody can say."""
        ...

    def describe(self) -> dict[str, Any]:
        """What made the maps, for the record: two sources with equal descriptions give equal maps."""
        ...

    def unusable(self, normalization: str, frame: str) -> str | None:
        """Why maps of this source cannot be scored under a normalisation in a frame; None when they can."""
        ...

    def batches(self, rows: npt.NDArray[np.int64]) -> Iterator[RawBatch]:
        """Raw maps of the rows, in order; batches never straddle a multiple of `eval.maps.blocks.BLOCK`."""
        ...
