"""COCO's segmentations (polygons and run lengths) as PNG masks, by pycocotools."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from PIL import Image

from wsol.errors import UserError
from wsol.files.run_lengths import checked_runs


def mask_png(segmentations: list[Any], size_wh: tuple[int, int], name: str) -> bytes | None:
    """The union of COCO segmentations as an 8-bit PNG, or None where there is none."""
    if not segmentations:
        return None
    try:
        from pycocotools import mask as masks
    except ImportError as error:
        raise UserError("masks of COCO JSON need pycocotools: pip install 'wsol-eval[coco]'") from error

    width, height = size_wh
    union = np.zeros((height, width), np.uint8)
    for segmentation in segmentations:
        try:
            _check_segmentation(segmentation, size_wh)
            if isinstance(segmentation, list):
                coded = masks.merge(masks.frPyObjects(segmentation, height, width))
            elif isinstance(segmentation["counts"], list):
                coded = masks.frPyObjects(segmentation, height, width)
            else:
                coded = segmentation
            union |= masks.decode(coded)
        except Exception as error:  # pycocotools raises nearly anything on broken input
            raise UserError(f"image '{name}': its segmentation cannot be decoded ({error})") from error
    stream = io.BytesIO()
    Image.fromarray(union * np.uint8(255)).save(stream, "PNG")
    return stream.getvalue()


def _check_segmentation(segmentation: Any, size_wh: tuple[int, int]) -> None:
    """What pycocotools would read past the end of is refused before it sees it."""
    if isinstance(segmentation, list):
        for polygon in segmentation:
            numbers = isinstance(polygon, list) and len(polygon) >= 6 and len(polygon) % 2 == 0
            if not numbers or not all(isinstance(v, (int, float)) and abs(v) < 1e6 for v in polygon):
                raise ValueError(
                    f"a polygon needs an even number of at least six numbers, got {polygon!r:.40}"
                )
        return
    if not isinstance(segmentation, dict) or list(segmentation.get("size", ())) != list(size_wh[::-1]):
        raise ValueError(
            f"a run-length mask must have the image's size [height, width], got {segmentation!r:.60}"
        )
    checked_runs(segmentation)
