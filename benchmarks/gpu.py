"""One command for a machine with a GPU: how near training, CAM extraction and localization come to the bare network.

    python -m benchmarks.gpu                 # ResNet-50 at 224 pixels in bf16; without a GPU a small network
    python -m benchmarks.gpu --help

Images are random pixels in host memory, so that nothing waits for a disk or a JPEG decoder; records and kept maps are
written as `eval.localize` writes them. Rows of one group take turns, so whatever else the machine does hits all of
them; a share is the median over turns of a row's images per second over those of its limit in the same turn.

    bare forward      the network alone on normalised images that are on the device already
    CAMs, on device   uint8 images on the device to raw maps in host memory
    CAMs              the same from host memory, as eval.localize extracts them
    localize          CAMs, boxes at every threshold, records on disk: whole image (every protocol on it), both views
    bare step         forward, backward, optimizer on one batch that stays on the device
    training          wsol.training's loop on decoded images in host memory: crops, mirrors, CutMix, all
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch.nn.functional import cross_entropy

from eval.boxes.best_iou import best_iou_per_level_batch
from eval.maps.network import NetworkMaps
from eval.maps.stored import StoredMaps
from eval.protocols import PROTOCOLS, Channel, channels_of
from eval.records.fill import measure
from eval.records.scorer import Scorer
from eval.records.store import RecordIndex, RecordStore
from eval.records.wanted import Wanted
from wsol.cams.extract import extract_cams
from wsol.loading import EvalBatch, normalize_images
from wsol.machine.cores import usable_cores
from wsol.machine.device import describe_device, pick_device, preserved_torch_state, resolve_auto
from wsol.machine.distributed import World
from wsol.manifest import Sample, Split
from wsol.models import Classifier, ClassifierSpec, build_classifier
from wsol.training.batches import Images
from wsol.training.config import TrainConfig
from wsol.training.loop import Job, Trainer
from wsol.training.optim import build_optimizer
from wsol.training.progress import Silent
from wsol.training.signals import StopRequest

CLASSES = 1000


@dataclass(frozen=True)
class Setting:
    """What is measured, on what."""

    device: torch.device
    arch: str
    size: int
    stride: int
    precision: str
    batch_size: int
    batches: int
    train_batch_size: int
    repeats: int
    threads: int

    @property
    def images(self) -> int:
        return self.batch_size * self.batches

    @property
    def half(self) -> torch.dtype | None:
        return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(self.precision)

    def network(self) -> Classifier:
        spec = ClassifierSpec(self.arch, CLASSES, self.stride, self.size)
        model = build_classifier(spec, seed=0).to(self.device)
        return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, self.half or torch.bfloat16, enabled=self.half is not None)

    def wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)


@dataclass
class Row:
    """One way through `images` images; `limit` names the row it is held against, seeing `views` times as much."""

    name: str
    images: int
    work: Callable[[], None]
    limit: str
    views: int = 1
    seconds: list[float] = field(default_factory=list)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print the table."""
    setting = asked(arguments)
    print(description(setting))
    with tempfile.TemporaryDirectory() as scratch:
        rows = take_turns(evaluation_rows(setting, Path(scratch)), setting)
    peak = peak_memory(setting)
    with preserved_torch_state(deterministic=False):
        torch.backends.cudnn.benchmark = True  # as in a run of more than a few minutes
        rows += take_turns(training_rows(setting), setting)
    kernel = box_kernel(setting)
    differences = agreement(setting)
    print("\n".join([peak, peak_memory(setting).replace("evaluation", "training"), kernel, differences]))
    print(table(rows))


