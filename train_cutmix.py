"""Train a classifier with CutMix or a rival: `python train_cutmix.py --help`."""

from __future__ import annotations

import os
import sys

from wsol.errors import run_command
from wsol.training.config import parse_config


def main() -> None:
    """Parse the command line, train, and end with the run's exit code."""
    config = parse_config()
    # GNU OpenMP's threads spin without bound while they wait; where another program wants a core, a step
    # then takes
    # up to twenty times as long. A short spin is as fast on idle cores. Read when torch loads.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    from eval.while_training import observer_for
    from wsol.training.session import train

    raise SystemExit(train(config, sys.argv[1:], make_observer=observer_for).exit_code)


if __name__ == "__main__":
    sys.exit(run_command(main))
