"""Choose by true boxes, by pseudo-boxes and on the scored images; print the columns and write realistic.json."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.analysis.choice import (
    LABELS_TAU,
    TAUS,
    IouOverThresholds,
    chosen,
    classification_accuracy,
    with_pseudo_boxes,
    with_true_boxes,
)
from eval.analysis.evaluated import Evaluated, Unavailable, open_evaluated, open_manifest, relabelled
from eval.comparison.run_pairs import require_same_images
from eval.metrics.bootstrap import Bootstrap
from eval.proposals.config import RealisticConfig
from eval.records.predicted_boxes import PredictedBox, read_boxes
from eval.terminal.tables import number, table_of, unit
from eval.terminal.text import print_place, print_table, print_text, terminal
from wsol.errors import UserError
from wsol.files.atomic_write import write_durably
from wsol.machine.provenance import command_line, git_state, software_versions
from wsol.manifest import split_hash

if TYPE_CHECKING:
    from eval.records.store import Records
    from wsol.manifest import Manifest, Split

SCHEMA = 1
RESULT = "realistic.json"
SOURCE = "Murtaza et al., WACV 2025, arXiv 2404.10034"


def realistic_and_print(config: RealisticConfig) -> None:
    """Choose as configured, write realistic.json and print the columns."""
    path, found = realistic(config)
    console = terminal()
    title = f"{found['dataset']}, {found['split']}: {found['num_images']} images; "
    title += unit(c["maxboxacc"] for c in found["columns"])
    table = table_of(title, "chosen\n  run", ["MaxBoxAcc", "mean IoU", "threshold"])
    for c in found["columns"]:
        name = f"{c['chosen']}\n  {c['run']}"
        table.add_row(name, number(c["maxboxacc"]), number(c["mean_iou"]), f"{c['threshold']:.3f}")
    print_table(console, [table])
    for file in found["pseudo_boxes"]:
        words = f"{file['file']}: boxes for {file['images']} of {file['of']} images of {found['chosen_on']}"
        quality = file["mean_iou_with_true"]
        print_text(
            console, words + ("" if quality is None else f", IoU with the true ones {quality:.2f} on average")
        )
    tied = next((c["equal"] for c in found["columns"] if c.get("equal", 1) > 1), None)
    if tied:
        print_text(console, f"{tied} runs classify equally well, so class labels choose the first of them.")
    print_text(console, "Intervals are for new images at the chosen threshold; they do not cover the choice.")
    print_place(console, "results", path)


def realistic(config: RealisticConfig) -> tuple[Path, dict[str, Any]]:
    """Choose as configured and write realistic.json. Returns its path and content."""
    runs = relabelled([open_evaluated(r) for r in config.runs])
    require_same_images(runs)
    manifest, split, role = _other_images(config, runs)
    stores: list[Records] = [r.threshold_store for r in runs if r.threshold_store is not None]
    test = [with_true_boxes(r.store) for r in runs]
    bootstrap = Bootstrap(config.bootstrap, config.seed)
    columns = []

    def choose(words: str, candidates: Sequence[IouOverThresholds]) -> None:
        run, column = chosen(candidates)
        stated = {"chosen": words, "run": runs[run].method, "threshold": float(TAUS[column])}
        columns.append({**stated, **test[run].at(column, bootstrap), "images": len(candidates[run].iou)})

    choose(f"with boxes ({role})", [with_true_boxes(s) for s in stores])
    files = []
    for file in config.pseudo_boxes:
        boxes = read_boxes(file, manifest.classes)
        by_run = [with_pseudo_boxes(s, split, boxes) for s in stores]
        if not len(by_run[0].iou):
            raise UserError(
                f"'{file}' has no box for any of the {len(split)} images of '{role}': expected image ids such as "
                f"'{split.image_ids[0]}', found such as '{next(iter(boxes), 'none')}'"
            )
        choose(f"without ({file.name})", by_run)
        quality = mean_iou_with_true(boxes, split)
        files.append(
            {"file": str(file), "images": len(by_run[0].iou), "of": len(split), "mean_iou_with_true": quality}
        )
    accuracies = [classification_accuracy(s) for s in stores]
    right = [a for a in accuracies if a is not None]
    if len(right) == len(runs):
        best = int(np.argmax(right))  # of equal ones the first
        columns.append(
            {
                "chosen": f"by class labels alone ({role}), threshold not chosen",
                "run": runs[best].method,
                "threshold": float(TAUS[LABELS_TAU]),
                **test[best].at(LABELS_TAU, bootstrap),
                "images": stores[best].index.num_images,
                "equal": right.count(right[best]),
            }
        )
    choose(f"on {runs[0].split} itself", test)
    content = {
        "schema": SCHEMA,
        "dataset": manifest.dataset,
        "split": runs[0].split,
        "chosen_on": role,
        "num_images": len(test[0].iou),
        "runs": [str(r.folder) for r in runs],
        "columns": columns,
        "pseudo_boxes": files,
        "source": SOURCE,
        "provenance": {
            "seed": config.seed,
            "versions": software_versions(),
            "git": git_state(),
            "command": command_line(),
        },
    }
    out = config.out or runs[0].folder
    out.mkdir(parents=True, exist_ok=True)
    write_durably(out / RESULT, json.dumps(content, indent=1, allow_nan=False) + "\n")
    return out / RESULT, content


def _other_images(config: RealisticConfig, runs: Sequence[Evaluated]) -> tuple[Manifest, Split, str]:
    """The manifest and the split that thresholds are chosen on, the same for every run."""
    for run in runs:
        if run.threshold_store is None:
            raise UserError(
                f"'{run.folder}' has no records of images that a threshold is chosen on (train-fullsup); score it with "
                "eval.localize and a protocol whose threshold is transferred, such as maxboxacc_transferred"
            )
    opened = open_manifest(runs[0], config.dataset, config.data_root)
    if isinstance(opened, Unavailable):
        raise UserError(opened.reason)
    role = str(runs[0].results["threshold_split"])
    split = opened[0].split(role)
    for run in runs:
        if run.threshold_hash != split_hash(split):
            raise UserError(
                f"'{run.folder}': its thresholds were chosen on other images than '{role}' has now"
            )
    return opened[0], split, role


def mean_iou_with_true(boxes: Mapping[str, Sequence[PredictedBox]], split: Split) -> float | None:
    """Mean over images, in percent, of the best IoU of the first given box with a true one; None without true boxes.
    It says how good the pseudo-boxes are and chooses nothing."""
    found = []
    for row, image_id in enumerate(split.image_ids):
        given, true = boxes.get(image_id) or boxes.get(split.path(row)), split.boxes(row)
        if given and len(true):
            a, b = np.array(given[0].xyxy), np.asarray(true, np.float64)
            shared = np.maximum(np.minimum(a[2:], b[:, 2:]) - np.maximum(a[:2], b[:, :2]), 0).prod(1)
            union = (a[2:] - a[:2]).prod() + (b[:, 2:] - b[:, :2]).prod(1) - shared
            found.append(float((shared / np.maximum(union, 1e-9)).max()))
    return 100 * float(np.mean(found)) if found else None
