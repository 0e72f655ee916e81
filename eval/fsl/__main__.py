"""`python -m eval.fsl RUN`: the few-shot yardstick, a saliency head trained on train-fullsup's boxes or masks."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from wsol.command_line import parse
from wsol.errors import UserError, run_command


@dataclass(frozen=True)
class FslConfig:
    """Train a run's network on the boxes or masks of train-fullsup instead of labels (Choe et al., CVPR 2020).

    The same network with one output, from the same initial weights, predicts what is object; its score maps are written
    to RUN/fsl and are scored like any others. It shows what the boxes that choose thresholds could have taught.
    """

    run: Annotated[Path | None, tyro.conf.Positional] = None
    """The run whose network, initial weights, dataset and settings are taken (default: the newest finished one)."""
    images_per_class: int | None = None
    """Train on so many images of each class, chosen by the seed (default: all of train-fullsup)."""
    epochs: int | None = None
    """Passes over these images (default: the run's)."""
    lr: float | None = None
    """Learning rate of the backbone (default: the run's)."""
    seed: int = 0
    """Of the images chosen, their order and flips, and initial weights."""
    split: str = "test"
    """The split whose score maps are written, beside those of train-fullsup."""
    data_root: Path | None = None
    """Where the dataset's files are, if not where they were."""
    out: Path | None = None
    """Folder of maps.npz and fsl.json (default: RUN/fsl)."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, ..."""

    def __post_init__(self) -> None:
        for name in ("images_per_class", "epochs"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"--{name.replace('_', '-')} must be at least 1, got {value}")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""

    def body() -> None:
        config = parse(FslConfig, "eval.fsl", arguments)
        from eval.fsl.few_shot import make_maps  # slow to import; `--help` must not wait

        make_maps(config)

    return run_command(body)


if __name__ == "__main__":
    sys.exit(main())
