"""Where the cells of a map look, as plain values. `wsol.cams.cell_centers` finds it for a network."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any


@dataclass(frozen=True)
class Axis:
    """Cell i of `cells` looks at pixel `start` + `step` * i of `pixels`, whole numbers being the pixels' centres."""

    start: float
    step: float
    cells: int
    pixels: int

    @property
    def offset(self) -> float:
        """By how many input pixels the middle of the map is drawn right of (below) where it looks."""
        return (self.pixels - 1) / 2 - (self.start + self.step * (self.cells - 1) / 2)


@dataclass(frozen=True)
class CellCenters:
    """Where the cells of a map look."""

    x: Axis
    y: Axis

    @property
    def offset_xy(self) -> tuple[float, float]:
        """By how many input pixels maps are drawn (right of, below) where they look."""
        return self.x.offset, self.y.offset

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for records."""
        return {"offset_xy": list(self.offset_xy), "x": asdict(self.x), "y": asdict(self.y)}

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> CellCenters:
        """What `to_dict` described."""
        names = [f.name for f in fields(Axis)]
        return cls(*(Axis(**{name: record[axis][name] for name in names}) for axis in "xy"))
