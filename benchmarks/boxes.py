"""The box kernel against the contour search per threshold that users run today.

    python -m benchmarks.boxes                    # speed: one thread each, the same maps, ratios within one run
    python -m benchmarks.boxes --verify 20000     # equality: every level of that many random maps, both kernels

Run it from the repository's root: the OpenCV loop is the tests' oracle. CPU time of the thread is measured, so that a
busy machine disturbs the ratios little. The floor is what any way to the boxes of all levels has to do: read the map
once and sort its pixels once (numpy's stable sort of bytes, a radix sort).
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt

from eval.boxes import best_iou as component_tree
from eval.maps.normalization import NORMALIZATIONS, score_levels
from tests.helpers.contour_oracle import oracle_levels, random_boxes, random_map, reference_loop, upsampled

SIDE = 224
THRESHOLDS = np.arange(0, 1, 0.001)

CamMaker = Callable[[np.random.Generator], npt.NDArray[np.float64]]


def _independent(side: int) -> CamMaker:
    """A CAM whose cells know nothing of each other: as many extrema as its size can hold."""
    return lambda rng: upsampled(rng.random((side, side)), SIDE, SIDE)


def _blurred(side: int) -> CamMaker:
    """A CAM as networks give it: neighbouring cells alike, a few extrema whatever its size."""
    sigma = max(side * 1.5 / 14, 0.75)
    return lambda rng: upsampled(cv2.GaussianBlur(rng.random((side, side)), (0, 0), sigma), SIDE, SIDE)


KINDS: dict[str, CamMaker] = {
    "7x7": _blurred(7),
    "7x7 rough": _independent(7),
    "14x14": _blurred(14),
    "14x14 rough": _independent(14),
    "28x28": _blurred(28),
    "28x28 rough": _independent(28),
    "noise": _independent(SIDE),
}


def measure(maker: CamMaker, num_maps: int, rng: np.random.Generator) -> tuple[float, float, float, float]:
    """Milliseconds a map of the OpenCV loop, the kernel, the kernel for all normalisations together, and the floor;
    checks that loop and kernel agree."""
    scores = np.stack([maker(rng) for _ in range(num_maps)])
    scores_u8 = (scores * 255).astype(np.uint8)
    gt = np.stack([random_boxes(rng, score)[0] for score in scores_u8])
    offsets = np.arange(num_maps + 1)

    ours = []
    component_tree.best_iou_per_level_batch(
        scores_u8, gt, offsets, num_threads=1
    )  # compile, touch the memory
    for _ in range(5):
        start = time.thread_time()
        record = component_tree.best_iou_per_level_batch(scores_u8, gt, offsets, num_threads=1)
        ours.append(time.thread_time() - start)

    versions = np.stack([score_levels(scores, name)[0] for name in NORMALIZATIONS])
    together = []
    component_tree.best_iou_of_versions(versions, gt, offsets)
    for _ in range(5):
        start = time.thread_time()
        component_tree.best_iou_of_versions(versions, gt, offsets)
        together.append(time.thread_time() - start)

    floor = []
    for _ in range(5):
        start = time.thread_time()
        for score in scores_u8:
            int(score.max())
            np.sort(score, axis=None, kind="stable")
        floor.append(time.thread_time() - start)

    loop_maps = max(1, min(num_maps, 20)) if maker is not KINDS["noise"] else 1  # noise: ten seconds a map
    loop = 0.0
    for n in range(loop_maps):
        start = time.thread_time()
        largest, every = reference_loop(scores[n], gt[n : n + 1], THRESHOLDS)
        loop += time.thread_time() - start
        levels = (THRESHOLDS * scores_u8[n].max()).astype(int)
        if not (
            np.array_equal(record.largest_any[n][levels], largest)
            and np.array_equal(record.all_any[n][levels], every)
        ):
            raise SystemExit(f"map {n}: the kernel and the OpenCV loop disagree")
    a, b, c = (min(found) / num_maps * 1e3 for found in (ours, together, floor))
    return loop / loop_maps * 1e3, a, b, c


def print_speed(num_maps: int, seed: int) -> None:
    """One line a kind of map."""
    print(
        f"{SIDE} x {SIDE}, {len(THRESHOLDS)} thresholds, both rules, one thread, {num_maps} maps a kind, CPU time"
    )
    print(
        f"{'map':<12} {'loop ms':>10} {'ours ms':>9} {'ratio':>8} {'floor ms':>9} {'ours/floor':>11} "
        f"{len(NORMALIZATIONS)} normalisations ms"
    )
    for index, (name, maker) in enumerate(KINDS.items()):
        loop, ours, together, floor = measure(maker, num_maps, np.random.default_rng([seed, index]))
        print(
            f"{name:<12} {loop:10.1f} {ours:9.3f} {loop / ours:7.0f}x {floor:9.3f} {ours / floor:11.1f} "
            f"{together:12.3f}",
            flush=True,
        )


def verify(num_maps: int, seed: int) -> None:
    """Compare every record of both kernels with 256 contour searches; one map in 500 has the size of a frame."""
    rng = np.random.default_rng(seed)
    kernels: tuple[component_tree.Kernel, ...] = ("runs", "pixels")
    makers = list(KINDS.values())
    levels = unsuited = 0
    start = time.perf_counter()
    for n in range(num_maps):
        if n % 500 == 499:
            score = (makers[(n // 500) % len(makers)](rng) * 255).astype(np.uint8)
        else:
            score = random_map(rng, 40 if n % 10 == 0 else 16)
        gt = random_boxes(rng, score)
        expected = oracle_levels(score, gt)
        for kernel in kernels:
            try:
                record = component_tree._score_batch(
                    score[None], gt.astype(np.float64), np.array([0, len(gt)]), num_threads=1, kernel=kernel
                )[0]
            except ValueError:  # more extrema than the runs kernel takes
                unsuited += 1
                continue
            for name, value in expected.items():
                if not np.array_equal(getattr(record, name), value):
                    raise SystemExit(
                        f"map {n} of seed {seed}: {kernel} differs in {name}\n{score!r}\nGT {gt.tolist()}"
                    )
        levels += 256
        if (n + 1) % 1000 == 0:
            print(f"{n + 1} maps, {time.perf_counter() - start:.0f} s", flush=True)
    print(
        f"equal: {num_maps} maps, {levels} levels, IoU of both rules (any and first GT) and the `largest` box, "
        f"both kernels ({unsuited} maps by union-find only); seed {seed}, OpenCV {cv2.__version__}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed and exactness of the all-threshold box kernel.")
    parser.add_argument("--maps", type=int, default=40, help="maps a kind for the speed table (default: 40)")
    parser.add_argument(
        "--verify", type=int, metavar="N", help="compare N random maps with the contour search instead"
    )
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    cv2.setNumThreads(1)
    if args.verify:
        verify(args.verify, args.seed)
    else:
        print_speed(args.maps, args.seed)


if __name__ == "__main__":
    main()
