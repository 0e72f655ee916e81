"""Train a classifier with CutMix or a rival: `python train_cutmix.py --help`."""

from __future__ import annotations

import os
import sys

from wsol.errors import run_command
from wsol.training.config import parse_config


def main() -> None:
    """Parse the command line, train, and end with the run's exit code."""
    config = parse_config()
    # OpenMP's threads spin while they wait, which costs up to four fifths of the speed on shared cores.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from wsol.training.session import train

    raise SystemExit(train(config, sys.argv[1:]).exit_code)


if __name__ == "__main__":
    sys.exit(run_command(main))
