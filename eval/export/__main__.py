"""`python -m eval.export RUN --coco FILE --maps DIR`: boxes and score maps for other programs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from wsol.command_line import parse
from wsol.errors import run_command


@dataclass(frozen=True)
class ExportConfig:
    """Export what a run predicted: boxes as COCO results JSON, score maps as .npy files in the reference layout."""

    run: Annotated[Path | None, tyro.conf.Positional] = None
    """A run that eval.localize has scored (default: the newest finished one)."""
    coco: Path | None = None
    """File for the predicted boxes; the dataset they refer to is written beside it, as NAME-dataset.json."""
    fiftyone: Path | None = None
    """File of FiftyOne's samples (JSON): true and predicted boxes, predicted classes, IoU."""
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
    config = parse(ExportConfig, "eval.export", arguments)

    def body() -> None:
        from eval.export.write import export_run  # slow to import; `--help` must not wait

        export_run(
            config.run,
            coco=config.coco,
            fiftyone=config.fiftyone,
            maps=config.maps,
            protocol=config.protocol,
            normalization=config.normalization,
            dataset=config.dataset,
            data_root=config.data_root,
        )

    return run_command(body)


if __name__ == "__main__":
    sys.exit(main())
