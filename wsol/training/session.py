"""From a config to a finished run directory: open the data, choose the directory, build, train, record."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsol.errors import UserError
from wsol.files.atomic_write import remove_unfinished
from wsol.files.lock import locked
from wsol.machine.device import (
    describe_device,
    pick_device,
    preserved_torch_state,
    resolve_auto,
    search_fast_kernels,
)
from wsol.machine.distributed import World, agree_on, from_first, joined, wait_for_all, world_from_environment
from wsol.models import Classifier, ClassifierSpec, build_classifier, find_network
from wsol.runs.made_by import made_by
from wsol.runs.record import CHECKPOINTS, RECORD, Run, load_run, resume_command, update_run, write_run
from wsol.training.batchnorm_stats import batch_norm_layers, is_folded
from wsol.training.checkpoint import checkpoint_files
from wsol.training.config import TrainConfig, config_from_record, load_config_file, parse_config
from wsol.training.data import Data, open_data, open_images
from wsol.training.failures import training_errors_as_user_errors
from wsol.training.loop import Job, Observer, Stopped, Trainer
from wsol.training.progress import Reporter, duration, reporter
from wsol.training.record import new_record, now
from wsol.training.resuming import (
    choose_folder,
    continued_config,
    find_checkpoint,
    refuse_used,
    remove_checkpoints,
    run_to_resume,
)
from wsol.training.rng import network_seed
from wsol.training.signals import StopRequest

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Outcome:
    """How a training command ended: its run, and the exit code (0 finished, 130 Ctrl-C, 143 SIGTERM)."""

    run: Run
    exit_code: int


_OF_ONE_HOST = ("config", "dataset", "data_root", "out", "workers", "device", "resume")

MakeObserver = Callable[[TrainConfig, Data], Observer | None]


def train(
    config: TrainConfig,
    arguments: Sequence[str] = (),
    report: Reporter | None = None,
    make_observer: MakeObserver = lambda config, data: None,
) -> Outcome:
    """Train as a config says, or continue a run. Errors that a user can correct are `UserError`.

    `arguments` is the command line, needed to tell which settings were asked for when a run is continued.
    `make_observer` gives what looks at the network after each epoch, if anything does.
    """
    world = world_from_environment()
    return _train(config, arguments, report or reporter(first=world.first), world, make_observer)


def _train(
    config: TrainConfig, arguments: Sequence[str], report: Reporter, world: World, make_observer: MakeObserver
) -> Outcome:
    resumed = run_to_resume(config) if config.resume else None
    if resumed is not None:
        if resumed.status == "finished":
            if world.first:
                remove_checkpoints(resumed.dir)  # the run may have been killed just before it did so
            report.line(f"run '{resumed.dir}' is finished; nothing to do")
            return Outcome(resumed, 0)
        recorded = config_from_record(resumed.config, str(resumed.dir / RECORD))
        named = load_config_file(config.config) if config.config is not None else {}
        asked = parse_config(arguments, default=replace(recorded, **named))
        config = continued_config(asked, recorded, world)
    elif config.out is not None:
        refuse_used(Path(config.out))
    device = pick_device(config.device, world.local_rank)
    config = resolve_auto(_with_size(config), device)
    with ExitStack() as stack:
        stack.enter_context(preserved_torch_state(deterministic=config.deterministic))
        stop = stack.enter_context(StopRequest())
        stack.enter_context(joined(world, device))
        data = open_data(config)
        if world.size > 1:
            facts = {
                "config": _shared(config),
                "manifest_hash": data.manifest.hash(),
                "resumed": resumed is not None,
            }
            agree_on(world, facts)
        if resumed is not None and resumed.manifest_hash != data.manifest.hash():
            raise UserError(
                f"dataset '{config.dataset}' has changed since run '{resumed.dir}' began (its hash differs), "
                "so that run cannot be continued; start a new one"
            )
        job = _build(config, data, resumed, device, world, report, stop)
        job = replace(job, observer=make_observer(config, data))
        return _run(job, data, resumed, stack)


def _shared(config: TrainConfig) -> dict[str, Any]:
    """The settings that must be the same in every process; places may differ from host to host."""
    return {k: v for k, v in config.to_dict().items() if k not in _OF_ONE_HOST}


def _with_size(config: TrainConfig) -> TrainConfig:
    """With pretrained weights the default size is the one that they were made for."""
    if config.size is not None or config.pretrained is None:
        return replace(config, size=config.side)
    return replace(config, size=find_network(config.arch).input_pixels().size)


def _build(
    config: TrainConfig,
    data: Data,
    resumed: Run | None,
    device: torch.device,
    world: World,
    report: Reporter,
    stop: StopRequest,
) -> Job:
    """Network and images, checked; no directory has been made yet, so a mistake leaves nothing behind."""
    pixels = find_network(config.arch).input_pixels().changed(config.mean, config.std, config.interpolation)
    spec = ClassifierSpec(
        config.arch, len(data.classes), config.stride, config.side, config.stride_plan, pixels
    )
    begun = resumed is not None and bool(checkpoint_files(resumed.dir / CHECKPOINTS))
    pretrained = None if begun else config.pretrained  # a checkpoint has the weights
    model = build_classifier(
        spec,
        pretrained=pretrained,
        seed=network_seed(config.seed),
        method=config.make_method(),
        fresh_head=config.fresh_head,
        weights_key=config.weights_key,
    )
    for note in model.load_report.notes() if model.load_report else ():
        report.line(f"note: {note}")
    _check_batch_norm(config, model, report)
    config = replace(config, output_stride=model.spec.output_stride)
    kind = pixels.interpolation
    images = open_images(data.train, data.root, config.resize, kind, config, world, report)
    validation = None
    if data.validation is not None:
        validation = open_images(data.validation, data.root, config.side, kind, config, world, report)
    identity = made_by(config.to_dict(), data.manifest.hash())
    job = Job(config, Path(), model, images, validation, device, world, report, stop, made_by=identity)
    job.check_batch_size()
    return job


def _check_batch_norm(config: TrainConfig, model: Classifier, report: Reporter) -> None:
    """`UserError` where there are no statistics to freeze; a note where training would normalize weights away."""
    if config.freeze_batch_norm and (config.pretrained is None or not batch_norm_layers(model)):
        lacking = (
            "--pretrained" if config.pretrained is None else f"batch normalization in --arch {config.arch}"
        )
        raise UserError(f"--freeze-batch-norm does nothing without {lacking}; leave it out")
    if model.load_report is not None and not config.freeze_batch_norm and is_folded(model):
        report.line(
            f"note: the batch normalization of '{config.pretrained}' is folded into its convolutions; normalizing by "
            "each batch undoes what these weights have learned: add --freeze-batch-norm"
        )


def _run(job: Job, data: Data, resumed: Run | None, stack: ExitStack) -> Outcome:
    """Choose the directory, train in it, and record how it ended."""
    config, world, report = job.config, job.world, job.report
    record = new_record(config, data, job.model, job.device, world)
    folder = Path(from_first(world, str(choose_folder(config, resumed)) if world.first else ""))
    job = replace(job, folder=folder, config=replace(config, out=str(folder)))
    if world.first:
        stack.enter_context(locked(folder, "training"))
        remove_unfinished(folder)
        if resumed is not None and load_run(folder).status == "finished":
            raise UserError(f"run '{folder}' was finished by another process just now; nothing to do")
    run = Run(folder, {**record, "config": {**record["config"], "out": str(folder)}})
    if resumed is not None:
        run = Run(folder, {**resumed.record, "status": "running"})
    checkpoint = find_checkpoint(folder, report.line, world) if resumed is not None else None
    if world.first:
        write_run(run)
    search_fast_kernels(config, config.epochs * job.steps_per_epoch)
    trainer = Trainer(job)
    if checkpoint is not None:
        trainer.restore(checkpoint)
    _announce(trainer, data)
    with training_errors_as_user_errors(trainer):
        try:
            line = trainer.run()
        except Stopped:
            return _interrupted(run, trainer)
        if world.first:
            run = update_run(
                run,
                status="finished",
                finished=now(),
                seconds=round(trainer.position.seconds, 1),
                result={"weights": "last epoch", **line},
                best_on_validation=trainer.position.best,
            )
            remove_checkpoints(folder)
    wait_for_all(world)
    _conclude(run, trainer, data)
    return Outcome(run, 0)


def _interrupted(run: Run, trainer: Trainer) -> Outcome:
    position, stop = trainer.position, trainer.job.stop
    if trainer.job.world.first:
        progress = {"epoch": position.epoch + 1, "step": position.step}
        run = update_run(run, status="interrupted", progress=progress, seconds=round(position.seconds, 1))
    trainer.job.report.line(
        f"interrupted in epoch {position.epoch + 1} at step {position.step}, saved; continue with "
        f"`{resume_command(run.dir)}`"
    )
    return Outcome(run, stop.exit_code if stop.asked else 1)


def _announce(trainer: Trainer, data: Data) -> None:
    job, config, position = trainer.job, trainer.job.config, trainer.position
    spec = job.model.spec
    side = -(-spec.input_size // spec.stride)
    machine = describe_device(job.device)
    where = f"{job.device.type}, {machine['threads']} threads" if "threads" in machine else machine["name"]
    several = f", {job.world.size} processes" if job.world.size > 1 else ""
    validation = f"{len(data.validation):,} to validate" if data.validation else "none to validate"
    report = job.report
    report.line(
        f"{config.method} on {data.manifest.dataset}: {len(data.classes)} classes, "
        f"{len(data.train):,} training images, {validation}"
    )
    report.line(
        f"{config.arch} at {spec.input_size} pixels, {side}x{side} maps, {config.epochs} epochs of "
        f"{job.steps_per_epoch} steps of {config.batch_size} images, {config.precision} on {where}{several}"
    )
    begun = f", continuing in epoch {position.epoch + 1} at step {position.step}" if position.step else ""
    report.line(f"run directory: {job.folder}{begun}")


def _conclude(run: Run, trainer: Trainer, data: Data) -> None:
    report = trainer.job.report
    found = (run.record.get("result") or {}).get("validation")
    validation = f", validation top-1 {found['top1']:.1f} % on {found['images']:,} images" if found else ""
    report.line(f"finished in {duration(trainer.position.seconds)}{validation} (the last epoch's weights)")
    report.line(f"results: {run.dir}")
    folder, test = shlex.quote(str(run.dir)), data.manifest.splits.get("test")
    if test is not None and (len(test.boxes_xyxy) or test.masks):
        report.line(f"next: python -m eval.localize {folder}")
    else:
        report.line(
            f"next: python -m eval.show PHOTOGRAPHS --run {folder} (the dataset has no test images with boxes)"
        )
