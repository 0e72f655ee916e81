"""One optimizer step: what every training method shares."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch

from wsol.cams.layers import layer_named
from wsol.methods.batch import MixedBatch, unmixed
from wsol.training.optim import learning_rate, set_learning_rate
from wsol.training.rng import method_generator, schedule_draw

if TYPE_CHECKING:
    from wsol.models import Classifier
    from wsol.training.loop import Trainer


def train_step(trainer: Trainer, batches: Iterator[tuple[torch.Tensor, torch.Tensor]]) -> None:
    """Take this process's parts of one batch from `batches`, and move the weights once."""
    config, world, method = trainer.job.config, trainer.job.world, trainer.method
    set_learning_rate(
        trainer.optimizer, learning_rate(config, trainer.position.step, trainer.steps_per_epoch)
    )
    for turn in range(config.accumulate):
        images, labels = trainer.next_images(batches)
        draw = draw_for_part(trainer, len(labels), turn * world.size + world.rank)
        with trainer.gradients_shared_after(turn == config.accumulate - 1):
            trainer.statistics.before_part(turn == 0)
            mixed = unmixed(images, labels)
            if draw is not None:
                mixed = method.apply(images, labels, draw[0], trainer.look)
            changes = {} if draw is None else method.layers(trainer.model, draw[0])
            with trainer.autocast(), changed_layers(trainer.model, changes):
                outputs = trainer.net(mixed.images, mixed.labels_a)
            outputs = outputs._replace(logits=outputs.logits.float())
            trainer.statistics.after_part()
            loss = method.loss(outputs, mixed)
            scaled = loss / config.accumulate
            (trainer.scaler.scale(scaled) if trainer.scaler else scaled).backward()
        with torch.no_grad():
            count = torch.full_like(loss, len(labels))
            trainer.sums += torch.stack([loss * count, mixed_hits(outputs.logits, mixed), count])
    trainer.statistics.after_step()
    if trainer.scaler:
        trainer.scaler.step(trainer.optimizer)
        trainer.scaler.update()
    else:
        trainer.optimizer.step()
    trainer.optimizer.zero_grad(set_to_none=True)


def draw_for_part(trainer: Trainer, images: int, part: int) -> tuple[Any] | None:
    """The method's random choices for one part of the step's batch, in a tuple of one; None where the part is left as
    it is, by --method-schedule or --method-off-epochs."""
    config, position = trainer.job.config, trainer.position
    if position.epoch >= config.epochs - config.method_off_epochs:
        return None
    progress = position.step / (config.epochs * trainer.steps_per_epoch)
    if config.method_schedule == "linear" and schedule_draw(config.seed, position.step) >= progress:
        return None
    generator = method_generator(config.seed, position.step, part)
    return (trainer.method.draw(images, (config.side, config.side), generator, progress),)


@contextmanager
def changed_layers(
    model: Classifier, changes: Mapping[str, Callable[[torch.Tensor], torch.Tensor]]
) -> Iterator[None]:
    """While entered, the output of each named layer goes through its function."""
    with ExitStack() as stack:
        for name, change in changes.items():
            stack.enter_context(
                layer_named(model.backbone, name).register_forward_hook(
                    lambda _, __, out, change=change: change(out)
                )
            )
        yield


def mixed_hits(logits: torch.Tensor, mixed: MixedBatch) -> torch.Tensor:
    """How much of a mixed batch is classified right: the sum over images of lam where the first label is predicted,
    and of the rest where the second is. Counting the first label alone would call right answers wrong."""
    predicted = logits.argmax(1)  # [N]
    first = (predicted == mixed.labels_a).to(logits.dtype)
    if mixed.labels_b is mixed.labels_a:
        return first.sum()
    second = (predicted == mixed.labels_b).to(logits.dtype)
    return (mixed.lam * first + mixed.rest * second).sum()