def asked(arguments: Sequence[str] | None) -> Setting:
    """The setting of the command line; what is not asked for fits the machine."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="auto")
    parser.add_argument("--arch", help="network (default: resnet50, without a GPU resnet_small)")
    parser.add_argument("--size", type=int, help="input size (default: 224, without a GPU 64)")
    parser.add_argument("--stride", type=int, help="output stride (default: 32, without a GPU 8)")
    parser.add_argument(
        "--precision",
        choices=("fp32", "bf16", "fp16"),
        help="(default: bf16 where the device multiplies in it)",
    )
    parser.add_argument("--batch-size", type=int, help="of evaluation (default: 256, without a GPU 64)")
    parser.add_argument("--batches", type=int, help="batches a turn (default: 32, without a GPU 8)")
    parser.add_argument("--train-batch-size", type=int, help="(default: 256, without a GPU 32)")
    parser.add_argument("--repeats", type=int, default=5, help="turns (default: 5)")
    parser.add_argument("--threads", type=int, default=usable_cores(), help="that score (default: the cores)")
    given = parser.parse_args(arguments)
    device = pick_device(given.device)
    gpu = device.type == "cuda"
    fitting = resolve_auto(TrainConfig(), device).precision
    return Setting(
        device,
        given.arch or ("resnet50" if gpu else "resnet_small"),
        given.size or (224 if gpu else 64),
        given.stride or (32 if gpu else 8),
        given.precision or fitting,
        given.batch_size or (256 if gpu else 64),
        given.batches or (32 if gpu else 8),
        given.train_batch_size or (256 if gpu else 32),
        given.repeats,
        given.threads,
    )


def take_turns(rows: list[Row], setting: Setting) -> list[Row]:
    """Run every row once for nothing (compilation, allocations), then in turns, forth and back."""
    for row in rows:
        row.work()
    for turn in range(setting.repeats):
        for row in rows if turn % 2 else rows[::-1]:
            setting.wait()
            began = time.perf_counter()
            row.work()
            setting.wait()
            row.seconds.append(time.perf_counter() - began)
    return rows


def description(setting: Setting) -> str:
    """Device and setting, in a line."""
    device = describe_device(setting.device)
    return (
        f"{device['name']}, {setting.threads} scoring threads, torch {torch.__version__}: {setting.arch} at "
        f"{setting.size} pixels, stride {setting.stride}, {setting.precision}; {setting.images} images a turn in "
        f"batches of {setting.batch_size}, trained in batches of {setting.train_batch_size}; {setting.repeats} turns"
    )


def table(rows: Sequence[Row]) -> str:
    """Images per second (median), and the share of the limit with its range over turns."""
    by_name = {row.name: row for row in rows}
    lines = [f"\n{'':32s} {'images/s':>10s}   share of the limit"]
    for row in rows:
        rate = row.images / statistics.median(row.seconds)
        line = f"{row.name:32s} {rate:10,.0f}"
        if row.limit != row.name:
            limit = by_name[row.limit]
            shares = sorted(
                100 * (row.images * row.views / own) / (limit.images / best)
                for own, best in zip(row.seconds, limit.seconds)
            )
            of = row.limit if row.views == 1 else f"{row.limit} of {row.views} views"
            line += f"   {statistics.median(shares):5.1f} % of {of} ({shares[0]:.1f} to {shares[-1]:.1f})"
        lines.append(line)
    return "\n".join(lines)


def peak_memory(setting: Setting) -> str:
    """The device's peak since the last call."""
    if setting.device.type != "cuda":
        return "peak device memory of evaluation: not on a CPU"
    peak = torch.cuda.max_memory_allocated(setting.device) / 2**30
    torch.cuda.reset_peak_memory_stats(setting.device)
    return f"peak device memory of evaluation: {peak:.1f} GiB"


# --- evaluation ---------------------------------------------------------------------------------------------


class MapsFromMemory(NetworkMaps):
    """`NetworkMaps` whose images are in host memory, decoded and framed."""

    def __init__(self, setting: Setting, model: Classifier, split: Split, frames: Sequence[str]) -> None:
        super().__init__(
            model,
            split,
            "",
            frames=frames,
            device=setting.device,
            description={},
            batch_size=setting.batch_size,
            precision=setting.precision,
        )
        shape = (setting.batch_size, setting.size, setting.size, 3)
        pixels = torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
        self.pixels = pixels.pin_memory() if setting.device.type == "cuda" else pixels

    def describe(self) -> dict[str, object]:
        return {"kind": "memory", "frames": list(self.frames)}  # there are no files to quote

    def images(self, rows: npt.NDArray[np.int64]) -> Iterator[EvalBatch]:
        for start in range(0, len(rows), self.batch_size):
            some = rows[start : start + self.batch_size]
            batch = self.pixels[: len(some)].permute(0, 3, 1, 2)
            yield EvalBatch(some, dict.fromkeys(self.frames, batch))


def boxed_split(num_images: int) -> Split:
    """Rows with one plausible box each in images of 500 x 375."""
    rng = np.random.default_rng(0)
    samples = []
    for i in range(num_images):
        x0, y0 = int(rng.integers(0, 250)), int(rng.integers(0, 180))
        box = [x0, y0, x0 + int(rng.integers(60, 240)), y0 + int(rng.integers(60, 190))]
        samples.append(Sample(f"{i}", f"{i}.jpg", i % CLASSES, (500, 375), np.array([box], np.float64)))
    return Split.from_samples(samples)


def evaluation_rows(setting: Setting, scratch: Path) -> list[Row]:
    """Bare forward, CAMs, localization."""
    model = setting.network().eval()
    split = boxed_split(setting.images)
    whole = MapsFromMemory(setting, model, split, ["resize"])
    both = MapsFromMemory(setting, model, split, ["resize", "center-crop"])
    here = whole.pixels.permute(0, 3, 1, 2).to(setting.device)
    ready = normalize_images(here)
    labels = torch.zeros(setting.batch_size, dtype=torch.int64)
    everything = channels_of(p for p in PROTOCOLS.values() if p.metric == "box_accuracy")
    written = iter(range(10_000))

    def bare() -> None:
        with torch.inference_mode(), setting.autocast():
            for _ in range(setting.batches):
                model(ready)

    def cams_on_device() -> None:
        maps = []
        for _ in range(setting.batches):
            with setting.autocast():
                maps.append(extract_cams(model, normalize_images(here), labels).maps)
        torch.cat(maps).cpu()

    def cams() -> None:
        for _ in whole.batches(np.arange(setting.images)):
            pass

    def localize(source: NetworkMaps, channels: Sequence[Channel]) -> None:
        folder = scratch / str(next(written))
        index = RecordIndex("gpu", "test", "", len(split), tuple(map(str, channels)), False, ())
        head = {"maps": source.describe(), "input_size": setting.size, "split_hash": ""}
        measure(
            RecordStore.create(folder / "records", index),
            Scorer(split, Wanted(tuple(channels)), setting.size),
            source,
            keep=StoredMaps.create(folder / "maps", head),
            threads=setting.threads,
        )

    on_whole = [c for c in everything if c.frame == "resize"]
    n, limit = setting.images, "bare forward"
    return [
        Row(limit, n, bare, limit),
        Row("CAMs, on device", n, cams_on_device, limit),
        Row("CAMs", n, cams, limit),
        Row("localize, whole image", n, lambda: localize(whole, on_whole), limit),
        Row("localize, both views", n, lambda: localize(both, everything), limit, views=2),
    ]


