"""Does the map reach the less discriminative parts? Per part: how often it lies inside the predicted box, and the map's
value on it against the map's mean over the whole object.

The box is the one at the protocol's own threshold. A part counts where it is annotated as visible. Its map value is
the mean over its mask where there are part masks, else the value at its point; the object is the union of the masks,
else of the true boxes. Values are those of the min-max normalised map. Images in which a value is undefined (part not
visible, constant map) are left out and counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from eval.analysis.evaluated import Evaluated, Unavailable
from eval.analysis.paired_statistics import Sampled, paired_difference
from eval.analysis.per_image import PerImage, means_of_images
from eval.boxes.frames import Frame
from eval.maps.normalization import normalize, upsample
from eval.metrics.bootstrap import Bootstrap
from wsol.images import decode_grey, open_root

if TYPE_CHECKING:
    import numpy.typing as npt

    from wsol.images import FileRoot
    from wsol.manifest import Manifest, Split


def part_points(split: Split, num_parts: int, size: int) -> npt.NDArray[np.float64]:
    """Points of visible parts in a frame that shows the whole image, [N, P, 2] (x, y); NaN where not visible."""
    points = np.full((len(split), num_parts, 2), np.nan)
    for row, parts in split.parts.items():
        wh = split.sizes_wh[row].astype(np.float64)
        if wh.min() < 1:
            continue
        visible = parts[:, 2] > 0
        points[row, visible] = parts[visible, :2] * size / wh
    return points


def inside_box(points: npt.NDArray[np.float64], box_xyxy: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
    """Whether each part [N, P, 2] lies in its image's box [N, 4], both ends counted; false for NaN."""
    x, y = points[..., 0], points[..., 1]
    x0, y0, x1, y1 = (box_xyxy[:, k, None].astype(np.float64) for k in range(4))
    return np.asarray((x0 <= x) & (x <= x1) & (y0 <= y) & (y <= y1))


def value_ratios(
    score: npt.NDArray[np.float64],
    whole: npt.NDArray[np.bool_],
    points: npt.NDArray[np.float64],
    parts: npt.NDArray[np.uint8] | None,
) -> npt.NDArray[np.float64]:
    """Map value on each part over the map's mean on the object, [P]; NaN where undefined.

    `score` [H, W] in [0, 1], `whole` [H, W] the object, `points` [P, 2] in the frame, `parts` [H, W] with k for part
    k - 1, or None.
    """
    ratios = np.full(len(points), np.nan)
    if not whole.any() or not (mean := float(score[whole].mean())) > 0:
        return ratios
    if parts is not None:
        area = np.bincount(parts.ravel(), minlength=len(points) + 1)[1 : len(points) + 1]
        total = np.bincount(parts.ravel(), score.ravel(), minlength=len(points) + 1)[1 : len(points) + 1]
        shown = area > 0
        ratios[shown] = total[shown] / area[shown] / mean
        return ratios
    visible = np.isfinite(points).all(1)
    last = np.array(score.shape[::-1]) - 1
    x, y = np.clip(points[visible].astype(np.int64), 0, last).T
    ratios[visible] = score[y, x] / mean
    return ratios


def part_values(run: Evaluated, manifest: Manifest, split: Split) -> npt.NDArray[np.float64] | Unavailable:
    """`value_ratios` of every image of a run, [N, P], from its raw maps."""
    source = run.maps(split)
    if isinstance(source, Unavailable):
        return source
    reason = source.unusable("minmax", "resize")
    if reason:
        return Unavailable(reason)
    frame = Frame.of("resize", 224, source.input_size)
    num_parts = len(manifest.part_names)
    points = part_points(split, num_parts, frame.size)
    files = open_root(manifest.root) if manifest.root and split.masks else None
    found = np.full((len(split), num_parts), np.nan)
    for batch in source.batches(np.arange(len(split), dtype=np.int64)):
        for i, row in enumerate(batch.rows):
            raw = batch.maps["resize"][i]
            if raw is None:
                continue
            score, status = normalize(upsample(raw, frame.size_hw), "minmax")
            if not status:
                whole, parts = _object(files, split, int(row), frame)
                found[row] = value_ratios(score, whole, points[row], parts)
    return found


def _object(
    files: FileRoot | None, split: Split, row: int, frame: Frame
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.uint8] | None]:
    whole = np.zeros(frame.size_hw, bool)
    if files is not None and row in split.masks:
        for path in split.masks[row]:
            whole |= frame.mask(decode_grey(files.read_bytes(path), path))
        if row not in split.part_masks:
            return whole, None
        path = split.part_masks[row]
        grey = decode_grey(files.read_bytes(path), path)
        return whole, np.asarray(
            cv2.resize(grey, (frame.size, frame.size), interpolation=cv2.INTER_NEAREST), np.uint8
        )
    size = split.size_wh(row)
    if size is not None:
        for x0, y0, x1, y1 in frame.boxes(split.boxes(row), size, split.image_ids[row]):
            whole[y0 : y1 + 1, x0 : x1 + 1] = True
    return whole, None


def part_differences(
    baseline: Sequence[PerImage],
    other: Sequence[PerImage],
    values: tuple[Sequence[npt.NDArray[np.float64]], Sequence[npt.NDArray[np.float64]]] | None,
    split: Split,
    part_names: Sequence[str],
    *,
    frame_size: int,
    by_seed: bool,
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    """`inside_box` and (with raw maps) `map_value`: both methods and their difference for every part and for all
    visible parts together, in percent."""
    points = part_points(split, len(part_names), frame_size)
    visible = np.isfinite(points).all(2)
    names = ["all parts", *part_names]
    scored = baseline[0].scored[:, None]

    def compare(a: Sequence[npt.NDArray[np.float64]], b: Sequence[npt.NDArray[np.float64]]) -> dict[str, Any]:
        """Arrays [N, 1 + P] with NaN where undefined; an image counts where it is defined for every run."""
        valid = np.logical_and.reduce([np.isfinite(x) for x in (*a, *b)]) & scored
        sampled = [[means_of_images(np.nan_to_num(x), valid, bootstrap) for x in runs] for runs in (a, b)]
        found = {}
        for k, name in enumerate(names):
            n = int(valid[:, k].sum())
            if not n:
                continue
            difference = paired_difference(
                *(Sampled.of([m[k] for m, _ in runs], [s[k] for _, s in runs]) for runs in sampled),
                by_seed=by_seed,
                seed=bootstrap.seed,
            )
            found[name] = {"images": n, **difference.as_json()}
        return found

    def covered(image: PerImage) -> npt.NDArray[np.float64]:
        inside = np.where(visible, inside_box(points, image.box_xyxy), np.nan)
        return np.concatenate([_row_mean(inside), inside], axis=1)

    entry: dict[str, Any] = {
        "inside_box": compare([covered(r) for r in baseline], [covered(r) for r in other])
    }
    if values is not None:
        full = [[np.concatenate([_row_mean(v), v], axis=1) for v in runs] for runs in values]
        entry["map_value"] = compare(full[0], full[1])
    return entry


def _row_mean(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Mean of the defined entries of each row, [N, 1]; NaN for a row without any."""
    defined = np.isfinite(values)
    count = defined.sum(1, keepdims=True)
    total = np.where(defined, values, 0).sum(1, keepdims=True)
    return np.divide(total, count, out=np.full((len(values), 1), np.nan), where=count > 0)
