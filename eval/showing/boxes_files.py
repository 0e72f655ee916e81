"""Classes and boxes of photographs as a table (CSV) and as a COCO file."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsol.files.atomic_write import write_durably

if TYPE_CHECKING:
    from eval.showing.show_photographs import Shown

COLUMNS = (
    "image",
    "class",
    "class_number",
    "probability",
    "map_method",
    "x0",
    "y0",
    "x1",
    "y1",
    "threshold",
)


def write_csv(
    file: Path,
    results: Sequence[Shown],
    class_names: Sequence[str],
    methods: Sequence[str],
    threshold: float,
) -> Path:
    """A line a box of each map method; x1, y1 are exclusive, in pixels of the upright photograph. Cells are empty where
    the map is constant. `eval.localize --boxes` reads the file where it is of one method."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for r in results:
        head = (r.photograph.name, class_names[r.class_id], r.class_id, f"{r.probability:.6f}")
        for method, found in zip(methods, r.boxes):
            boxes = found.tolist() or [("", "", "", "")]
            writer.writerows((*head, method, *box, f"{threshold:g}") for box in boxes)
    file.parent.mkdir(parents=True, exist_ok=True)
    return write_durably(file, text.getvalue())


def write_coco(
    file: Path, results: Sequence[Shown], class_names: Sequence[str], methods: Sequence[str]
) -> Path:
    """Images, categories (by the network's outputs) and annotations of each map method; `bbox` is x, y, width, height,
    `score` the class's probability."""
    annotations: list[dict[str, Any]] = []
    for number, r in enumerate(results, 1):
        for method, (x0, y0, x1, y1) in (
            (m, box) for m, found in zip(methods, r.boxes) for box in found.tolist()
        ):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": r.class_id,
                    "bbox": [x0, y0, x1 - x0, y1 - y0],
                    "area": (x1 - x0) * (y1 - y0),
                    "iscrowd": 0,
                    "score": round(r.probability, 6),
                    "map_method": method,
                }
            )
    content = {
        "images": [
            {"id": n, "file_name": r.photograph.name, "width": r.size_wh[0], "height": r.size_wh[1]}
            for n, r in enumerate(results, 1)
        ],
        "categories": [{"id": i, "name": name} for i, name in enumerate(class_names)],
        "annotations": annotations,
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    return write_durably(file, json.dumps(content, ensure_ascii=False) + "\n")
