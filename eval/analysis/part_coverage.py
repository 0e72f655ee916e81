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

import numpy as np

from eval.analysis.evaluated import Evaluated, Unavailable
from eval.analysis.paired_statistics import adjusted, paired_difference
from eval.analysis.per_image import PerImage, means_of_images
from eval.metrics.bootstrap import Bootstrap
from eval.records.truth import visible_part_points
from eval.statistics.components import Sampled
from eval.statistics.counts import least_variance

if TYPE_CHECKING:
    import numpy.typing as npt

    from wsol.manifest import Split


def part_points(split: Split, num_parts: int, size: int) -> npt.NDArray[np.float64]:
    """Points of visible parts in a frame that shows the whole image, [N, P, 2] (x, y); NaN where not visible."""
    return np.stack([visible_part_points(split, row, num_parts, size) for row in range(len(split))])


def inside_box(points: npt.NDArray[np.float64], box_xyxy: npt.NDArray[np.integer]) -> npt.NDArray[np.bool_]:
    """Whether each part [N, P, 2] lies in its image's box [N, 4], both ends counted; false for NaN."""
    x, y = points[..., 0], points[..., 1]
    x0, y0, x1, y1 = (box_xyxy[:, k, None].astype(np.float64) for k in range(4))
    return np.asarray((x0 <= x) & (x <= x1) & (y0 <= y) & (y <= y1))


def part_values(run: Evaluated) -> npt.NDArray[np.float64] | Unavailable:
    """The map's value on each part over its mean on the object, of every image of a run, [N, P], as recorded."""
    found = [block.measure("part_value") for block in run.store.blocks()]
    if any(values is None for values in found):
        return Unavailable(
            f"'{run.folder}' was scored before values on parts were recorded; run eval.localize on it again"
        )
    return np.concatenate([np.asarray(values, np.float64) for values in found])


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
        counts = {k: int(valid[:, k].sum()) for k in range(len(names)) if valid[:, k].any()}
        found = [
            paired_difference(
                *(Sampled.of([m[k] for m, _ in runs], [s[k] for _, s in runs]) for runs in sampled),
                by_seed=by_seed,
                units=bootstrap.units(n),
                least=least_variance(n),
            )
            for k, n in counts.items()
        ]
        return {names[k]: {"images": n, **d.as_json()} for (k, n), d in zip(counts.items(), adjusted(found))}

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
