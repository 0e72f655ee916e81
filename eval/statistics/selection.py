"""Numbers at a threshold that was chosen by data: on the scored images (oracle) or on others (transferred).

The maximum of an accuracy curve is optimistic: the threshold also fits the noise of these images. The maxima of
resamples are so once more, which is why their percentiles lie too high by twice the optimism. Each resample's threshold
is therefore also read on the images that it did not draw (out of bag, about 37 %), where it is as pessimistic as the
maximum is optimistic; the mean of the two is the centre of the interval (cf. Tsamardinos et al., Machine Learning 2018,
doi 10.1007/s10994-018-5714-4). The published value stays the maximum.

A transferred threshold is resampled with the images that chose it. The threshold of a small set is so unstable that
resamples of that set exaggerate it (the bootstrap of an argmax is not consistent): `CHOOSING_DRAWS` images are drawn
for each one there is, which brings coverage from 97 to 98 % near 95 (docs/statistics.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.floating]


CHOOSING_DRAWS = 1.25


@dataclass(frozen=True)
class AtChosen:
    """A number at chosen thresholds, in percent.

    `value` is that on the images at hand; `resampled` [B] are its bootstrap values, thresholds chosen anew in each;
    `variance` is what the interval of this one number takes; `optimism` is by how much the value is expected to lie
    above the best that any threshold gives on new images.
    """

    value: float
    resampled: npt.NDArray[np.float64]
    variance: float
    optimism: float = 0.0

    @property
    def centre(self) -> float:
        return self.value - self.optimism


def oracle(
    curves: Sequence[Array], resampled: Sequence[Array], out_of_bag: Sequence[Array] | None = None
) -> AtChosen:
    """The mean over IoU thresholds of the maximum over thresholds.

    Args:
        curves: for each IoU threshold the accuracy in percent at every threshold, [T].
        resampled: the same in each resample, [B, T]. NaN rows (no image drawn) are ignored.
        out_of_bag: the same over the images that resample b left out, for the first B' <= B resamples, [B', T].
            Without it no optimism is estimated.

    The variance is that at the value's own thresholds: to first order it is the maximum's (the curve is flat there),
    and the resampled maxima vary less than the value does.
    """
    value = float(np.mean([c.max() for c in curves]))
    maxima = np.mean([r.max(1) for r in resampled], axis=0)
    variance = float(np.nanvar(np.mean([r[:, c.argmax()] for c, r in zip(curves, resampled)], axis=0)))
    optimism = 0.0
    if out_of_bag is not None and len(out_of_bag[0]):
        read = [o[np.arange(len(o)), r[: len(o)].argmax(1)] for r, o in zip(resampled, out_of_bag)]
        optimism = (value - float(np.nanmean(read))) / 2
    return AtChosen(value, np.asarray(maxima, np.float64), variance, optimism)


def transferred(
    curves: Sequence[Array],
    resampled: Sequence[Array],
    chosen_on: Sequence[Array],
    chosen_on_resampled: Sequence[Array],
) -> AtChosen:
    """The mean over IoU thresholds of the accuracy at the threshold that is best on other images.

    Args:
        curves, resampled: on the scored images, [T] and [B, T].
        chosen_on, chosen_on_resampled: on the images that choose (train-fullsup), over the same thresholds; resampled
            independently of the scored ones. Each resample chooses anew (the smallest of equally good thresholds).
    """
    value = float(np.mean([c[w.argmax()] for c, w in zip(curves, chosen_on)]))
    rows = np.arange(len(resampled[0]))
    moved = [r[rows, w.argmax(1)] for r, w in zip(resampled, chosen_on_resampled)]
    found = np.asarray(np.mean(moved, axis=0), np.float64)
    return AtChosen(value, found, float(np.nanvar(found)))
