"""Train a classifier with CutMix or a rival: `python train_cutmix.py --help`."""

from __future__ import annotations

import sys

from wsol.errors import run_command
from wsol.machine.allocator import set_up_process
from wsol.training.config import parse_config


def main() -> None:
    """Parse the command line, train, and end with the run's exit code."""
    config = parse_config()
    set_up_process()
    from eval.while_training import train_observed  # brings torch, which `--help` must not wait for

    raise SystemExit(train_observed(config, sys.argv[1:]))


def command() -> int:
    """The same as a console script: its exit code."""
    return run_command(main)


if __name__ == "__main__":
    sys.exit(command())
