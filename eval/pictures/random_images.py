"""Pick images of a split and draw their maps and boxes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from eval.boxes.best_iou import boxes_at_level
from eval.boxes.frames import Frame, split_boxes
from eval.maps.aligned import drawn
from eval.maps.normalization import normalize, quantize
from eval.metrics.outcomes import Summary
from eval.pictures.montage import Panel, write_montage
from wsol.errors import UserError
from wsol.files.roots import open_root
from wsol.images import decode_rgb
from wsol.views import EvalView

if TYPE_CHECKING:
    import numpy.typing as npt

    from eval.maps.source import MapSource
    from wsol.files.roots import FileRoot
    from wsol.manifest import Manifest, Split


def draw_gallery(
    manifest: Manifest,
    split: Split,
    source: MapSource,
    summary: Summary,
    *,
    file: Path,
    count: int,
    seed: int,
    title: str,
) -> Path:
    """A montage of `count` random images with boxes at the protocol's own threshold (of its first IoU)."""
    protocol = summary.protocol
    frame = Frame.of_channel(protocol.channel, source.input_size)
    rows = np.sort(np.random.default_rng(seed).permutation(len(split))[:count]).astype(np.int64)
    assert manifest.root is not None
    files = open_root(manifest.root)
    panels: list[Panel] = []
    unreadable: list[UserError] = []
    tau = summary.thresholds[0]
    for batch in source.batches(rows):
        boxes, offsets = split_boxes(split, batch.rows, frame)
        for i, row in enumerate(batch.rows):
            raw = batch.maps[protocol.frame][i]
            u = np.zeros(frame.size_hw, np.uint8)
            if raw is not None:
                large = drawn(raw, frame.size_hw, source.cells if protocol.drawing == "aligned" else None)
                m, status = normalize(large, protocol.normalization, protocol.normalization_fraction)
                u = quantize(m) if not status else u
            label = manifest.classes[int(split.labels[row])]
            predicted = int(batch.predicted[i])
            said = (
                ""
                if predicted < 0 or batch.top1[i] == 1
                else f"\npredicted {manifest.classes[predicted][:24]}"
            )
            path = split.path(int(row))
            view = EvalView(protocol.frame, max(frame.size, 224))
            panels.append(
                Panel(
                    _pixels(files, path, view, unreadable),
                    u,
                    boxes_at_level(u, int(tau * int(u.max())), protocol.contours),
                    boxes[offsets[i] : offsets[i + 1]],
                    f"{label[:28]}{said}",
                )
            )
    if len(unreadable) == len(panels):
        raise unreadable[0]  # there are no pictures to look at, only black ones
    heading = f"{title}: {len(rows)} of {len(split)} images, {protocol.name} at threshold {tau:.3f}"
    return write_montage(panels, file, heading)


def _pixels(files: FileRoot, path: str, view: EvalView, unreadable: list[UserError]) -> npt.NDArray[np.uint8]:
    """The framed image, [S, S, 3]; black where it cannot be decoded, and then `unreadable` takes the reason."""
    try:
        return view.apply(decode_rgb(files.read_bytes(path), path)).transpose(1, 2, 0)
    except UserError as error:
        unreadable.append(error)
        return np.zeros((view.size, view.size, 3), np.uint8)
