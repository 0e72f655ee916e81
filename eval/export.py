"""`python -m eval.export RUN --coco FILE --maps DIR`: boxes and score maps for other programs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from wsol.errors import UserError, run_command


@dataclass(frozen=True)
class ExportConfig:
    """Export what a run predicted: boxes as COCO results JSON, score maps as .npy files in the reference layout."""

    run: Annotated[Path | None, tyro.conf.Positional] = None
    """A run that eval.localize has scored (default: the newest finished one)."""
    coco: Path | None = None
    """File for the predicted boxes; the dataset they refer to is written beside it, as NAME-dataset.json."""
    maps: Path | None = None
    """Folder for the score maps, IMAGE_ID.npy, float64 in [0, 1], 224 x 224 (400 KB each)."""
    protocol: str = "maxboxacc"
    """Whose threshold the boxes are taken at."""
    normalization: Literal["minmax", "max", "pas", "ivr"] = "minmax"
    """Normalisation of the score maps."""
    dataset: Annotated[str | None, tyro.conf.arg(aliases=["--manifest"])] = None
    """The dataset's manifest, if not where the run found it."""
    data_root: Path | None = None
    """Where the dataset's files are, if not where the run found them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    config = tyro.cli(ExportConfig, args=arguments, prog="python -m eval.export")
    return run_command(lambda: _run(config))


def _run(config: ExportConfig) -> None:
    from eval.analysis.evaluated import Unavailable, open_evaluated, open_manifest
    from eval.export_formats import write_coco, write_score_maps
    from eval.progress import progress
    from wsol.errors import unknown_name
    from wsol.runs import newest_run

    if config.coco is None and config.maps is None:
        raise UserError("nothing to export: give --coco FILE, --maps DIR, or both")
    run = open_evaluated(config.run if config.run is not None else newest_run())
    if config.protocol not in run.protocols:
        raise unknown_name("protocol", config.protocol, run.protocols)
    opened = open_manifest(run, config.dataset, config.data_root)
    if isinstance(opened, Unavailable):
        raise UserError(opened.reason)
    manifest, split = opened
    if config.coco is not None:
        results, truth = write_coco(run, manifest, split, run.protocols[config.protocol], config.coco)
        sys.stdout.write(f"boxes: {results} (dataset: {truth})\n")
    if config.maps is not None:
        with progress("score maps", len(split)) as advance:
            odd = write_score_maps(
                run, split, config.maps, normalization=config.normalization, advance=advance
            )
        if odd:
            sys.stdout.write(f"note: {odd} maps are missing or cannot be normalised, and are all zeros\n")
        sys.stdout.write(f"score maps: {config.maps} ({len(split)} files)\n")


if __name__ == "__main__":
    sys.exit(main())
