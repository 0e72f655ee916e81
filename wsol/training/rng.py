"""Everything random in training, as pure functions of the seed and the place in the run.

Nothing here keeps a state, so a run that continues at step 1,234, or on another number of processes, draws
exactly what it would have drawn anyway.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    import numpy.typing as npt

# First entries of the seed sequences: each use of random numbers has its own stream.
_ORDER, _CROP, _METHOD, _NETWORK, _SCHEDULE = 1, 2, 3, 4, 5


@dataclass(frozen=True)
class Crops:
    """Where to cut and whether to mirror, by position: `top_left` int64 [n, 2] (y, x), `flip` bool [n]."""

    top_left: npt.NDArray[np.int64]
    flip: npt.NDArray[np.bool_]

    def __getitem__(self, where: slice) -> Crops:
        return Crops(self.top_left[where], self.flip[where])


def epoch_order(seed: int, epoch: int, images: int) -> npt.NDArray[np.int64]:
    """The order in which an epoch visits the images, int64 [images]."""
    return np.random.default_rng([seed, _ORDER, epoch]).permutation(images)


def epoch_crops(seed: int, epoch: int, images: int, resized: int, size: int) -> Crops:
    """A crop and a flip for each position of an epoch's order; offsets uniform over 0..resized - size."""
    rng = np.random.default_rng([seed, _CROP, epoch])
    return Crops(
        rng.integers(0, resized - size, (images, 2), endpoint=True),
        rng.integers(0, 2, images).astype(bool),
    )


def method_generator(seed: int, step: int, part: int) -> torch.Generator:
    """The generator of the method's draw for one part of one step's batch."""
    return _generator(seed, _METHOD, step, part)


def schedule_draw(seed: int, step: int) -> float:
    """A number in [0, 1), the same for all parts of a step: whether a method with a schedule acts in it."""
    return float(np.random.default_rng([seed, _SCHEDULE, step]).random())


def network_seed(seed: int, rank: int = 0) -> int:
    """Seed of torch's global generator: initial weights (rank 0), and what the network itself draws (dropout)."""
    return int(np.random.SeedSequence([seed, _NETWORK, rank]).generate_state(1, np.uint64)[0] >> np.uint64(1))


def _generator(*entropy: int) -> torch.Generator:
    generator = torch.Generator()
    generator.manual_seed(
        int(np.random.SeedSequence(entropy).generate_state(1, np.uint64)[0] >> np.uint64(1))
    )
    return generator
