"""The training loop: steps, epochs, validation, checkpoints. What it is given is built in `session.py`."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import torch

from wsol.errors import UserError
from wsol.files.checked_safetensors import save_tensors
from wsol.loading import normalize_images
from wsol.machine.distributed import World, any_of, gather, total
from wsol.machine.random_state import random_state, restore_random_state
from wsol.runs.made_by import MADE_BY, require_made_by
from wsol.runs.record import CHECKPOINTS, LOG, WEIGHTS
from wsol.training.batches import BatchPlan, Images, make_batches, plan_step
from wsol.training.batchnorm_stats import PartStatistics, freeze_statistics
from wsol.training.checkpoint import Checkpoint, Position, write_checkpoint
from wsol.training.failures import DIVERGED
from wsol.training.log import append_line, sentence, trim_log
from wsol.training.look import Look
from wsol.training.optim import build_optimizer, learning_rate, optimizer_tensors, restore_optimizer
from wsol.training.progress import Reporter, progress_bar
from wsol.training.rng import Crops, epoch_crops, epoch_order, network_seed
from wsol.training.signals import StopRequest
from wsol.training.step import train_step
from wsol.training.validation import Accuracy, accuracy, count_correct

if TYPE_CHECKING:
    import numpy.typing as npt

    from wsol.models import Classifier
    from wsol.training.config import TrainConfig

# On a GPU the host runs ahead of the device; asking after the loss or after the other processes makes it
# wait.
_GPU_STEPS_BETWEEN_CHECKS = 20


class Observer(Protocol):
    """Looks at the network after an epoch, in the first process; changes neither it nor any random state."""

    def __call__(self, line: Mapping[str, Any], model: Classifier, folder: Path) -> dict[str, Any]:
        """Entries to add to the epoch's line of the log."""
        ...


