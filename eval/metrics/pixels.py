"""Metrics of masks: score histograms per image, PxAP and pooled mask IoU.

PxAP as in Choe et al., CVPR 2020 (arXiv 2001.07437): over all pixels of the set, precision and recall of
score >= tau against the mask, ignore regions left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from eval.metrics.bootstrap import percentile_interval
from eval.protocols import Protocol

if TYPE_CHECKING:
    import numpy.typing as npt

    from eval.metrics.summarize import Outcome


def histogram_edges(step: float) -> npt.NDArray[np.float64]:
    """Bin edges: arange(0, 1, step), then 1, 2, 3; the last two bins hold exactly 1 and nothing."""
    return np.append(np.arange(0, 1, step), [1.0, 2.0, 3.0])


def resize_mask(mask: npt.NDArray[np.uint8], size_hw: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """An 8-bit grey mask in the frame: OpenCV's nearest resize first, then > 0.5."""
    import cv2

    resized = cv2.resize(
        np.ascontiguousarray(mask), (size_hw[1], size_hw[0]), interpolation=cv2.INTER_NEAREST
    )
    return np.asarray(resized) > 0.5


def score_histograms(
    score: npt.NDArray[np.float64],
    mask: npt.NDArray[np.bool_],
    ignore: npt.NDArray[np.bool_] | None,
    edges: npt.NDArray[np.float64],
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Counts of scores per bin [e_i, e_i+1) inside the mask and outside it, ignored pixels left out of both.

    `score` [H, W] lies in [0, 1]. Pixels both ignored and in the mask count as mask.
    """
    values = score.ravel()
    # the edges are equally spaced below 1 up to rounding, so the quotient is off by one bin at most
    bins = np.minimum((values * (len(edges) - 3)).astype(np.int32), len(edges) - 3)
    bins -= edges[bins] > values
    bins += edges[bins + 1] <= values
    inside = mask.ravel()
    outside = ~inside if ignore is None else ~inside & ~ignore.ravel()
    count = len(edges) - 1
    return (
        np.bincount(bins[inside], minlength=count).astype(np.int32),
        np.bincount(bins[outside], minlength=count).astype(np.int32),
    )


def average_precision(
    hist_object: npt.NDArray[np.float64], hist_background: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """PxAP in percent from histograms [..., bins]; NaN where no pixel is in a mask.

    From the highest bin down P = tp / (tp + fp), R = tp / total; the area is the sum of P times the step in R, the
    top bin only anchoring recall 0.

    >>> average_precision(np.array([0.0, 0.0, 2.0, 0.0]), np.array([2.0, 0.0, 0.0, 0.0])).tolist()
    100.0
    """
    tp = hist_object[..., ::-1].cumsum(-1)
    fp = hist_background[..., ::-1].cumsum(-1)
    found = tp + fp
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = tp / found
        recall = tp / tp[..., -1:]
        steps = np.where(found[..., 1:] > 0, precision[..., 1:] * np.diff(recall, axis=-1), 0.0)
    return np.asarray(np.where(tp[..., -1] > 0, steps.sum(-1) * 100, np.nan))


def pooled_iou(
    hist_object: npt.NDArray[np.float64], hist_background: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """IoU in percent of the mask and {score >= tau}, pixels pooled, at every bin's lower edge: [..., bins]."""
    tp = hist_object[..., ::-1].cumsum(-1)[..., ::-1]
    fp = hist_background[..., ::-1].cumsum(-1)[..., ::-1]
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(100 * tp / (tp[..., :1] + fp))


def finish_histograms(
    protocol: Protocol,
    hists: Sequence[npt.NDArray[np.float64]],
    hists_boot: Sequence[npt.NDArray[np.float64]],
    num_images: int,
) -> Outcome:
    """The outcome of a mask metric from summed histograms (object, background)."""
    from eval.metrics.summarize import NotComputed, Summary

    edges = histogram_edges(protocol.threshold_step)
    inside, outside = hists
    if len(inside) != len(edges) - 1:
        return NotComputed(
            protocol,
            f"the records hold score histograms of {len(inside)} bins, and a threshold_step of "
            f"{protocol.threshold_step:g} needs {len(edges) - 1}",
        )
    if not inside.sum():
        return NotComputed(protocol, "no pixel of any mask belongs to an object")
    taus: tuple[float, ...] = ()
    ties: tuple[int, ...] = ()
    resampled: npt.NDArray[np.float64] | None
    if protocol.metric == "pixel_average_precision":
        value = float(average_precision(inside, outside))
        resampled = average_precision(*hists_boot) if hists_boot else None
        curves = None
    else:
        curve = pooled_iou(inside, outside)[:-2]
        best = int(np.argmax(curve))
        value, taus, ties = float(curve[best]), (float(edges[best]),), (int((curve == curve[best]).sum()),)
        resampled = pooled_iou(*hists_boot)[:, :-2].max(1) if hists_boot else None
        curves = curve[None]
    return Summary(
        protocol,
        value,
        percentile_interval(resampled) if resampled is not None else None,
        {},
        taus,
        ties,
        num_images,
        taus=edges[:-3] if curves is not None else None,
        curves=curves,
        resampled=resampled,
    )
