"""A scored run as FiftyOne's samples: true boxes, the predicted box, the class that the network names, and the IoU.

Each sample is what `fiftyone.Sample.from_dict` reads (FiftyOne's own JSON form, `Sample.to_dict`): boxes are
[x, y, width, height] in shares of the image. Nothing of FiftyOne is imported.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.analysis.per_image import per_image
from eval.export.formats import coco_ground_truth, coco_results
from wsol.errors import UserError

if TYPE_CHECKING:
    from eval.analysis.evaluated import Evaluated
    from eval.protocols import Protocol
    from wsol.manifest import Manifest, Split


def fiftyone_samples(
    run: Evaluated, manifest: Manifest, split: Split, protocol: Protocol
) -> list[dict[str, Any]]:
    """A sample an image, in the split's order: `ground_truth`, `prediction` (a box at the protocol's own threshold, or
    none) with `iou`, `right` (the protocol's own decision) and, where a network predicts, `predicted_class`.

    Raises `UserError` where `coco_results` does, or where the images are in an archive, which FiftyOne does not open.
    """
    root = Path(manifest.root) if manifest.root else None
    if root is not None and root.is_file():
        raise UserError(
            f"the images are inside '{root.name}', and FiftyOne opens files: unpack it and give --data-root"
        )
    truth = coco_ground_truth(manifest, split)
    results = {result["image_id"]: result for result in coco_results(run, split, protocol)}
    names = {c["id"]: c["name"] for c in truth["categories"]}
    found = per_image(run.store, protocol, run.thresholds(protocol.name))
    true: dict[int, list[Mapping[str, Any]]] = {image["id"]: [] for image in truth["images"]}
    for annotation in truth["annotations"]:
        true[annotation["image_id"]].append(annotation)
    samples = []
    for row, image in enumerate(truth["images"]):
        size = image["width"], image["height"]
        predicted = [_detection(results[image["id"]], names, size)] if image["id"] in results else []
        sample = {
            "filepath": str(root / image["file_name"] if root else image["file_name"]),
            "tags": [run.split],
            "ground_truth": _detections([_detection(a, names, size) for a in true[image["id"]]]),
            "prediction": _detections(predicted),
            "iou": float(found.iou[row]) if found.scored[row] else None,
            "right": bool(found.hit[row].all()) if found.scored[row] else None,
        }
        if found.predicted[row] >= 0:
            label = manifest.classes[int(found.predicted[row])]
            sample["predicted_class"] = {"_cls": "Classification", "label": label}
        samples.append(sample)
    return samples


def _detections(listed: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"_cls": "Detections", "detections": list(listed)}


def _detection(box: Mapping[str, Any], names: Mapping[int, str], size: tuple[int, int]) -> dict[str, Any]:
    x, y, w, h = box["bbox"]
    shares = [x / size[0], y / size[1], w / size[0], h / size[1]]
    found = {"_cls": "Detection", "label": names[box["category_id"]], "bounding_box": shares}
    return {**found, "confidence": box["score"]} if "score" in box else found
