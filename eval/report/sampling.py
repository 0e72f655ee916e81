"""Which images a page shows: half drawn at random, so that one may generalise from them; half picked for interest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

RANDOM, WORST, BEST, GAINED, LOST = "random", "worst", "best", "gained", "lost"
WORDS = {
    RANDOM: "drawn at random",
    WORST: "lowest IoU",
    BEST: "highest IoU",
    GAINED: "largest gain",
    LOST: "largest loss",
}


@dataclass(frozen=True)
class Picked:
    """Rows of the split in ascending order, and why each is shown."""

    rows: npt.NDArray[np.int64]
    why: tuple[str, ...]


def pick_images(
    iou: npt.NDArray[np.floating], scored: npt.NDArray[np.bool_], count: int, seed: int
) -> Picked:
    """Pick `count` of the scored images; all of them where there are no more.

    `iou` [N, M] of M methods: with one, the picked ones are the worst and the best; with several, those where the
    last method gains or loses most against the first. Images drawn at random are marked so even where also extreme.
    """
    candidates = np.flatnonzero(scored)
    if len(candidates) <= count:
        return Picked(candidates.astype(np.int64), tuple([RANDOM] * len(candidates)))
    order = np.random.default_rng(seed).permutation(candidates)
    half = count - count // 2
    why = dict.fromkeys(order[:half].tolist(), RANDOM)
    several = iou.shape[1] > 1
    measure = (iou[:, -1] - iou[:, 0]) if several else iou[:, 0]
    ranked = candidates[np.argsort(measure[candidates], kind="stable")].tolist()
    low, high = (LOST, GAINED) if several else (WORST, BEST)
    for number, name in ((half + (count - half) // 2, low), (count, high)):
        for row in ranked if name == low else reversed(ranked):
            if len(why) >= number:
                break
            why.setdefault(row, name)
    rows = sorted(why)
    return Picked(np.array(rows, np.int64), tuple(why[r] for r in rows))