@dataclass(frozen=True)
class Job:
    """Everything a run needs, built and checked: the loop only computes."""

    config: TrainConfig
    folder: Path
    model: Classifier
    train: Images
    validation: Images | None
    device: torch.device
    world: World
    report: Reporter
    stop: StopRequest
    observer: Observer | None = None
    made_by: Mapping[str, Any] = field(default_factory=dict)
    """`wsol.runs.made_by.made_by` of the run."""

    @property
    def parts(self) -> int:
        """Into how many parts each step's batch is cut, over all processes."""
        return self.config.accumulate * self.world.size

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in an epoch; the rest of its random order is left out."""
        return len(self.train) // self.config.batch_size

    def check_batch_size(self) -> None:
        """`UserError` for a batch that cannot be shared out, or that is larger than the training set."""
        size = self.config.batch_size
        if size % self.parts:
            raise UserError(
                f"--batch-size {size} cannot be shared by {self.world.size} processes with --accumulate "
                f"{self.config.accumulate}: choose a multiple of {self.parts}"
            )
        if len(self.train) < size:
            raise UserError(f"{len(self.train)} training images are fewer than --batch-size {size}; lower it")


class Stopped(Exception):
    """A signal asked the run to end; it is saved."""


class Trainer:
    """One run in this process: network, optimizer, and how far it has come."""

    def __init__(self, job: Job) -> None:
        config = job.config
        self.job = job
        self.position = Position()
        self.parts = job.parts
        self.steps_per_epoch = job.steps_per_epoch
        layout = torch.channels_last if config.channels_last == "on" else torch.contiguous_format
        self.layout = layout
        self.model = cast("Classifier", job.model.to(job.device, memory_format=layout)).train()  # type: ignore[call-overload]
        if config.freeze_batch_norm:
            freeze_statistics(self.model)
        self.optimizer = build_optimizer(self.model, config)
        self.method = config.make_method()
        self.look = Look(self.model, self.autocast)
        self.scaler = torch.amp.GradScaler("cuda") if config.precision == "fp16" else None
        self.net = self._wrapped()
        self.statistics = PartStatistics(self.model, self.parts, job.world)
        self.sums = self._zero_sums()
        self.saved_at = time.monotonic()
        self.waited = 0.0
        self.check_every = _GPU_STEPS_BETWEEN_CHECKS if job.device.type == "cuda" else 1
        torch.manual_seed(network_seed(config.seed, job.world.rank))

    def _wrapped(self) -> torch.nn.Module:
        """The network as the steps call it: distributed and compiled where asked."""
        net: torch.nn.Module = self.model
        if self.job.world.size > 1:
            ids = [self.job.device.index] if self.job.device.type == "cuda" else None
            net = torch.nn.parallel.DistributedDataParallel(net, device_ids=ids, broadcast_buffers=False)
        return cast(torch.nn.Module, torch.compile(net)) if self.job.config.compile else net

    def _zero_sums(self) -> torch.Tensor:
        exact = torch.float32 if self.job.device.type == "mps" else torch.float64
        return torch.zeros(3, dtype=exact, device=self.job.device)

    def autocast(self) -> AbstractContextManager[Any]:
        """The precision of forward passes."""
        if self.job.config.precision == "fp32":
            return nullcontext()
        low = torch.bfloat16 if self.job.config.precision == "bf16" else torch.float16
        return torch.autocast(self.job.device.type, dtype=low)

    def prepare(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 images on the device to the network's input."""
        return normalize_images(images, self.model.spec.input).contiguous(memory_format=self.layout)

    # --- steps

    def step(self, batches: Iterator[tuple[torch.Tensor, torch.Tensor]]) -> None:
        """One optimizer step over this process's parts of the batch."""
        train_step(self, batches)

    def next_images(
        self, batches: Iterator[tuple[torch.Tensor, torch.Tensor]]
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The next images, as the network takes them, and labels [n], on the device; counts the time waited for."""
        asked = time.perf_counter()
        images, labels = next(batches)
        self.waited += time.perf_counter() - asked
        images = self.prepare(images.to(self.job.device, non_blocking=True))
        return images, labels.to(self.job.device, non_blocking=True)

    def gradients_shared_after(self, last: bool) -> AbstractContextManager[Any]:
        """Processes exchange gradients once a step, in its last part."""
        if self.job.world.size == 1 or last:
            return nullcontext()
        return cast(AbstractContextManager[Any], self.net.no_sync())  # type: ignore[operator]

    def check_loss(self) -> None:
        """`UserError` when training has diverged; nothing of it has been saved then."""
        loss = float(self.sums[0])
        if not math.isfinite(loss):
            raise self._diverged(f"the loss became {loss}")

    def check_weights(self) -> None:
        """The same for the network itself: the loss of a step says nothing of what that step made of it."""
        if not all(bool(tensor.isfinite().all()) for tensor in self.model.state_dict().values()):
            raise self._diverged("the weights became infinite or NaN")

    def _diverged(self, how: str) -> UserError:
        config = self.job.config
        other = "" if config.precision == "fp32" else ", --precision fp32"
        return UserError(
            f"{how} by step {self.position.step} (epoch {self.position.epoch + 1}): "
            f"{DIVERGED}. Start again with a lower --lr (it was {config.base_lr:g}) or --warmup-epochs 1{other}. "
            f"Earlier checkpoints in '{self.job.folder}' are as they were"
        )

    def epoch(self) -> None:
        """The rest of the current epoch's steps, with checkpoints in between; `Stopped` when a signal came."""
        job, config, position = self.job, self.job.config, self.position
        order = epoch_order(config.seed, position.epoch, len(job.train))
        crops = epoch_crops(config.seed, position.epoch, len(job.train), config.resize, config.side)
        plans = self._plans(order, crops)
        pin = job.device.type == "cuda"
        batches = make_batches(job.train, plans, config.side, workers=config.workers or 0, pin_memory=pin)
        title = f"epoch {position.epoch + 1}/{config.epochs}"
        with progress_bar(job.report, title, self.steps_per_epoch) as bar, closing(cast(Any, batches)):
            while position.step_in_epoch < self.steps_per_epoch:
                began = time.perf_counter()
                self.step(batches)
                position.step += 1
                position.step_in_epoch += 1
                checking = (
                    position.step % self.check_every == 0 or position.step_in_epoch == self.steps_per_epoch
                )
                if checking:
                    self.check_loss()
                took = time.perf_counter() - began
                position.seconds += took
                position.epoch_seconds += took
                note = f"loss {float(self.sums[0] / self.sums[2]):.3f}" if checking else ""
                bar.advance(position.step_in_epoch, note)
                self._save_or_stop(checking)

    def _plans(self, order: npt.NDArray[np.int64], crops: Crops) -> list[BatchPlan]:
        """What this process still has to do in the epoch: its parts of every remaining step."""
        config, world = self.job.config, self.job.world
        return [
            plan_step(order, crops, step, config.batch_size, turn * world.size + world.rank, self.parts)
            for step in range(self.position.step_in_epoch, self.steps_per_epoch)
            for turn in range(config.accumulate)
        ]

    def _save_or_stop(self, asking: bool) -> None:
        """Save when steps or minutes say so; on a signal save and raise `Stopped`. All processes do the same."""
        config, world = self.job.config, self.job.world
        every = config.checkpoint_every_steps
        due = every is not None and self.position.step % every == 0
        stop = False
        if asking:
            late = time.monotonic() - self.saved_at > 60 * config.checkpoint_every_minutes
            stop, late = any_of(world, [self.job.stop.asked, late])
            due = due or late
        if due or stop:
            self.save()
        if stop:
            raise Stopped

    # --- validation

    def validate(self) -> Accuracy | None:
        """Accuracy on the validation images, over all processes; None where there are none."""
        job, world = self.job, self.job.world
        images = job.validation
        if images is None:
            return None

        size = job.config.side
        rows = np.arange(len(images))[world.rank :: world.size]
        chunk = max(1, min(256, job.config.batch_size // self.parts * 2))
        plans = [
            BatchPlan(part, Crops(np.zeros((len(part), 2), np.int64), np.zeros(len(part), bool)))
            for part in (rows[i : i + chunk] for i in range(0, len(rows), chunk))
        ]
        batches = make_batches(images, plans, size, workers=job.config.workers or 0)
        with closing(cast(Any, batches)):
            totals = count_correct(self.model, batches, self.prepare, self.autocast, job.device)
        return accuracy(total(world, totals), self.model.spec.num_classes)

    # --- state

    def save(self) -> None:
        """Write a checkpoint, then the weights; nothing is lost when either fails."""
        self.check_loss()
        self.check_weights()
        world = self.job.world
        sums = total(world, self.sums)
        states = {name: gather(world, tensor) for name, tensor in sorted(random_state().items())}
        if world.first:
            self.position.sums = sums.tolist()
            groups = {
                "model": self.model.state_dict(),
                "momentum": optimizer_tensors(self.model, self.optimizer),
                "chance": {f"{rank}/{k}": t for k, ranks in states.items() for rank, t in enumerate(ranks)},
            }
            scaler = self.scaler.state_dict() if self.scaler else None
            values = {"parts": self.parts, "scaler": scaler, MADE_BY: dict(self.job.made_by)}
            write_checkpoint(self.job.folder / CHECKPOINTS, self.position, groups, values)
            self.write_weights()
        self.saved_at = time.monotonic()

    def write_weights(self) -> None:
        """Write the network as it is, for evaluation."""
        about = {
            "step": self.position.step,
            "epochs": self.position.epoch,
            "spec": self.model.spec.to_dict(),
            MADE_BY: dict(self.job.made_by),
        }
        save_tensors(self.job.folder / WEIGHTS, self.model.state_dict(), about)

    def restore(self, checkpoint: Checkpoint) -> None:
        """Continue where a checkpoint was written. `UserError` when it is another run's, or the batch would be cut into
        other parts.
        """
        require_made_by(checkpoint.values, self.job.made_by, str(checkpoint.path))
        parts = checkpoint.values["parts"]
        if parts != self.parts:
            raise UserError(
                f"this run cuts each batch into {parts} parts (processes x accumulate), now it would be {self.parts}; "
                f"use a number of processes and an --accumulate whose product is {parts}"
            )
        self.model.load_state_dict(checkpoint.group("model"))
        restore_optimizer(self.model, self.optimizer, checkpoint.group("momentum"))
        if self.scaler and checkpoint.values["scaler"]:
            self.scaler.load_state_dict(checkpoint.values["scaler"])
        state = checkpoint.group(f"chance/{self.job.world.rank}")
        if state:  # else there were fewer processes; ours keep their fresh seeds
            restore_random_state(state)
        self.position = checkpoint.position
        if self.job.world.first:
            self.sums += torch.tensor(self.position.sums, dtype=self.sums.dtype, device=self.sums.device)

    # --- the whole run

    def run(self) -> dict[str, Any]:
        """Train to the last epoch and write its weights. Returns the last epoch's line of the log."""
        job, config, position = self.job, self.job.config, self.position
        trim_log(job.folder / LOG, position.epoch) if job.world.first else None
        line: dict[str, Any] = {}
        while position.epoch < config.epochs:
            self.waited = 0.0
            self.epoch()
            sums = total(job.world, self.sums).tolist()
            last = position.epoch + 1 == config.epochs
            began = time.perf_counter()
            found = self.validate() if last or (position.epoch + 1) % config.validate_every == 0 else None
            position.seconds += time.perf_counter() - began
            if last:
                self.check_weights()
            if found and not math.isfinite(found.loss):
                raise self._diverged(f"the loss on the validation images became {found.loss}")
            line = self._log_line(sums, found)
            if job.observer is not None and job.world.first:
                line.update(job.observer(line, job.model, job.folder))
            if found and (position.best is None or found.top1 > position.best["top1"]):
                position.best = {"epoch": position.epoch + 1, "top1": found.top1}
            if job.world.first:
                append_line(job.folder / LOG, line)
            job.report.line(sentence(line, config.epochs))
            position.epoch += 1
            position.step_in_epoch = 0
            position.epoch_seconds = 0.0
            self.sums = self._zero_sums()
        if job.world.first:
            self.write_weights()
        return line

    def _log_line(self, sums: list[float], found: Accuracy | None) -> dict[str, Any]:
        position, config = self.position, self.job.config
        loss, hits, images = sums
        return {
            "epoch": position.epoch + 1,
            "step": position.step,
            "lr": learning_rate(config, position.step - 1, self.steps_per_epoch),
            "train_loss": loss / images,
            "train_top1_mixed": 100 * hits / images,
            "validation": found.to_dict() if found else None,
            "images_per_second": images / max(position.epoch_seconds, 1e-9),
            "seconds": position.epoch_seconds,
            "waited_for_data": min(1.0, self.waited / max(position.epoch_seconds, 1e-9)),
        }
