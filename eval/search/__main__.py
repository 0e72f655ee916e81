"""`python -m eval.search SEARCH.yaml`: equal random trials for every method, chosen on train-fullsup; resumable."""

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
class SearchConfig:
    """Search training settings by random trials: as many for every method, each scored on train-fullsup alone.

    Writes the setting chosen for each method as YAML that `train_cutmix.py --config` takes. A call continues where the
    last one ended, killed or not; several on the same folder, from several hosts too, share the trials out.
    """

    search: Annotated[Path, tyro.conf.Positional]
    """What is searched, a YAML file such as studies/search-parts.yaml."""
    out: Path | None = None
    """Folder of trials and chosen settings (default: runs/search-NAME)."""
    workers: int = 1
    """Trials at a time; one core or GPU each."""
    cluster: Literal["local", "slurm"] = "local"
    """Where workers run; both go through submitit, but for one local worker."""
    slurm: tuple[str, ...] = ()
    """Further parameters of Slurm jobs, as NAME=VALUE: slurm_partition=gpu gpus_per_node=8."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    config = parse(SearchConfig, "eval.search", arguments)

    def body() -> None:
        from eval.search.conduct import conduct  # slow to import; `--help` must not wait

        conduct(config.search, config.out, workers=config.workers, cluster=config.cluster, slurm=config.slurm)

    return run_command(body)


if __name__ == "__main__":
    sys.exit(main())
