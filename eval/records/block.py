"""The records of one block of images, as typed values; `eval.records.store` says how they lie on disk."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.protocols import Channel, Protocol

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]

DEFAULT_STEP = 0.001
"""The published step of thresholds; histograms of another carry it in their name."""


def channel_array(channel: Channel | str, name: str) -> str:
    """The name of an array of one kind of score map, such as `resize224-minmax.max_level`."""
    return f"{channel}.{name}"


def histogram_name(place: str, step: float) -> str:
    """The name of score histograms with bins of `step`, inside ("object") or outside ("background") the mask."""
    return f"hist_{place}" if step == DEFAULT_STEP else f"hist_{place}_{step:g}"


class LazyArrays(Mapping[str, "Array"]):
    """Arrays that are computed when they are first asked for."""

    def __init__(self, makers: Mapping[str, Callable[[], Array]]) -> None:
        self._makers = makers
        self._made: dict[str, Array] = {}

    def __getitem__(self, name: str) -> Array:
        if name not in self._made:
            self._made[name] = self._makers[name]()
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._makers)

    def __len__(self) -> int:
        return len(self._makers)


class RecordBlock:
    """The records of n images. `arrays` is anything that gives the arrays listed in `eval.records.store` by name."""

    def __init__(self, arrays: Mapping[str, Array]) -> None:
        self._arrays = arrays

    def __len__(self) -> int:
        return len(self.num_boxes)

    def scored_within(self, inside: npt.NDArray[np.bool_]) -> RecordBlock:
        """The same, in which no image but those of `inside` [n] has a box to be scored on."""
        boxes = np.where(inside, self.num_boxes, 0).astype(np.int32)
        return RecordBlock(ChainMap({"num_boxes": boxes}, self._arrays))  # type: ignore[arg-type]

    @property
    def num_boxes(self) -> npt.NDArray[np.int32]:
        """Ground-truth boxes of each image [n]; an image with 0 cannot be scored on boxes."""
        return self._arrays["num_boxes"]

    @property
    def label(self) -> npt.NDArray[np.int32]:
        return self._arrays["label"]

    @property
    def predicted(self) -> npt.NDArray[np.int32]:
        """The predicted class [n]; -1 where nothing predicts."""
        return self._arrays["predicted"]

    @property
    def top1(self) -> npt.NDArray[np.int8]:
        """1 where the true class is ranked first, 0 where it is not, -1 where nothing predicts; [n]."""
        return self._arrays["top1"]

    @property
    def top5(self) -> npt.NDArray[np.int8]:
        """As `top1`, for the first five classes."""
        return self._arrays["top5"]

    def right_class(self, protocol: Protocol) -> npt.NDArray[np.int8]:
        """Whether each image meets the protocol's condition on the class: 1, 0, or -1 where nothing predicts; [n].

        All 1 for a protocol without one, all -1 where the view that it takes the class from was not classified.
        """
        if protocol.class_gate == "none":
            return np.ones(len(self), np.int8)
        if protocol.class_view == "whole-image" or protocol.frame == "resize":
            return self.top1 if protocol.class_gate == "top1" else self.top5
        found = self._arrays.get(channel_array(protocol.frame, protocol.class_gate))
        return np.full(len(self), -1, np.int8) if found is None else found

    def measure(self, name: str) -> Array | None:
        """A measure of each image by its name, [n] or [n, P]; None where it was not recorded."""
        return self._arrays.get(name)

    def channel(self, channel: Channel | str) -> ChannelRecords:
        """What was measured on one kind of score map."""
        return ChannelRecords(self._arrays, channel)


class ChannelRecords:
    """What was measured of n images on one kind of score map, over its 256 levels."""

    def __init__(self, arrays: Mapping[str, Array], channel: Channel | str) -> None:
        self._arrays = arrays
        self._channel = channel

    def _array(self, name: str) -> Array:
        return self._arrays[channel_array(self._channel, name)]

    @property
    def max_level(self) -> npt.NDArray[np.uint8]:
        """The map's largest 8-bit value [n]."""
        return self._array("max_level")

    @property
    def status(self) -> npt.NDArray[np.uint8]:
        """`eval.maps.normalization.MapStatus` of each map [n]."""
        return self._array("status")

    @property
    def largest_box(self) -> npt.NDArray[np.int16]:
        """The box of the largest contour at every level [n, 256, 4]."""
        return self._array("largest_box")

    def histograms(self, step: float) -> tuple[Array, Array] | None:
        """Score histograms with bins of `step` inside and outside the mask, each [n, bins]; None where not recorded."""
        inside, outside = (histogram_name(place, step) for place in ("object", "background"))
        if channel_array(self._channel, inside) not in self._arrays:
            return None
        return self._array(inside), self._array(outside)

    def iou(self, contours: str, gt_boxes: str) -> npt.NDArray[np.float32]:
        """Best IoU at every level [n, 256].

        Where no image of a block has several boxes, the first box is every box, and only one of the two is kept.
        """
        name = f"{contours}_{gt_boxes}"
        kept = channel_array(self._channel, name) in self._arrays
        return self._array(name if kept else f"{contours}_any")
