"""What `python -m eval.realistic` and `python -m eval.propose` can be asked. Importable without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro


@dataclass(frozen=True)
class RealisticConfig:
    """Choose model and threshold without any true box: by pseudo-boxes of train-fullsup's images (Murtaza et al., WACV
    2025, arXiv 2404.10034).

    Each RUN must have been scored with `python -m eval.localize RUN`; several are candidates among which one is
    chosen. Prints and writes MaxBoxAcc on the scored split, chosen by the true boxes of train-fullsup, by pseudo-boxes,
    and on the scored split itself, in columns of their own.
    """

    runs: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Evaluated runs, as RUN or NAME=RUN."""
    pseudo_boxes: Annotated[tuple[Path, ...], tyro.conf.arg(aliases=["--pseudo-box"])] = ()
    """Files of boxes for the images that thresholds are chosen on: as --boxes of eval.localize, or the reference's
    localization.txt. Several are several columns. `python -m eval.propose` makes one."""
    dataset: Annotated[str | None, tyro.conf.arg(aliases=["--manifest"])] = None
    """The dataset's manifest, if not where the runs found it."""
    data_root: Path | None = None
    """Where the dataset's files are, if not where the runs found them."""
    bootstrap: int = 1000
    """Resamples of the scored images for the intervals; 0 for none."""
    seed: int = 0
    """Seed of the resamples."""
    out: Path | None = None
    """Where realistic.json goes (default: beside the first run's results)."""


@dataclass(frozen=True)
class ProposeConfig:
    """One box for each image without knowing any class or box: regions grouped as in selective search, and of their
    boxes the one whose colours differ most from those around it.

    Writes a CSV that `eval.realistic --pseudo-boxes` and `eval.localize --boxes` read.
    """

    dataset: Annotated[str, tyro.conf.arg(aliases=["--manifest"])]
    """A prepared dataset by name, or a manifest folder."""
    data_root: Path | None = None
    """Where the dataset's images are, if not where the manifest says."""
    split: str = "train-fullsup"
    """Images that get a box."""
    out: Path = Path("proposals.csv")
    """The file of boxes."""
