"""Boxes of an image without knowing any class: selective search in small, and the most distinct of its boxes.

Regions of Felzenszwalb and Huttenlocher (IJCV 2004) are merged greedily, the two most similar neighbours first, by
colour and size, as in Uijlings et al. (Selective Search, IJCV 2013); every region that ever was gives a box. Of these
the one is taken whose colours differ most from the ring around it (colour contrast, Alexe et al., PAMI 2012).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import cv2
import numpy as np
from skimage.segmentation import felzenszwalb

if TYPE_CHECKING:
    import numpy.typing as npt

SIDE = 160
"""Longest side that an image is reduced to, in pixels."""
_BINS = 8
_SCALE, _SIGMA, _LEAST = 100.0, 0.8, 60
_SMALLEST, _LARGEST = 0.02, 0.95  # share of the image that a box may take
_RING = 1.5  # side of the surroundings over that of the box


@dataclass
class _Region:
    size: int
    xyxy: npt.NDArray[np.int64]
    colours: npt.NDArray[np.float64]
    """Histogram over the Lab channels, summing to 1."""
    neighbours: set[int]


def proposals(rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Boxes [K, 4] of every region of an image [H, W, 3], in its pixels with exclusive ends; at least the whole."""
    height, width = rgb.shape[:2]
    small, lab = _reduced(rgb)
    labels = felzenszwalb(small, scale=_SCALE, sigma=_SIGMA, min_size=_LEAST)
    regions = _regions(labels, lab)
    similar = {
        (a, b): _similarity(regions, a, b, labels.size)
        for a in regions
        for b in regions[a].neighbours
        if a < b
    }
    found = [r.xyxy for r in regions.values()]
    following = max(regions) + 1
    while similar:
        a, b = max(similar, key=lambda pair: similar[pair])
        merged = _merged(regions, a, b)
        similar = {pair: s for pair, s in similar.items() if a not in pair and b not in pair}
        regions[following] = merged
        found.append(merged.xyxy)
        for n in merged.neighbours:
            regions[n].neighbours -= {a, b}
            regions[n].neighbours.add(following)
            similar[n, following] = _similarity(regions, n, following, labels.size)
        following += 1
    scale = np.tile([width / small.shape[1], height / small.shape[0]], 2)
    return (
        np.unique(np.concatenate([np.array(found), [[0, 0, small.shape[1], small.shape[0]]]]), axis=0) * scale
    )


def most_distinct(rgb: npt.NDArray[np.uint8], boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The box [4] whose colours differ most from those of the ring around it, among boxes [K, 4] of the image."""
    height, width = rgb.shape[:2]
    small, lab = _reduced(rgb)
    planes = _planes(lab)
    scale = np.tile([small.shape[1] / width, small.shape[0] / height], 2)
    corners = np.rint(boxes * scale).astype(np.int64)
    area = (corners[:, 2:] - corners[:, :2]).prod(1) / (small.shape[0] * small.shape[1])
    fine = (area >= _SMALLEST) & (area <= _LARGEST)
    if not fine.any():
        return np.array([0.0, 0.0, width, height])
    centre = (corners[:, :2] + corners[:, 2:]) / 2
    half = (corners[:, 2:] - corners[:, :2]) * _RING / 2
    last = np.array([small.shape[1], small.shape[0]])
    outer = np.concatenate([np.clip(centre - half, 0, last), np.clip(centre + half, 0, last)], 1)
    inner, around = _sums(planes, corners), _sums(planes, np.rint(outer).astype(np.int64))
    ring = around - inner
    p, q = (h / np.maximum(h.sum(1, keepdims=True), 1) for h in (inner, ring))
    contrast = ((p - q) ** 2 / np.maximum(p + q, 1e-9)).sum(1) * np.sqrt(area)  # else small spots win
    return np.asarray(boxes[int(np.argmax(np.where(fine & (ring.sum(1) > 0), contrast, -1)))])


def _reduced(rgb: npt.NDArray[np.uint8]) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint8]]:
    factor = min(1.0, SIDE / max(rgb.shape[:2]))
    size = (max(round(rgb.shape[1] * factor), 1), max(round(rgb.shape[0] * factor), 1))
    small = np.asarray(cv2.resize(rgb, size, interpolation=cv2.INTER_AREA), np.uint8)
    return small, np.asarray(cv2.cvtColor(small, cv2.COLOR_RGB2LAB), np.uint8)


def _bins(lab: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Bin of each pixel in each channel [H, W, 3], counted through."""
    return np.asarray(lab, np.int64) * _BINS // 256 + np.arange(3) * _BINS


def _planes(lab: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Summed-area tables of every bin [H + 1, W + 1, 3 * bins]."""
    one_hot = (_bins(lab)[..., None] == np.arange(3 * _BINS)).any(2)
    table = np.zeros((lab.shape[0] + 1, lab.shape[1] + 1, 3 * _BINS))
    table[1:, 1:] = one_hot.cumsum(0).cumsum(1)
    return table


def _sums(planes: npt.NDArray[np.float64], xyxy: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    x0, y0, x1, y1 = xyxy.T
    return np.asarray(planes[y1, x1] - planes[y0, x1] - planes[y1, x0] + planes[y0, x0])


def _regions(labels: npt.NDArray[np.int64], lab: npt.NDArray[np.uint8]) -> dict[int, _Region]:
    bins = _bins(lab)
    pairs: set[tuple[int, int]] = set()
    for a, b in ((labels[:, :-1], labels[:, 1:]), (labels[:-1], labels[1:])):
        pairs |= set(map(tuple, np.unique(np.stack([a[a != b], b[a != b]], 1), axis=0).tolist()))
    found = {}
    for k in np.unique(labels).tolist():
        inside = labels == k
        y, x = np.nonzero(inside)
        counted = np.bincount(bins[inside].ravel(), minlength=3 * _BINS).astype(np.float64)
        xyxy = np.array([x.min(), y.min(), x.max() + 1, y.max() + 1])
        found[k] = _Region(len(x), xyxy, counted / counted.sum(), set())
    for first, second in pairs:
        found[first].neighbours.add(second)
        found[second].neighbours.add(first)
    return found


def _similarity(regions: dict[int, _Region], a: int, b: int, pixels: int) -> float:
    """Shared colour, and small regions first."""
    p, q = regions[a], regions[b]
    return float(np.minimum(p.colours, q.colours).sum()) + 1 - (p.size + q.size) / pixels


def _merged(regions: dict[int, _Region], a: int, b: int) -> _Region:
    p, q = regions.pop(a), regions.pop(b)
    size = p.size + q.size
    xyxy = np.concatenate([np.minimum(p.xyxy[:2], q.xyxy[:2]), np.maximum(p.xyxy[2:], q.xyxy[2:])])
    colours = (p.colours * p.size + q.colours * q.size) / size
    return _Region(size, xyxy, colours, (p.neighbours | q.neighbours) - {a, b})
