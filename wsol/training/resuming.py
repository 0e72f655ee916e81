"""Which directory a run writes to, and what may be asked of a run that is continued."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from wsol.errors import UserError
from wsol.files.atomic_write import UNFINISHED
from wsol.files.lock import LOCK
from wsol.machine.device import pick_device, resolve_auto
from wsol.machine.distributed import World, from_first, wait_for_all
from wsol.runs.find import all_runs
from wsol.runs.made_by import MAY_CHANGE_ON_RESUME
from wsol.runs.record import CHECKPOINTS, RECORD, RUNS, Run, load_run, next_free_dir
from wsol.training.checkpoint import newest_checkpoint
from wsol.training.config import TrainConfig

if TYPE_CHECKING:
    from wsol.training.checkpoint import Checkpoint


def run_to_resume(config: TrainConfig) -> Run | None:
    """The run that `--resume` means; None when `--out` is a new directory, which then simply begins."""
    if config.out is not None:
        folder = Path(config.out)
        if (folder / RECORD).is_file():
            return load_run(folder)
        refuse_used(folder)
        return None
    unfinished = [run for run in all_runs(RUNS) if run.status != "finished"]
    idle = [run for run in unfinished if run.status != "running"]
    if unfinished:
        return (idle or unfinished)[0]  # where only running ones are left, their lock refuses
    raise UserError(f"--resume: no unfinished run under {RUNS}/; name one with --out, or leave --resume out")


def refuse_used(folder: Path) -> None:
    """A directory that holds anything is never written into by a new run."""
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--out '{folder}' is a file; choose a directory")
    if not folder.is_dir() or all(_leftover(entry.name) for entry in folder.iterdir()):
        return
    if not (folder / RECORD).is_file():
        raise UserError(f"--out '{folder}' holds other files; choose a new or empty directory")
    status = load_run(folder).status
    ways = {"finished": "", "running": "wait for it, or "}
    way = ways.get(status, "add --resume to continue it, or ")
    verb = "is" if status in ways else "was"
    raise UserError(
        f"--out '{folder}' holds a run that {verb} {status}; {way}choose another --out (or none: a new one)"
    )


def _leftover(name: str) -> bool:
    """What a run leaves that was killed before it wrote its record."""
    return name == LOCK or (name.startswith(".") and name.endswith(UNFINISHED))


def continued_config(asked: TrainConfig, recorded: TrainConfig, world: World) -> TrainConfig:
    """The config to continue with. A setting that would change what is computed is refused by name."""
    device = pick_device(asked.device, world.local_rank)
    new = resolve_auto(asked, device)
    old = (
        resolve_auto(recorded, device) if recorded.precision != "fp16" or device.type == "cuda" else recorded
    )
    for field in fields(TrainConfig):
        before, now = getattr(old, field.name), getattr(new, field.name)
        if before != now and field.name not in MAY_CHANGE_ON_RESUME:
            flag = "--" + field.name.replace("_", "-")
            raise UserError(
                f"{flag} was {before} when this run began and cannot become {now} now; leave it out, or start a new "
                "run without --resume"
            )
    return new


def choose_folder(config: TrainConfig, resumed: Run | None) -> Path:
    if resumed is not None:
        return resumed.dir
    if config.out is None:
        return next_free_dir(config.method)
    folder = Path(config.out)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def find_checkpoint(folder: Path, say: Callable[[str], None], world: World) -> Checkpoint | None:
    """The newest whole checkpoint, the same one in every process; None when none was written yet."""
    found = newest_checkpoint(folder / CHECKPOINTS, say) if world.first else None
    wait_for_all(world)  # the first process has set damaged files aside
    if not world.first:
        found = newest_checkpoint(folder / CHECKPOINTS, say)
    step = found.position.step if found else 0
    if (first := from_first(world, step)) != step:
        raise UserError(
            f"the newest checkpoint in '{folder}' is of step {step} here and of step {first} in the first process; "
            "several hosts need that directory on a file system they share"
        )
    if found is None:
        say("no checkpoint was written yet; starting from the beginning")
    return found


def remove_checkpoints(folder: Path) -> None:
    """A finished run needs no state to continue from; its weights stay."""
    checkpoints = folder / CHECKPOINTS
    if checkpoints.is_dir():
        for file in checkpoints.iterdir():
            file.unlink(missing_ok=True)
        checkpoints.rmdir()
