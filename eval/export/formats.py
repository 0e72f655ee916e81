"""What other programs read: predicted boxes as COCO results, score maps as `.npy` in the reference layout.

Boxes are those of a protocol at its own threshold, in pixels of the stored image, as COCO's x, y, width, height. They
are category `label + 1`, because a score map is made for the true class (GT-known); the class that the network names
is beside it in `predicted_category_id`, null where it names none of the dataset's. Records hold no confidence, so
`score` is 1.

Score maps are float64 in [0, 1] at the frame's size, `<root>/<image_id>.npy`: what wsolevaluation and its kin load.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.analysis.evaluated import Evaluated, Unavailable
from eval.analysis.per_image import per_image
from eval.maps.normalization import normalize, upsample
from eval.protocols import Protocol
from wsol.errors import UserError
from wsol.files.atomic_write import remove_unfinished, write_durably

if TYPE_CHECKING:
    import numpy.typing as npt

    from wsol.manifest import Manifest, Split


def boxes_in_image(
    box_xyxy: npt.NDArray[np.integer], sizes_wh: npt.NDArray[np.integer], frame_size: int
) -> npt.NDArray[np.float64]:
    """Boxes [N, 4] of a frame that shows the whole image, as x, y, width, height in image pixels.

    >>> boxes_in_image(np.array([[0, 56, 112, 168]]), np.array([[400, 100]]), 224).tolist()
    [[0.0, 25.0, 200.0, 50.0]]
    """
    scale = sizes_wh.astype(np.float64) / frame_size
    x0, y0 = (box_xyxy[:, k] * scale[:, k] for k in (0, 1))
    x1, y1 = (box_xyxy[:, k + 2] * scale[:, k] for k in (0, 1))
    return np.stack([x0, y0, x1 - x0, y1 - y0], axis=1)


def coco_ground_truth(manifest: Manifest, split: Split) -> dict[str, Any]:
    """The split as a COCO dataset, which the results refer to: image ids are positions + 1, categories label + 1."""
    annotations: list[dict[str, Any]] = []
    last = (
        1.0 if manifest.corners == "inclusive" else 0.0
    )  # a corner that is the last pixel ends one further on
    for i in range(len(split)):
        for x0, y0, x1, y1 in split.boxes(i).tolist():
            w, h = x1 - x0 + last, y1 - y0 + last
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": i + 1,
                    "category_id": int(split.labels[i]) + 1,
                    "bbox": [x0, y0, w, h],
                    "area": w * h,
                    "iscrowd": 0,
                }
            )
    return {
        "info": {"description": manifest.dataset},
        "images": [
            {
                "id": i + 1,
                "file_name": split.path(i),
                "width": int(split.sizes_wh[i, 0]),
                "height": int(split.sizes_wh[i, 1]),
            }
            for i in range(len(split))
        ],
        "categories": [{"id": k + 1, "name": name} for k, name in enumerate(manifest.classes)],
        "annotations": annotations,
    }


def coco_results(run: Evaluated, split: Split, protocol: Protocol) -> list[dict[str, Any]]:
    """One predicted box an image (of the largest contour) at the protocol's own threshold; none of an image in which
    nothing was predicted, whose record has a box without width and height.

    Raises `UserError` for a protocol without boxes, or whose frame does not show the whole image.
    """
    if protocol.metric != "box_accuracy":
        raise UserError(f"protocol '{protocol.name}' has no boxes to export")
    if protocol.frame != "resize":
        raise UserError(
            f"protocol '{protocol.name}' scores in the '{protocol.frame}' frame, which does not show the whole image"
        )
    unknown = np.flatnonzero(split.sizes_wh.min(1) < 1)
    if len(unknown):
        raise UserError(
            f"image '{split.image_ids[int(unknown[0])]}': the manifest does not state its size, so its box cannot be "
            "given in its pixels; prepare the dataset again with its image files in place"
        )
    found = per_image(run.store, protocol, run.thresholds(protocol.name))
    boxes = boxes_in_image(found.box_xyxy, split.sizes_wh, protocol.frame_size)
    return [
        {
            "image_id": i + 1,
            "category_id": int(found.label[i]) + 1,
            "bbox": [round(float(v), 3) for v in boxes[i]],
            "score": 1.0,
            "file_name": split.path(i),
            "predicted_category_id": int(found.predicted[i]) + 1 if found.predicted[i] >= 0 else None,
        }
        for i in range(len(split))
        if found.box_xyxy[i].any()
    ]


def write_coco(
    run: Evaluated, manifest: Manifest, split: Split, protocol: Protocol, file: Path
) -> tuple[Path, Path, int]:
    """Write the results to `file` and the dataset they refer to beside it, as NAME-dataset.json. Returns both, and how
    many images have no predicted box."""
    file.parent.mkdir(parents=True, exist_ok=True)
    truth = file.with_name(f"{file.stem}-dataset.json")
    write_durably(truth, json.dumps(coco_ground_truth(manifest, split)))
    results = coco_results(run, split, protocol)
    return write_durably(file, json.dumps(results)), truth, len(split) - len(results)


def write_score_maps(
    run: Evaluated,
    split: Split,
    folder: Path,
    *,
    normalization: str = "minmax",
    frame_size: int,
    advance: Callable[[int], None] = lambda images: None,
) -> int:
    """Write every image's map; returns how many are missing or cannot be normalised, and are all zeros.

    Raises `UserError` where the run kept no raw maps, or an image id leads out of the folder.
    """
    source = run.maps(split)
    if isinstance(source, Unavailable):
        raise UserError(source.reason)
    reason = source.unusable(normalization, "resize")
    if reason:
        raise UserError(reason)
    odd, folders = 0, set[Path]()
    for batch in source.batches(np.arange(len(split), dtype=np.int64)):
        for i, row in enumerate(batch.rows.tolist()):
            raw = batch.maps["resize"][i]
            score = np.zeros((frame_size, frame_size))
            if raw is not None:
                score, status = normalize(upsample(raw, score.shape), normalization)
            odd += raw is None or bool(status)
            path = _inside(folder, split.image_ids[row])
            if path.parent not in folders:
                path.parent.mkdir(parents=True, exist_ok=True)
                remove_unfinished(path.parent)
                folders.add(path.parent)
            write_durably(path, partial(np.save, arr=score, allow_pickle=False), tidy=False)
        advance(len(batch.rows))
    return odd


def _inside(folder: Path, image_id: str) -> Path:
    parts = PurePosixPath(image_id).parts
    if not parts or ".." in parts or PurePosixPath(image_id).is_absolute() or "\\" in image_id:
        raise UserError(f"image id '{image_id}' leads out of '{folder}'; its map is not written")
    return folder.joinpath(*parts[:-1], f"{parts[-1]}.npy")
