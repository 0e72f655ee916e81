"""Best IoU per level, as both paths of the box kernel record it: compiled helpers, levels 0..255 of one
map."""

from __future__ import annotations

from numba import njit

LEVELS = 256


@njit(nogil=True, cache=True)
def best_iou(x0, y0, x1, y1, gt):
    """Inclusive-end IoU of one box with gt [M, 4]: (best over all, with the first); (0, 0) without GT
    boxes."""
    best, first = 0.0, 0.0
    area = (x1 - x0 + 1.0) * (y1 - y0 + 1.0)
    for m in range(gt.shape[0]):
        width = min(x1, gt[m, 2]) - max(x0, gt[m, 0]) + 1.0
        height = min(y1, gt[m, 3]) - max(y0, gt[m, 1]) + 1.0
        if width > 0.0 and height > 0.0:
            shared = width * height
            gt_area = (gt[m, 2] - gt[m, 0] + 1.0) * (gt[m, 3] - gt[m, 1] + 1.0)
            iou = shared / (area + gt_area - shared)
            if iou > best:
                best = iou
            if m == 0:
                first = iou
    return best, first


@njit(nogil=True, cache=True)
def finish_levels(score, gt, all_any, all_first, largest_box, largest_any, largest_first):
    """Score the `largest` rule's boxes; where no pixel is foreground both rules have the one box [0, 0, 0,
    0].

    Equal boxes on neighbouring levels are scored once.
    """
    top = 0
    for y in range(score.shape[0]):
        for x in range(score.shape[1]):
            top = max(top, score[y, x])
    for level in range(LEVELS):
        box = largest_box[level]
        same = level > 0
        for k in range(4):
            same = same and box[k] == largest_box[level - 1, k]
        if same:
            largest_any[level], largest_first[level] = largest_any[level - 1], largest_first[level - 1]
        else:
            largest_any[level], largest_first[level] = best_iou(box[0], box[1], box[2], box[3], gt)
        if level >= top:
            all_any[level], all_first[level] = largest_any[level], largest_first[level]
