"""Failures of the machine in the middle of a run, as one line that says what is kept and what to do."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from wsol.errors import UserError, describe_os_error
from wsol.loading import WORKER_LOST, says_worker_lost
from wsol.runs.record import resume_command

if TYPE_CHECKING:
    from wsol.training.loop import Trainer

DIVERGED = "training diverged"
"""In the message of a training that ended because its loss or weights became infinite or NaN."""


@contextmanager
def training_errors_as_user_errors(trainer: Trainer) -> Iterator[None]:
    """Turn running out of memory or disk while a run trains into a `UserError` with the remedy."""
    folder, config = trainer.job.folder, trainer.job.config
    again = f"then continue with `{resume_command(folder)}`"
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise UserError(
            f"out of GPU memory at step {trainer.position.step}; start again with --accumulate "
            f"{2 * config.accumulate} (the same batch in smaller parts), a smaller --batch-size or --size, or free "
            f"the GPU of other programs and {again.removeprefix('then ')}"
        ) from error
    except OSError as error:
        what = "the disk is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else describe_os_error(error)
        raise UserError(
            f"{what}: training stopped at step {trainer.position.step}. What was saved before in '{folder}' is whole; "
            f"free some space, {again}"
        ) from error
    except RuntimeError as error:
        if config.deterministic and "determinis" in str(error).lower():
            raise UserError(
                f"--deterministic at step {trainer.position.step}: {str(error).splitlines()[0]} Start again without "
                "--deterministic, or with another --arch or --device"
            ) from error
        if says_worker_lost(error):
            raise UserError(
                f"{WORKER_LOST}. Training stopped at step {trainer.position.step}; {again}"
            ) from error
        if "can't allocate memory" in str(error):
            raise UserError(
                f"out of memory at step {trainer.position.step}; start again with --accumulate "
                f"{2 * config.accumulate} or a smaller --batch-size, or free memory and {again.removeprefix('then ')}"
            ) from error
        raise
