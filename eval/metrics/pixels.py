"""Metrics of masks: score histograms per image, PxAP and pooled mask IoU.

PxAP as in Choe et al., CVPR 2020 (arXiv 2001.07437): over all pixels of the set, precision and recall of
score >= tau against the mask, ignore regions left out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from eval.metrics.outcomes import NotComputed, Summary
from eval.protocols import Protocol
from eval.records.histograms import histogram_edges
from eval.statistics.law import Law

if TYPE_CHECKING:
    import numpy.typing as npt

    from eval.metrics.outcomes import Outcome


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
    num_images: int,
    units: int,
) -> Outcome:
    """The outcome of a mask metric from summed histograms (object, background), each [1 + B, bins]: the whole set, then
    each resample. `units` is the number of images or clusters that were drawn.

    The interval is Student's around the value with the bootstrap's variance. It is not corrected for a best threshold:
    pixels are so many that the optimism is small beside it.
    """
    edges = histogram_edges(protocol.threshold_step)
    inside, outside = (h[0] for h in hists)
    inside_boot, outside_boot = (h[1:] for h in hists)
    if not inside.sum():
        return NotComputed(protocol, "no pixel of any mask belongs to an object")
    taus: tuple[float, ...] = ()
    ties: tuple[int, ...] = ()
    if protocol.metric == "pixel_average_precision":
        value = float(average_precision(inside, outside))
        resampled = average_precision(inside_boot, outside_boot)
        curves = None
    else:
        curve = pooled_iou(inside, outside)[:-2]
        best = int(np.argmax(curve))
        value, taus, ties = float(curve[best]), (float(edges[best]),), (int((curve == curve[best]).sum()),)
        resampled = pooled_iou(inside_boot, outside_boot)[:, :-2].max(1)
        curves = curve[None]
    interval: tuple[float, float] | None = None
    if len(resampled) > 1:
        variance = float(np.nanvar(resampled, ddof=1)) * units / max(units - 1, 1)
        low, high = Law(value, variance, max(units - 1, 1)).interval()
        interval = max(0.0, low), min(100.0, high)
    return Summary(
        protocol,
        value,
        interval,
        {},
        taus,
        ties,
        num_images,
        taus=edges[:-3] if curves is not None else None,
        curves=curves,
        resampled=resampled if len(resampled) else None,
    )
