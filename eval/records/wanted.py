"""What is recorded of each image: which kinds of score map, and which mask histograms."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass

from eval.boxes.frames import Frame
from eval.protocols import Channel, Protocol


@dataclass(frozen=True)
class Wanted:
    """Kinds of score map, in order, and for metrics of masks the histograms: a kind of map and a threshold step."""

    channels: tuple[Channel, ...]
    histograms: tuple[tuple[Channel, float], ...] = ()
    thresholds_only: bool = False
    """Whether nothing but thresholds is read from these records: no masks, no measures of the map as such."""

    @classmethod
    def of(cls, protocols: Iterable[Protocol]) -> Wanted:
        """All that these protocols read."""
        listed = list(protocols)
        steps = ((p.channel, p.threshold_step) for p in listed if p.metric != "box_accuracy")
        return cls(tuple(dict.fromkeys(p.channel for p in listed)), tuple(dict.fromkeys(steps)))

    def only(self, channels: Iterable[Channel]) -> Wanted:
        """The part that reads some kinds of score map."""
        kept = set(channels)
        return dataclasses.replace(
            self,
            channels=tuple(c for c in self.channels if c in kept),
            histograms=tuple((c, step) for c, step in self.histograms if c in kept),
        )

    def frames(self, input_size: int | None = None) -> tuple[Frame, ...]:
        """The frames that maps are scored in, each once, for a network input of `input_size`."""
        return tuple(dict.fromkeys(Frame.of_channel(c, input_size) for c in self.channels))
