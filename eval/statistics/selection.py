"""Numbers at a threshold that was chosen by data: on the scored images (oracle) or on others (transferred).

The maximum of an accuracy curve is optimistic: the threshold also fits the noise of these images. The maxima of
resamples are so once more, which is why their percentiles lie too high by twice the optimism. Each resample's threshold
is therefore also read on the images that it did not draw (out of bag, about 37 %), where it is as pessimistic as the
maximum is optimistic; the mean of the two is the centre of the interval (cf. Tsamardinos et al., Machine Learning 2018,
doi 10.1007/s10994-018-5714-4). The published value stays the maximum.

A transferred threshold is resampled with the images that choose it. Read on the one set of scored images there is, what
the choice adds to the variance already holds the interaction of choice and images (these images' noise differs from one
threshold to the next), and resampling the images adds it again; it is taken out once (`transferred`), as a run's
interaction with images is in `eval.statistics.components`. The threshold of a small set is so unstable that resamples
of that set exaggerate it (the bootstrap of an argmax is not consistent): `CHOOSING_DRAWS` images are drawn for each one
there is. docs/statistics.md has the coverage that results.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[np.floating]


CHOOSING_DRAWS = 1.1
_BESIDE = 200
"""Resamples of the scored images from which the interaction with the choice is estimated; their mean is all that is
used."""


def best_column(curves: Array, plateau: str = "smallest") -> npt.NDArray[np.intp]:
    """The place of the best of T thresholds, [..., T] to [...]: the first of equally good ones or, with `plateau`
    "middle", the middle of the longest row of them (the first of equally long rows).

    >>> int(best_column(np.array([0, 5, 5, 1, 5, 5, 5, 5.0]), "middle"))
    5
    """
    if plateau == "smallest":
        return np.asarray(curves.argmax(-1))
    best = curves == curves.max(-1, keepdims=True)
    place = np.arange(curves.shape[-1])
    before = np.maximum.accumulate(np.where(best, -1, place), axis=-1)  # the last worse threshold so far
    length = np.where(best, place - before, 0)
    last = length.argmax(-1)
    return np.asarray(last - (length.max(-1) // 2))


@dataclass(frozen=True)
class AtChosen:
    """A number at chosen thresholds, in percent.

    `value` is that on the images at hand; `resampled` [B] are its bootstrap values; `optimism` is by how much the value
    is expected to lie above the best that any threshold gives on new images; None where it is not estimated.
    """

    value: float
    resampled: npt.NDArray[np.float64]
    optimism: float | None = None

    @property
    def variance(self) -> float:
        """What the interval of this one number takes."""
        return float(np.nanvar(self.resampled))

    @property
    def centre(self) -> float:
        return self.value - (self.optimism or 0.0)


def oracle(
    curves: Sequence[Array], resampled: Sequence[Array], out_of_bag: Sequence[Array] | None = None
) -> AtChosen:
    """The mean over IoU thresholds of the maximum over thresholds.

    Args:
        curves: for each IoU threshold the accuracy in percent at every threshold, [T].
        resampled: the same in each resample, [B, T]. NaN rows (no image drawn) are ignored.
        out_of_bag: the same over the images that resample b left out, for the first B' <= B resamples, [B', T].
            Without it, or where no resample left out an image, no optimism is estimated.

    The bootstrap values are those at the value's own thresholds: to first order they vary as the maximum does (the
    curve is flat there), while the maxima of the resamples vary less than the value does; two runs of one method would
    differ by verdict in 6.3 % of 1,000 simulations of 500 images with the maxima, in 4.9 % so.
    """
    value = float(np.mean([c.max() for c in curves]))
    own = np.mean([r[:, c.argmax()] for c, r in zip(curves, resampled)], axis=0)
    optimism = None
    if out_of_bag is not None and len(out_of_bag[0]):
        read = [o[np.arange(len(o)), r[: len(o)].argmax(1)] for r, o in zip(resampled, out_of_bag)]
        if np.isfinite(read).any():
            optimism = (value - float(np.nanmean(read))) / 2
    return AtChosen(value, np.asarray(own, np.float64), optimism)


def transferred(
    curves: Sequence[Array],
    resampled: Sequence[Array],
    column: Sequence[int],
    chosen: Sequence[npt.NDArray[np.intp]],
) -> AtChosen:
    """The mean over IoU thresholds of the accuracy at a threshold that was chosen on other images (train-fullsup).

    Args:
        curves, resampled: on the scored images, for each IoU threshold [T] and [B, T]. NaN rows are ignored.
        column: the chosen threshold's place among the T, for each IoU threshold.
        chosen: the same in each resample of the images that choose, [B] each, drawn independently of the scored ones.

    With e the deviation of a resample's curve from the whole set's,

        choice       = Var_c(curve(tau_c))              the choice and, once, choice x images
        interaction  = mean_b Var_c(e_b(tau_c))         choice x images alone

    and each resampled value's part that is due to the choice is drawn towards its mean so that its variance is that of
    choice less the interaction.
    """
    value = float(np.mean([c[k] for c, k in zip(curves, column)]))
    rows = np.arange(len(resampled[0]))
    moved = np.asarray(np.mean([r[rows, k] for r, k in zip(resampled, chosen)], axis=0), np.float64)
    level = np.mean([c[k] for c, k in zip(curves, chosen)], axis=0)
    choice = float(level.var())
    if choice > 0:
        beside = np.mean([(r[:_BESIDE] - c)[:, k] for c, r, k in zip(curves, resampled, chosen)], axis=0)
        interaction = float(np.nanmean(beside.var(axis=1)))
        moved -= (1 - np.sqrt(max(0.0, 1 - interaction / choice))) * (level - level.mean())
    return AtChosen(value, moved)
