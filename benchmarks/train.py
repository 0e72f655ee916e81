"""Training speed: our loop against two others, and CutMix's step against vanilla's, on the same network and
images.

    python -m benchmarks.train [--arch resnet_small] [--size 64] [--batch-size 32] [--images 640] [--rounds 8]

Contenders take turns, an epoch each, so that whatever else the machine does hits all of them; only ratios are
worth quoting. All train the same network in the same layout by the same SGD, on the same resize, crop, mirror
and CutMix.

    ours            wsol.training: pixels decoded once, cut by a thread, normalized and mixed as a batch
    ours, files     the same with --cache off: files are read and decoded in worker processes
    vanilla         ours without CutMix
    torchvision     the loop of torchvision's references: transforms for each image in DataLoader workers, v2.CutMix
                    in the collate function
    timm            the loop of timm's: FastCollateMixup in DataLoader workers, normalization of the batch
    NAME, memory    the other loops with their images decoded beforehand, to compare without the decoding
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader, Dataset, default_collate

from wsol.files.roots import open_root
from wsol.images import decode_rgb
from wsol.loading import normalize_images
from wsol.machine.device import describe_device, pick_device, resolve_auto
from wsol.machine.distributed import World
from wsol.manifest import Split
from wsol.models import IMAGENET, Classifier, ClassifierSpec, build_classifier
from wsol.training.config import TrainConfig
from wsol.training.data import Data, open_data, open_images
from wsol.training.loop import Job, Trainer
from wsol.training.optim import build_optimizer
from wsol.training.progress import Silent
from wsol.training.signals import StopRequest

Batch = tuple[torch.Tensor, torch.Tensor]


@dataclass
class Contender:
    """A way to train: `epoch` runs one over all images; the seconds and processor seconds of each are kept."""

    name: str
    epoch: Callable[[], None]
    seconds: list[float]
    cpu_seconds: list[float]

    def turn(self) -> None:
        """Run and time one epoch."""
        began, cpu = time.perf_counter(), time.process_time()
        self.epoch()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds.append(time.perf_counter() - began)
        self.cpu_seconds.append(time.process_time() - cpu)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--dataset", default="parts")
    parser.add_argument("--arch", default="resnet_small")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--images", type=int, default=640)
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=200, help="CutMix's step against vanilla's, in turns")
    parser.add_argument("--workers", type=int, default=None, help="DataLoader workers (default: ours)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--only", nargs="*", help="names of contenders, the first is the reference")
    asked = parser.parse_args()
    device = pick_device(asked.device)
    config = resolve_auto(
        TrainConfig(
            dataset=asked.dataset,
            arch=asked.arch,
            size=asked.size,
            batch_size=asked.batch_size,
            epochs=10_000,
            lr=1e-4,
            workers=asked.workers,
            checkpoint_every_minutes=1e6,
        ),
        device,
    )
    data = open_data(config)
    rows = np.random.default_rng(0).permutation(len(data.train))[: asked.images]
    data = replace(data, train=data.train.take(rows))
    contenders = [Contender(n, make(config, data, device), [], []) for n, make in CONTENDERS.items()]
    if asked.only:
        contenders = [c for name in asked.only for c in contenders if c.name == name]
    for contender in contenders:  # a turn that does not count: allocations, first reads, worker starts
        contender.turn()
        contender.seconds.clear()
        contender.cpu_seconds.clear()
    for turn in range(asked.rounds):
        for contender in contenders if turn % 2 else contenders[::-1]:
            contender.turn()
        print(f"round {turn + 1}/{asked.rounds}", file=sys.stderr, flush=True)
    report(contenders, len(data.train) // config.batch_size * config.batch_size, config, device)
    if not asked.only:
        step_against_step(config, data, device, asked.pairs)
        direct_cost(config, data, device)


def report(contenders: list[Contender], images: int, config: TrainConfig, device: torch.device) -> None:
    """The table: images per second (median), and the median over rounds of the time relative to the first."""
    print(
        f"\n{config.arch} at {config.side} px, batch {config.batch_size}, {images} images, {config.precision}",
        end="",
    )
    print(f", {describe_device(device)}, workers {config.workers}\n")
    first = contenders[0]
    print(
        f"{'':22s} {'images/s':>9s} {'time / ' + first.name:>14s} {'range':>15s} {'CPU s of this process':>24s}"
    )
    for contender in contenders:
        ratios = sorted(b / a for a, b in zip(first.seconds, contender.seconds))
        cpu = statistics.median(b / a for a, b in zip(first.cpu_seconds, contender.cpu_seconds))
        low, high = ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]
        rate = images / statistics.median(contender.seconds)
        print(f"{contender.name:22s} {rate:9.0f} {statistics.median(ratios):14.3f}", end="")
        print(f"   {low:5.3f} - {high:5.3f} {cpu:23.3f}x")


# --- ours ---------------------------------------------------------------------------------------------------


def _trainer(config: TrainConfig, data: Data, device: torch.device) -> Trainer:
    images = open_images(data.train, data.root, config.resize, "bilinear", config, World(), Silent())
    model = _network(config, data)
    return Trainer(Job(config, Path(), model, images, None, device, World(), Silent(), StopRequest()))


def _network(config: TrainConfig, data: Data) -> Classifier:
    return build_classifier(
        ClassifierSpec(config.arch, len(data.classes), config.stride, config.side), seed=0
    )


def _ours(**changes: Any) -> Callable[[TrainConfig, Data, torch.device], Callable[[], None]]:
    def make(config: TrainConfig, data: Data, device: torch.device) -> Callable[[], None]:
        trainer = _trainer(replace(config, **changes), data, device)

        def epoch() -> None:
            trainer.epoch()
            trainer.position.epoch += 1
            trainer.position.step_in_epoch = 0

        return epoch

    return make


def step_against_step(config: TrainConfig, data: Data, device: torch.device, pairs: int) -> None:
    """CutMix's step against vanilla's, taken in turns on the same batch: the sharpest comparison of the two.

    The interval is of the median: order statistics that hold it with 95 % whatever the distribution.
    """
    methods = ("vanilla", "cutmix")
    trainers = {m: _trainer(replace(config, method=m), data, device) for m in methods}
    shape = (config.batch_size, config.side, config.side, 3)
    images = torch.randint(0, 256, shape, dtype=torch.uint8).permute(
        0, 3, 1, 2
    )  # channels_last, as batches come
    labels = torch.randint(0, len(data.classes), (config.batch_size,))
    took: dict[str, list[float]] = {m: [] for m in methods}
    for turn in range(pairs + 5):
        for method in methods if turn % 2 else methods[::-1]:
            began = time.perf_counter() if device.type == "cuda" else time.process_time()
            trainers[method].step(iter([(images, labels)]))
            trainers[method].position.step += 1
            if device.type == "cuda":
                torch.cuda.synchronize()
            now = time.perf_counter() if device.type == "cuda" else time.process_time()
            took[method].append(now - began)
    ratios = sorted(b / a for a, b in zip(took["vanilla"][5:], took["cutmix"][5:]))
    middle, reach = (
        statistics.median(ratios),
        0.98 * pairs**0.5,
    )  # 1.96 standard deviations of a fair coin's count
    low, high = ratios[max(0, int(pairs / 2 - reach))], ratios[min(pairs - 1, int(pairs / 2 + reach))]
    print(
        f"\nCutMix's step / vanilla's step: {middle:.4f} (95 % interval of the median {low:.4f} to {high:.4f}; "
        f"quartiles {ratios[pairs // 4]:.3f} to {ratios[-1 - pairs // 4]:.3f}; {pairs} pairs)"
    )


def direct_cost(config: TrainConfig, data: Data, device: torch.device) -> None:
    """What CutMix adds to a step, timed alone: its draw, its paste and its second cross entropy."""
    if device.type != "cpu":
        return
    trainer = _trainer(config, data, device)
    images = torch.randn(config.batch_size, 3, config.side, config.side).contiguous(
        memory_format=trainer.layout
    )
    labels = torch.randint(0, len(data.classes), (config.batch_size,))
    logits = torch.randn(config.batch_size, len(data.classes))
    generator = torch.Generator().manual_seed(0)

    def added() -> None:
        draw = trainer.method.draw(len(images), (config.side, config.side), generator)
        mixed = trainer.method.apply(images, labels, draw)
        cross_entropy(logits, mixed.labels_b)

    def whole() -> None:
        loss = cross_entropy(trainer.model(images).logits, labels)
        loss.backward()
        trainer.optimizer.step()
        trainer.optimizer.zero_grad()

    cost = {}
    for name, work, times in (("CutMix", added, 200), ("step", whole, 20)):
        work()
        samples = []
        for _ in range(times):
            cpu = time.process_time()
            work()
            samples.append(time.process_time() - cpu)
        cost[name] = statistics.median(samples)
    share = 100 * cost["CutMix"] / cost["step"]
    print(
        f"\nCutMix alone: {1e3 * cost['CutMix']:.2f} ms of CPU in a step of {1e3 * cost['step']:.1f} ms: {share:.2f} %"
    )


# --- theirs -------------------------------------------------------------------------------------------------


class ImageFiles(Dataset[tuple[Any, int]]):
    """What both references read: an image and its label, transformed one by one; `memory` decodes them first."""

    def __init__(
        self, split: Split, root: str, transform: Callable[[Image.Image], Any], memory: bool
    ) -> None:
        self.split = split
        self.files = open_root(root)
        self.transform = transform
        self.kept = [self._read(i) for i in range(len(split))] if memory else None

    def _read(self, index: int) -> Image.Image:
        path = self.split.path(index)
        return Image.fromarray(decode_rgb(self.files.read_bytes(path), path))

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> tuple[Any, int]:
        image = self.kept[index] if self.kept else self._read(index)
        return self.transform(image), int(self.split.labels[index])


def _loader(
    dataset: ImageFiles, config: TrainConfig, device: torch.device, collate: Callable[..., Any]
) -> DataLoader[Any]:
    workers = config.workers or 0
    return DataLoader(
        dataset,
        batch_size=config.batch_size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        persistent_workers=workers > 0,  # they wait between two epochs, so others' turns are not disturbed
        pin_memory=device.type == "cuda",
        collate_fn=collate,
    )


def _plain_loop(
    config: TrainConfig,
    data: Data,
    device: torch.device,
    loader: Iterable[Any],
    to_input: Callable[[torch.Tensor], torch.Tensor],
) -> Callable[[], None]:
    layout = torch.channels_last if config.channels_last == "on" else torch.contiguous_format
    model = _network(config, data).to(device, memory_format=layout).train()  # type: ignore[call-overload]
    optimizer = build_optimizer(model, config)
    low = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(config.precision)

    def epoch() -> None:
        for images, target in loader:
            images = to_input(images.to(device, non_blocking=True)).contiguous(memory_format=layout)
            target = target.to(device, non_blocking=True)
            with torch.autocast(device.type, dtype=low or torch.bfloat16, enabled=low is not None):
                logits = model(images).logits
            loss = cross_entropy(logits.float(), target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()  # both references keep a running mean of the loss

    return epoch


def _torchvision(memory: bool) -> Callable[[TrainConfig, Data, torch.device], Callable[[], None]]:
    def make(config: TrainConfig, data: Data, device: torch.device) -> Callable[[], None]:
        from torchvision.transforms import v2

        transform = v2.Compose(
            [
                v2.Resize((config.resize, config.resize)),
                v2.RandomCrop(config.side),
                v2.RandomHorizontalFlip(),
                v2.PILToTensor(),
                v2.ToDtype(torch.float32, scale=True),
                v2.Normalize(IMAGENET.mean, IMAGENET.std),
            ]
        )
        mix = v2.CutMix(num_classes=len(data.classes))
        dataset = ImageFiles(data.train, data.root, transform, memory)
        loader = _loader(dataset, config, device, lambda batch: mix(*default_collate(batch)))
        return _plain_loop(config, data, device, loader, lambda images: images)

    return make


def _timm(memory: bool) -> Callable[[TrainConfig, Data, torch.device], Callable[[], None]]:
    def make(config: TrainConfig, data: Data, device: torch.device) -> Callable[[], None]:
        from timm.data import FastCollateMixup
        from torchvision.transforms import v2

        def to_array(image: Image.Image) -> np.ndarray:
            return np.asarray(image).transpose(2, 0, 1)

        transform = v2.Compose(
            [
                v2.Resize((config.resize, config.resize)),
                v2.RandomCrop(config.side),
                v2.RandomHorizontalFlip(),
                to_array,
            ]
        )
        collate = FastCollateMixup(
            mixup_alpha=0.0, cutmix_alpha=1.0, label_smoothing=0.0, num_classes=len(data.classes)
        )
        dataset = ImageFiles(data.train, data.root, transform, memory)
        return _plain_loop(config, data, device, _loader(dataset, config, device, collate), normalize_images)

    return make


CONTENDERS: dict[str, Callable[[TrainConfig, Data, torch.device], Callable[[], None]]] = {
    "ours": _ours(),
    "vanilla": _ours(method="vanilla"),
    "ours, files": _ours(cache="off"),
    "torchvision": _torchvision(memory=False),
    "timm": _timm(memory=False),
    "torchvision, memory": _torchvision(memory=True),
    "timm, memory": _timm(memory=True),
}


if __name__ == "__main__":
    main()
