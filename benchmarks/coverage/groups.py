"""Groups of images, kinds of error, and classes as a sample: through the analyses that `eval.compare` prints."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from benchmarks.coverage.populations import Runs
from benchmarks.coverage.sample import RESAMPLES, Rng, Row, law_and_member, weights
from benchmarks.coverage.several_seeds import run_numbers
from eval.analysis.error_kinds import KINDS, taxonomy_shares
from eval.analysis.per_image import PerImage
from eval.analysis.subgroups import group_differences
from eval.metrics.bootstrap import Bootstrap
from eval.statistics.clusters import cluster_weights
from eval.statistics.counts import least_variance
from eval.statistics.law import ALPHA

SIZES = (0.5, 0.3, 0.15, 0.05)
"""Shares of the images in each group of object size."""
_RESAMPLES = 200


def _images(hit: npt.NDArray[np.float32]) -> PerImage:
    n = len(hit)
    none = np.zeros(n, np.int32)
    return PerImage(
        label=none,
        predicted=none,
        top1=np.full(n, -1, np.int8),
        top5=np.full(n, -1, np.int8),
        num_boxes=none + 1,
        scored=np.ones(n, bool),
        hit=hit[:, None] > 0,
        iou=hit,
        box_xyxy=np.zeros((n, 4), np.int16),
    )


def interaction(model: Runs, shares: tuple[float, ...]) -> Callable[[Rng, int], Row]:
    """Whether the difference is said to differ between groups of images, of such shares, while it does not; and how
    often some group's own interval, unadjusted, misses 0."""
    member = np.repeat(np.arange(len(shares)), np.round(np.array(shares) * model.images).astype(int))
    names = [str(k) for k in range(len(shares))]

    def once(rng: Rng, number: int) -> Row:
        a, b = ([_images(h[:, r, 0]) for r in range(h.shape[1])] for h in model.draw(rng))
        bootstrap = Bootstrap(_RESAMPLES, seed=number)
        found = group_differences(a, b, member, names, by_seed=True, bootstrap=bootstrap)
        alone = [g["p_value"] for g in found["groups"] if g["p_value"] is not None]
        return {
            "interaction": 100.0 * (found["interaction_p"] < ALPHA),
            "any group alone": 100.0 * (min(alone) < ALPHA),
        }

    return once


def kinds_of_error(model: Runs) -> Callable[[Rng, int], Row]:
    """Any false verdict among the shares of the kinds of error, and any that is nominally significant."""
    cuts = (-0.8, -0.5, -0.2, 0.1, 0.6)

    def once(rng: Rng, number: int) -> Row:
        a, b = ([h[:, r].sum(1).astype(np.int8) for r in range(h.shape[1])] for h in model.draw(rng, cuts))
        assert len(cuts) + 1 == len(KINDS)
        found = taxonomy_shares(
            a, b, by_class=True, by_seed=True, bootstrap=Bootstrap(_RESAMPLES, seed=number)
        )
        return {
            "any, max-T": 100.0 * (min(d["adjusted_p"] for d in found.values()) < ALPHA),
            "any, alone": 100.0 * (min(d["p_value"] for d in found.values()) < ALPHA),
        }

    return once


def new_classes(classes: int, each: int = 25) -> Callable[[Rng, int], Row]:
    """Misses of a paired difference where the classes are a sample too: by class, and by image beside it."""
    labels = np.repeat(np.arange(classes), each)
    images = len(labels)

    def once(rng: Rng, number: int) -> Row:
        easy = rng.normal(0, 0.5, classes)[labels] + rng.normal(0, 0.6, images)
        pair = []
        for _ in range(2):
            latent = easy + rng.normal(0, 0.35, classes)[labels] + rng.normal(0, 0.5, images)
            pair.append((latent > -0.25).astype(np.float32)[:, None])
        found: Row = {}
        by_class = next(cluster_weights([labels], RESAMPLES, number))
        for name, weight, units in (
            ("by class", by_class, classes),
            ("by image", weights(images, number), images),
        ):
            share = weight / weight.sum(1, keepdims=True) * images
            a, b = (run_numbers(h, share) for h in pair)
            law, _ = law_and_member(a, b, units, least_variance(images))
            found[name] = 100 * (law.p_value() < ALPHA)
        return found

    return once
