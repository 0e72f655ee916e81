"""`python -m eval.study STUDY.yaml`: train what is missing, localize, compare, write one page; resumable."""

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
class StudyConfig:
    """Run a study that was designed beforehand: methods x datasets x networks x seeds, with a primary outcome.

    A call continues where the last one ended, killed or not, and does nothing where everything is done.
    """

    study: Annotated[Path, tyro.conf.Positional]
    """The design, a YAML file such as those in studies/."""
    out: Path | None = None
    """Folder of manifests, runs, comparisons and the page (default: runs/study-NAME)."""
    plan: bool = False
    """Say what it would take and what difference it could detect; train nothing but a pilot of one epoch."""
    workers: int = 1
    """Jobs at a time."""
    processes: int = 1
    """Processes of each job (torchrun's, on one host), one GPU each."""
    cluster: Literal["local", "slurm"] = "local"
    """Where jobs run; both go through submitit, but for one local worker."""
    slurm: tuple[str, ...] = ()
    """Further parameters of Slurm jobs, as NAME=VALUE: slurm_partition=gpu gpus_per_node=8."""
    only: tuple[str, ...] = ()
    """Run only these datasets' jobs (their comparisons, but no pooled verdict)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    config = parse(StudyConfig, "eval.study", arguments)

    def body() -> None:
        from eval.study.conduct import conduct  # slow to import; `--help` must not wait

        conduct(
            config.study,
            config.out,
            plan=config.plan,
            workers=config.workers,
            processes=config.processes,
            cluster=config.cluster,
            slurm=config.slurm,
            only=config.only,
        )

    return run_command(body)


if __name__ == "__main__":
    sys.exit(main())
