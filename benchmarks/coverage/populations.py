"""Populations of known truth for the simulations: planted score maps, runs of two methods, pixel histograms."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

from eval.boxes.best_iou import LEVELS, best_iou_per_level_batch

FRAME = 224
GRID = 14
POPULATION = 6000
Hits = npt.NDArray[np.float32]
IOUS = (0.5, 0.3, 0.5, 0.7)
"""IoU thresholds of a population's hits: one for the largest contour, then three for all contours."""


@dataclass(frozen=True)
class Method:
    """How a method's planted maps look: `extent` of the blob over the box's side, the map's noise, and the height of a
    distractor elsewhere."""

    extent: float
    noise: float
    distractor: float


METHODS = {"sharp": Method(0.26, 0.10, 0.6), "wide": Method(0.33, 0.12, 0.7)}


def _boxes(rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """True boxes with sizes and places like those of CUB-200-2011: half of the image's side, near the middle."""
    last = FRAME - 1
    side = np.exp(rng.normal(np.log(0.55), 0.35, POPULATION)).clip(0.12, 0.98)
    aspect = np.sqrt(np.exp(rng.normal(0, 0.35, POPULATION)))
    size = np.stack([side * aspect, side / aspect], 1).clip(0.1, 0.98) * last
    centre = np.clip(0.5 + rng.normal(0, 0.1, (POPULATION, 2)), 0, 1) * last
    corner = np.clip(centre - size / 2, 0, last - size)
    return np.concatenate([corner, corner + size], 1).astype(np.int64)


def _map(box: npt.NDArray[np.int64], method: Method, rng: np.random.Generator) -> npt.NDArray[np.uint8]:
    cells = (np.arange(GRID) + 0.5) * FRAME / GRID
    sides = np.array([box[2] - box[0], box[3] - box[1]])
    place = (box[:2] + box[2:]) / 2 + rng.normal(0, 0.14, 2) * sides
    width = method.extent * sides * np.exp(rng.normal(0, 0.3, 2))

    def blob(at: npt.NDArray[np.float64], spread: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.exp(
            -0.5 * ((cells[None] - at[0]) / spread[0]) ** 2
            - 0.5 * ((cells[:, None] - at[1]) / spread[1]) ** 2
        )

    distractor = rng.uniform() * method.distractor
    noise = cv2.GaussianBlur(rng.normal(size=(GRID, GRID)), (3, 3), 0)
    grid = blob(place, width) + method.noise * noise
    grid = grid + distractor * blob(rng.uniform(0, FRAME, 2), np.repeat(rng.uniform(15, 45), 2))
    full = cv2.resize(grid, (FRAME, FRAME), interpolation=cv2.INTER_CUBIC)
    full -= full.min()
    return (full / full.max() * 255).astype(np.uint8)


@cache
def planted_hits(name: str, draw: int = 0) -> tuple[Hits, ...]:
    """Hits [POPULATION, 255] at every level for each of `IOUS`: the project's own kernel on planted maps. `draw` is of
    the maps; the true boxes are the same for all."""
    boxes = _boxes(np.random.default_rng(0))
    rng = np.random.default_rng([1, sorted(METHODS).index(name), draw])
    largest, every = [], []
    for start in range(0, POPULATION, 500):
        some = boxes[start : start + 500]
        maps = np.stack([_map(b, METHODS[name], rng) for b in some])
        found = best_iou_per_level_batch(maps, some, np.arange(len(some) + 1), num_threads=1)
        largest.append(found.largest_any[:, : LEVELS - 1].astype(np.float32))
        every.append(found.all_any[:, : LEVELS - 1].astype(np.float32))
    one, several = np.concatenate(largest), np.concatenate(every)
    return tuple(
        (array >= np.float32(t)).astype(np.float32)
        for array, t in zip((one, several, several, several), IOUS)
    )


@cache
def full_image_hits() -> tuple[Hits, ...]:
    """Hits [POPULATION, 1] of the box of the whole image: a control without any threshold."""
    box = _boxes(np.random.default_rng(0))
    share = ((box[:, 2] - box[:, 0] + 1) * (box[:, 3] - box[:, 1] + 1)) / FRAME**2
    return tuple((share >= t).astype(np.float32)[:, None] for t in IOUS)


@dataclass(frozen=True)
class Runs:
    """Two methods with runs that differ: a probit model of hits with variance 1 in all.

    `difficulty` is shared by both methods, `method_image` by one method's runs, the rest is each run's own. `run_sd` is
    the spread of runs on infinitely many images, `effect` the true difference, both in percentage points at an accuracy
    of 60 %.
    """

    runs: tuple[int, int]
    run_sd: float
    effect: float = 0.0
    images: int = 2000
    difficulty: float = 0.5
    method_image: float = 0.15

    def draw(
        self, rng: np.random.Generator, cuts: tuple[float, ...] = (0.0,)
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Hits of either method, [images, runs, len(cuts)]; each of `cuts` is a further decision on the same maps."""
        per_point = 0.01 / 0.3863  # the normal's density where 60 % lie above
        easy = rng.normal(size=(self.images, 1)) * np.sqrt(self.difficulty)
        found = []
        for side, runs in enumerate(self.runs):
            latent = easy + rng.normal(size=(self.images, 1)) * np.sqrt(self.method_image)
            own = np.sqrt(1 - self.difficulty - self.method_image)
            latent = latent + rng.normal(size=(self.images, runs)) * own
            latent += 0.2533 + per_point * (rng.normal(0, self.run_sd, runs) + side * self.effect)
            found.append((latent[:, :, None] > np.asarray(cuts)).astype(np.float32))
        return found[0], found[1]


@cache
def pixel_histograms(bins: int = 100) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Score histograms [POPULATION, bins] of object and background pixels: images differ in object size and in how
    well the scores tell the two apart."""
    rng = np.random.default_rng(5)
    size = rng.beta(2, 4, POPULATION) * 10_000 + 50
    skill = rng.normal(1.0, 0.7, POPULATION)
    edges = np.linspace(-4, 5, bins + 1)
    found = []
    for place, count in ((skill, size), (np.zeros(POPULATION), 12_000 - size)):
        cumulated = 1 / (1 + np.exp(-1.7 * (edges[None] - place[:, None])))
        found.append((np.diff(cumulated, axis=1) * count[:, None]).astype(np.float32))
    return found[0], found[1]
