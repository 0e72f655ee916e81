"""What `python -m eval.compare` can be asked, as one typed config. Importable without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclass(frozen=True)
class CompareConfig:
    """Compare evaluated runs protocol by protocol: paired by image and by seed, with intervals, tests and a verdict.

    Each RUN must have been scored with `python -m eval.localize RUN`. Runs are grouped by method; NAME=RUN gives a run
    another name. Writes compare.json, compare.csv, compare.tex, figures/ and the page compare.html.
    """

    runs: Annotated[tuple[str, ...], tyro.conf.Positional]
    """Run directories, as RUN or NAME=RUN; several seeds of a method are several runs. Controls may be among them: a
    folder of eval.localize --control, or random=RUN for a network without training."""
    primary: str | None = None
    """The primary outcome, decided before looking: the protocol that the headline answers by (default: the first scored
    of maxboxacc_v2_transferred, maxboxacc_transferred, maxboxacc_v2, maxboxacc)."""
    margin: float | None = None
    """The smallest difference of interest, in points: the primary outcome may then be called equivalent within it."""
    correction: Literal["max-t", "holm"] = "max-t"
    """How the other protocols are corrected for being many."""
    cluster: Literal["image", "class"] = "image"
    """What is resampled: images of these classes, or whole classes, for intervals that hold for new classes."""
    baseline: str | None = None
    """The method that the others are held against (default: 'vanilla', else the first)."""
    out: Path | None = None
    """Where results go (default: beside the first run, compare-BASELINE-OTHER)."""
    bootstrap: int = 1000
    """Bootstrap resamples; 0 leaves out intervals, tests and verdicts."""
    seed: int = 0
    """Seed of the bootstrap and of the choice of pictures."""
    dataset: Annotated[str | None, tyro.conf.arg(aliases=["--manifest"])] = None
    """The dataset's manifest, if not where the runs found it."""
    data_root: Path | None = None
    """Where the dataset's files are, if not where the runs found them."""
    pictures: int = 200
    """How many images the page shows."""
