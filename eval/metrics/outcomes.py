"""What a protocol gives: a number with everything it was computed from, or the reason why there is none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eval.protocols import Protocol, short_hash

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


@dataclass(frozen=True)
class Summary:
    """A protocol's number with what it was computed from.

    `value` and `curves` are percentages. `thresholds` is one tau per IoU threshold (of equally good ones that of the
    protocol's `plateau`; `ties` counts them). `curves` [K, T] over `taus` [T] is absent for metrics of masks without
    thresholds. `resampled` [B] are the bootstrap values (`eval.statistics.selection`); `resampled_curves` [B, T], one
    per IoU threshold, are those of an oracle protocol's curves. `optimism` is by how much the best threshold on the
    scored images is expected to flatter `value`; the interval is centred below it by as much. None for other
    thresholds.
    """

    protocol: Protocol
    value: float
    ci95: tuple[float, float] | None
    per_iou: dict[str, float]
    thresholds: tuple[float, ...]
    ties: tuple[int, ...]
    num_scored: int
    taus: npt.NDArray[np.float64] | None = None
    curves: npt.NDArray[np.float64] | None = None
    resampled: npt.NDArray[np.float64] | None = None
    optimism: float | None = None
    resampled_curves: tuple[npt.NDArray[np.float32], ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The entry of results.json."""
        entry: dict[str, Any] = {"value": self.value, "ci95": list(self.ci95) if self.ci95 else None}
        if self.per_iou:
            entry["per_iou"] = self.per_iou
        if len(self.thresholds) == 1:
            entry["threshold"] = self.thresholds[0]
        elif self.thresholds:
            entry["threshold"] = dict(zip(self.per_iou, self.thresholds))
        notes = []
        if any(t > 1 for t in self.ties):
            entry["threshold_ties"] = list(self.ties)
            which = "the smallest" if self.protocol.plateau == "smallest" else "the middle one"
            notes.append(f"up to {max(self.ties)} thresholds are equally good; {which} is taken")
        if self.protocol.threshold in ("oracle", "transferred") and 0.0 in self.thresholds:
            notes.append("a chosen threshold is 0, the lowest tried")
        elif (
            self.protocol.threshold == "oracle" and self.taus is not None and self.taus[-1] in self.thresholds
        ):
            notes.append("a chosen threshold is the highest tried")
        if notes:
            entry["threshold_note"] = "; ".join(notes)
        if self.optimism is not None:
            entry["optimism"] = self.optimism
        entry["num_scored"] = self.num_scored
        entry["protocol_hash"] = short_hash(self.protocol)
        entry["definition"] = self.protocol.definition()
        return entry


@dataclass(frozen=True)
class NotComputed:
    """A protocol that could not be computed, and why."""

    protocol: Protocol
    reason: str


Outcome = Summary | NotComputed
