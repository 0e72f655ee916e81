"""FSL (Choe et al., CVPR 2020, section 5): a network that is told where the object is, in the few images with boxes.

The run's own network with a single output; its map's sigmoid is the saliency. The loss is the binary cross entropy of
the map, enlarged bilinearly to the input, against the object's mask or the union of its boxes. Images are seen whole,
as in evaluation, and flipped at random; optimizer and schedule are the run's.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, interpolate

from eval.boxes.frames import Frame, split_boxes
from eval.evaluation.networks import pick_device
from eval.records.truth import object_region, read_truth
from eval.terminal.progress import progress
from wsol.cams.cam import class_activation_maps
from wsol.class_map import map_classes
from wsol.datasets.catalog import open_dataset
from wsol.errors import UserError
from wsol.files.atomic_write import write_durably
from wsol.files.roots import open_root
from wsol.loading import evaluation_batches, normalize_images
from wsol.machine.distributed import World
from wsol.machine.provenance import command_line, software_versions
from wsol.manifest import write_manifest
from wsol.models import build_classifier
from wsol.models.head import PooledLinear
from wsol.runs.find import newest_run
from wsol.runs.record import RECORD, load_run
from wsol.training.config import config_from_record
from wsol.training.optim import build_optimizer, learning_rate, set_learning_rate
from wsol.training.rng import network_seed
from wsol.views import EvalView

if TYPE_CHECKING:
    from eval.fsl.__main__ import FslConfig
    from wsol.manifest import Split
    from wsol.models import Classifier
    from wsol.training.config import TrainConfig

TAUGHT_ON = "train-fullsup"
MAPS = "maps.npz"
RECORD_FILE = "fsl.json"
DATASET = "dataset"
_BATCH = 64


@dataclass(frozen=True)
class Lesson:
    """Images uint8 [N, 3, S, S] and where the object is, bool [N, S, S]."""

    images: Tensor
    objects: Tensor


def make_maps(config: FslConfig) -> Path:
    """Train as the config says and write the score maps; returns their file. Where the run knows only some classes of
    its dataset, only their images are taught and mapped, and a manifest of them is written beside the maps.

    Raises `UserError` where train-fullsup has neither boxes nor masks, or the network no head of one linear layer.
    """
    run = load_run(config.run if config.run is not None else newest_run())
    recorded = config_from_record(run.config, str(run.dir / RECORD))
    training = replace(
        recorded,
        method="vanilla",
        method_schedule="constant",
        method_off_epochs=0,
        epochs=config.epochs or recorded.epochs,
        lr=config.lr if config.lr is not None else recorded.lr,
        warmup_epochs=0,
    )
    whole = open_dataset(
        run.manifest_folder, data_root=config.data_root or run.data_root, roles=[TAUGHT_ON, config.split]
    )
    manifest, known = map_classes(whole, run.spec.num_classes, f"run '{run.dir}'", names=run.classes)
    if manifest.root is None:
        raise UserError(f"dataset '{manifest.dataset}' does not say where its images are; give --data-root")
    if config.split == TAUGHT_ON:
        raise UserError(f"--split {TAUGHT_ON}: its maps are written anyway; name the split to be scored")
    taught = manifest.split(TAUGHT_ON)
    device = pick_device(config.device, World())
    model = build_classifier(
        replace(run.spec, num_classes=1),
        pretrained=training.pretrained,
        seed=network_seed(config.seed),
        fresh_head=training.pretrained is not None,
        weights_key=training.weights_key,
    ).to(device)
    if not isinstance(model.head, PooledLinear):
        raise UserError(
            f"{run.spec.arch} has further layers behind its final map, so that it gives no map of one output"
        )
    rows = _rows(taught, config.images_per_class, config.seed)
    lesson = _lesson(model, taught, rows, manifest.root)
    loss = teach(model, lesson, training, config.seed)
    out = config.out or run.dir / "fsl"
    out.mkdir(parents=True, exist_ok=True)
    found: dict[str, Any] = {}
    for split in (manifest.split(config.split), taught):
        found |= dict(_maps(model, split, manifest.root))
    write_durably(out / MAPS, lambda stream: np.savez(stream, **found))
    record = {
        "run": str(run.dir),
        "classifier": model.describe(),
        "images": len(rows),
        "of": len(taught),
        "final_loss": loss,
        "settings": {k: str(v) if isinstance(v, Path) else v for k, v in asdict(config).items()},
        "training": training.to_dict(),
        "provenance": {"command": command_line(), "versions": software_versions()},
    }
    write_durably(out / RECORD_FILE, json.dumps(record, indent=1, allow_nan=False) + "\n")
    dataset = run.manifest_folder
    if known.left_out:  # the run's images only, so that both can be compared
        dataset = str(write_manifest(manifest, out / DATASET))
        note = (
            known.note(manifest, config.split)
            or f"images of other classes than the run's are left out of {TAUGHT_ON}"
        )
        sys.stdout.write(f"note: {note}; a manifest of those that are kept: {dataset}\n")
    sys.stdout.write(
        f"taught on {len(rows)} of {len(taught)} images of {TAUGHT_ON}, loss {loss:.3f}\nscore maps: {out / MAPS}; "
        f"next: python -m eval.localize --score-maps {out / MAPS} --map-values raw --dataset {dataset}\n"
    )
    return out / MAPS


def teach(model: Classifier, lesson: Lesson, config: TrainConfig, seed: int) -> float:
    """Train a network of one output to map the object; returns the last epoch's mean loss."""
    chance = np.random.default_rng(seed)
    count = len(lesson.images)
    batch = min(config.batch_size, count)
    steps = -(-count // batch)
    optimizer = build_optimizer(model, config)
    device = next(model.parameters()).device
    model.train()
    mean = 0.0
    with progress("teaching", config.epochs * count) as advance:
        for epoch in range(config.epochs):
            total = 0.0
            order = chance.permutation(count)
            for step in range(steps):
                picked = torch.from_numpy(order[step * batch : (step + 1) * batch])
                flipped = torch.from_numpy(chance.random(len(picked)) < 0.5)[:, None, None]
                objects = lesson.objects[picked]
                images = lesson.images[picked]
                objects = torch.where(flipped, objects.flip(-1), objects).to(device)
                images = torch.where(flipped[..., None], images.flip(-1), images).to(device)
                set_learning_rate(optimizer, learning_rate(config, epoch * steps + step, steps))
                loss = saliency_loss(saliency(model, normalize_images(images, model.spec.input)), objects)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                total += float(loss.detach()) * len(picked)
                advance(len(picked))
            mean = total / count
            if not np.isfinite(mean):
                raise UserError(f"the loss became {mean} in epoch {epoch + 1}; give a lower --lr")
    return mean


def saliency(model: Classifier, images: Tensor) -> Tensor:
    """The single output at every cell of the final map, before the sigmoid, [N, h, w]; its mean is the logit."""
    features = model(images).features
    none = torch.zeros(len(images), dtype=torch.int64)
    return class_activation_maps(features, model.head.weight, none) + model.head.bias


def saliency_loss(maps: Tensor, objects: Tensor) -> Tensor:
    """Binary cross entropy of maps [N, h, w], enlarged bilinearly, against objects [N, S, S], over all pixels."""
    large = interpolate(maps[:, None], objects.shape[-2:], mode="bilinear", align_corners=False)[:, 0]
    return binary_cross_entropy_with_logits(large, objects.float())


def _rows(split: Split, per_class: int | None, seed: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The images to learn from: those with a box or a mask, `per_class` of each class."""
    boxed = np.diff(split.box_offsets) > 0
    boxed[list(split.masks)] = True
    rows = np.flatnonzero(boxed)
    if not len(rows):
        raise UserError(f"split '{TAUGHT_ON}' has neither boxes nor masks, so nothing can be taught")
    if per_class is None:
        return rows
    shuffled = np.random.default_rng(seed).permutation(rows)
    chosen = [shuffled[split.labels[shuffled] == label][:per_class] for label in np.unique(split.labels)]
    return np.sort(np.concatenate(chosen))


def _lesson(model: Classifier, split: Split, rows: np.ndarray[Any, Any], root: str) -> Lesson:
    frame = Frame.of("resize", model.spec.input_size)
    files = open_root(root)
    images, objects = [], []
    for batch in evaluation_batches(split, root, [_view(model)], indices=rows, batch_size=_BATCH):
        if batch.undecoded:
            raise UserError(next(iter(batch.undecoded.values())))
        images.append(batch.images["resize"])
        boxes, offsets = split_boxes(split, batch.indices, frame)
        for i, row in enumerate(batch.indices):
            truth = read_truth(split, int(row), files, frame)
            objects.append(object_region(truth, boxes[offsets[i] : offsets[i + 1]], frame))
    return Lesson(torch.cat(images), torch.from_numpy(np.stack(objects)))


def _maps(model: Classifier, split: Split, root: str) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """The saliency in [0, 1] of each image at the map's own size, by image id."""
    model.eval()
    device = next(model.parameters()).device
    with progress("making maps", len(split)) as advance, torch.no_grad():
        for batch in evaluation_batches(split, root, [_view(model)], batch_size=_BATCH):
            images = normalize_images(batch.images["resize"].to(device), model.spec.input)
            maps = saliency(model, images).sigmoid().cpu().numpy()
            for i, row in enumerate(batch.indices):
                if i not in batch.undecoded:  # no map: a miss, counted
                    yield split.image_ids[int(row)], maps[i]
            advance(len(batch.indices))


def _view(model: Classifier) -> EvalView:
    return EvalView("resize", model.spec.input_size, model.spec.input.interpolation)
