"""What a scored run is exported as: the files that are asked for, written, and where they are."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from eval.analysis.evaluated import Unavailable, open_evaluated, open_manifest
from eval.export.fiftyone import fiftyone_samples
from eval.export.formats import write_coco, write_score_maps
from eval.terminal.progress import progress
from wsol.errors import UserError, unknown_name
from wsol.files.atomic_write import write_durably
from wsol.runs.find import newest_run


def export_run(
    folder: Path | None,
    *,
    coco: Path | None,
    fiftyone: Path | None,
    maps: Path | None,
    protocol: str,
    normalization: str,
    dataset: str | None,
    data_root: Path | None,
) -> None:
    """Write a scored run's boxes to `coco`, its FiftyOne samples to `fiftyone` and its score maps to `maps`, whichever
    is given, and say where.

    Raises `UserError` where nothing is asked for, the run has no such protocol, or its dataset is gone.
    """
    if coco is None and fiftyone is None and maps is None:
        raise UserError("nothing to export: give --coco FILE, --fiftyone FILE or --maps DIR")
    run = open_evaluated(folder if folder is not None else newest_run())
    if protocol not in run.protocols:
        raise unknown_name("protocol", protocol, run.protocols)
    opened = open_manifest(run, dataset, data_root)
    if isinstance(opened, Unavailable):
        raise UserError(opened.reason)
    manifest, split = opened
    if coco is not None:
        results, truth, without = write_coco(run, manifest, split, run.protocols[protocol], coco)
        sys.stdout.write(f"boxes: {results} (dataset: {truth})\n{_left_out(without, len(split))}")
    if fiftyone is not None:
        samples = fiftyone_samples(run, manifest, split, run.protocols[protocol])
        write_durably(fiftyone, json.dumps(samples))
        without = sum(not sample["prediction"]["detections"] for sample in samples)
        sys.stdout.write(f"samples: {fiftyone} ({len(split)} images)\n{_left_out(without, len(split))}")
    if maps is not None:
        with progress("score maps", len(split)) as advance:
            odd = write_score_maps(
                run,
                split,
                maps,
                normalization=normalization,
                frame_size=run.protocols[protocol].frame_size,
                advance=advance,
            )
        if odd:
            sys.stdout.write(f"note: {odd} maps are missing or cannot be normalised, and are all zeros\n")
        sys.stdout.write(f"score maps: {maps} ({len(split)} files)\n")


def _left_out(without: int, images: int) -> str:
    """A line on images without a predicted box; empty where there is none."""
    return f"note: no box was predicted in {without} of {images} images; none is written of them\n" * (
        without > 0
    )