def box_kernel(setting: Setting, maps: int = 512) -> str:
    """All thresholds' boxes of smooth 224 x 224 maps, over the threads."""
    import cv2

    rng = np.random.default_rng(0)
    scores = np.empty((maps, 224, 224), np.uint8)
    for i in range(maps):
        m = cv2.resize(cv2.GaussianBlur(rng.normal(size=(7, 7)), (3, 3), 1), (224, 224), interpolation=2)
        scores[i] = 255 * (m - m.min()) / (m.max() - m.min())
    boxes, offsets = np.tile(np.array([[40, 40, 180, 180]]), (maps, 1)), np.arange(maps + 1)
    took = []
    for _ in range(setting.repeats + 1):
        began = time.perf_counter()
        best_iou_per_level_batch(scores, boxes, offsets, setting.threads)
        took.append(time.perf_counter() - began)
    return f"box kernel: {maps / statistics.median(took[1:]):,.0f} maps/s, {setting.threads} threads"


def agreement(setting: Setting, images: int = 16) -> str:
    """How far the device's maps are from the CPU's in fp32, as a share of each map's range."""
    model = setting.network().eval()
    pixels = torch.randint(0, 256, (images, 3, setting.size, setting.size), dtype=torch.uint8)
    labels = torch.arange(images)
    tf32, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, False
    exact = extract_cams(model, normalize_images(pixels.to(setting.device)), labels).maps.cpu()
    torch.backends.cudnn.allow_tf32 = tf32
    with setting.autocast():
        low = extract_cams(model, normalize_images(pixels.to(setting.device)), labels).maps.cpu()
    reference = extract_cams(model.cpu(), normalize_images(pixels), labels).maps
    span = reference.amax((1, 2)) - reference.amin((1, 2))
    apart = [float(((m - reference).abs().amax((1, 2)) / span).max()) for m in (exact, low)]
    return (
        f"maps against the CPU's in fp32, largest difference over a map's range: {apart[0]:.1e} in fp32, "
        f"{apart[1]:.1e} in {setting.precision} as it is used"
    )


# --- training -----------------------------------------------------------------------------------------------


def training_rows(setting: Setting) -> list[Row]:
    """Bare step, vanilla, CutMix."""
    size, batch_size = setting.size, setting.train_batch_size
    steps = max(2, setting.images // batch_size // 2)
    config = resolve_auto(
        TrainConfig(
            arch=setting.arch,
            size=size,
            output_stride=setting.stride,
            batch_size=batch_size,
            precision=setting.precision,  # type: ignore[arg-type]
            epochs=10_000,
            lr=1e-4,
            checkpoint_every_minutes=1e6,
        ),
        setting.device,
    )
    rng = np.random.default_rng(0)
    shape = (steps * batch_size, config.resize, config.resize, 3)
    labels = rng.integers(0, CLASSES, steps * batch_size)
    images = Images(labels, pixels=rng.integers(0, 256, shape, dtype=np.uint8))

    def epochs(method: str) -> Callable[[], None]:
        from dataclasses import replace

        trainer = Trainer(
            Job(
                replace(config, method=method),
                Path(),
                setting.network(),
                images,
                None,
                setting.device,
                World(),
                Silent(),
                StopRequest(),
            )
        )

        def epoch() -> None:
            trainer.epoch()
            trainer.position.epoch += 1
            trainer.position.step_in_epoch = 0

        return epoch

    model = setting.network().train()
    optimizer = build_optimizer(model, config)
    x = normalize_images(torch.randint(0, 256, (batch_size, 3, size, size), dtype=torch.uint8))
    x = x.to(setting.device, memory_format=torch.channels_last)
    y = torch.zeros(batch_size, dtype=torch.int64, device=setting.device)

    def bare() -> None:
        for _ in range(steps):
            with setting.autocast():
                logits = model(x).logits
            cross_entropy(logits.float(), y).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    n, limit = steps * batch_size, "bare step"
    return [
        Row(limit, n, bare, limit),
        Row("training, vanilla", n, epochs("vanilla"), limit),
        Row("training, CutMix", n, epochs("cutmix"), limit),
    ]


if __name__ == "__main__":
    main()
