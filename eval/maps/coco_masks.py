"""Predicted masks as COCO results: a list of image_id or file_name, segmentation (run lengths), and perhaps score.

An image's map holds at each pixel the highest score of the masks that cover it, 1 where the file states none.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from wsol.errors import UserError
from wsol.files.run_lengths import mask_of_runs
from wsol.files.strict_json import read_json

if TYPE_CHECKING:
    import numpy.typing as npt

Masks = dict[str, list[tuple[dict[str, Any], float]]]


def read_coco_masks(file: Path) -> Masks:
    """Run lengths and score of every mask, by image name.

    Raises:
        UserError: a file that is no list of such results, with the number of the entry. Run lengths are looked at when
            a mask is drawn.
    """
    data = read_json(file)
    if not isinstance(data, list):
        raise UserError(f"'{file}': expected a list of COCO results, got {type(data).__name__}")
    found: Masks = {}
    for number, entry in enumerate(data, 1):
        where = f"{file}: result {number}"
        mask = entry.get("segmentation") if isinstance(entry, dict) else None
        if not isinstance(mask, dict):
            raise UserError(
                f"{where}: expected a mapping with segmentation {{size, counts}} (run lengths); boxes go to --boxes, "
                "and pycocotools' frPyObjects turns polygons into run lengths"
            )
        name = entry.get("file_name", entry.get("image_id"))
        if not isinstance(name, str):
            raise UserError(
                f"{where}: a number names no image here; give file_name, or an image id of the dataset"
            )
        score = entry.get("score", 1.0)
        if isinstance(score, bool) or not isinstance(score, (int, float)):
            raise UserError(f"{where}: expected a number as score, got {score!r:.20}")
        found.setdefault(name, []).append((mask, float(score)))
    return found


def drawn_masks(masks: list[tuple[dict[str, Any], float]]) -> npt.NDArray[np.float32]:
    """The map of an image [H, W]; ValueError where masks are none, or of different sizes."""
    found: npt.NDArray[np.float32] | None = None
    for mask, score in masks:
        inside = mask_of_runs(mask)
        if found is None:
            found = np.zeros(inside.shape, np.float32)
        if found.shape != inside.shape:
            raise ValueError(f"its masks have the sizes {found.shape} and {inside.shape}")
        np.maximum(found, np.float32(score), out=found, where=inside)
    assert found is not None  # an image without a mask is not in the file
    return found
