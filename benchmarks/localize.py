"""What scoring costs beside decoding and the bare forward pass, and how memory grows with the number of images.

    python -m benchmarks.localize                       # ResNet-50 at 224, all protocols, ratio within one run
    python -m benchmarks.localize --memory 1000 10000   # peak memory of scoring stored maps, one process each

Images are random JPEG photographs' worth of pixels at 500 x 375, listed many times under different ids.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from wsol.manifest import Manifest, Sample, Split


def dataset(folder: Path, num_images: int, files: int = 32) -> Manifest:
    """`num_images` rows over `files` JPEGs with plausible boxes, written to a manifest folder."""
    from PIL import Image
    from skimage import data

    from wsol.manifest import write_manifest

    rng = np.random.default_rng(0)
    root = folder / "images"
    root.mkdir(parents=True, exist_ok=True)
    sources = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket()]
    for i in range(files):
        picture = Image.fromarray(sources[i % 4]).resize((500, 375))
        picture.rotate(int(rng.integers(0, 360))).save(root / f"{i}.jpg", quality=90)
    samples = []
    for i in range(num_images):
        x0, y0 = int(rng.integers(0, 250)), int(rng.integers(0, 180))
        box = [x0, y0, x0 + int(rng.integers(60, 240)), y0 + int(rng.integers(60, 190))]
        samples.append(
            Sample(f"{i:06d}", f"{i % files}.jpg", i % 1000, (500, 375), np.array([box], np.float64))
        )
    split = Split.from_samples(samples)
    manifest = Manifest("bench", tuple(str(c) for c in range(1000)), {"test": split}, str(root))
    write_manifest(manifest, folder / "manifest")
    return manifest


def throughput(num_images: int, arch: str, size: int, stride: int, repeats: int) -> None:
    """Interleaved: decode + forward of the same views, and the whole of scoring; seconds and their ratio."""
    import torch

    from eval.maps.network import NetworkMaps
    from eval.maps.stored import StoredMaps
    from eval.protocols import PROTOCOLS
    from eval.records.fill import measure
    from eval.records.scorer import Scorer
    from eval.records.store import RecordIndex, RecordStore
    from eval.records.wanted import Wanted
    from wsol.loading import evaluation_batches, normalize_images
    from wsol.models import ClassifierSpec, build_classifier
    from wsol.views import EvalView

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = build_classifier(ClassifierSpec(arch, 1000, stride, size), seed=0).to(device).eval()
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # as the command does
    frames_of = {
        "whole image only": [p for p in PROTOCOLS.values() if p.frame == "resize"],
        "whole image and centre crop": list(PROTOCOLS.values()),
    }
    print(
        f"{arch} at {size} pixels, stride {stride}, {num_images} images, {device}; "
        f"medians of {repeats} interleaved runs"
    )
    with tempfile.TemporaryDirectory() as scratch:
        manifest = dataset(Path(scratch), num_images)
        split = manifest.splits["test"]
        assert manifest.root is not None
        for title, protocols in frames_of.items():
            channels = tuple(dict.fromkeys(p.channel for p in protocols if p.metric == "box_accuracy"))
            frames = list(dict.fromkeys(c.frame for c in channels))
            views = [EvalView(f, size) for f in frames]  # type: ignore[arg-type]

            def bare(views: list[EvalView] = views) -> None:
                assert manifest.root is not None
                with torch.inference_mode():
                    for batch in evaluation_batches(split, manifest.root, views, batch_size=32):
                        for view in views:
                            model(normalize_images(batch.images[view.name].to(device))).logits.cpu()

            def scored(
                number: int, lean: bool = False, channels: tuple = channels, frames: list[str] = frames
            ) -> None:
                assert manifest.root is not None
                source = NetworkMaps(
                    model,
                    split,
                    manifest.root,
                    frames=frames,
                    device=device,
                    description={"run": number},
                    batch_size=32,
                )
                out = Path(scratch) / f"out-{number}"
                index = RecordIndex(
                    "bench", "test", "", len(split), tuple(map(str, channels)), False, (), source.describe()
                )
                head = {"maps": source.describe(), "input_size": size, "split_hash": ""}
                measure(
                    RecordStore.create(out / "records", index),
                    Scorer(split, Wanted(tuple(channels), thresholds_only=lean), size),
                    source,
                    keep=StoredMaps.create(out / "maps", head),
                )

            scored(-1)  # compiles the kernel
            times: dict[str, list[float]] = {"bare": [], "scored": []}
            processor: dict[bool, list[float]] = {False: [], True: []}
            for r in range(repeats):
                times["bare"].append(timed(bare))
                for lean in (True, False):
                    begin = time.process_time()
                    wall = timed(lambda r=r, scored=scored, lean=lean: scored(2 * r + lean, lean))  # type: ignore[misc]
                    processor[lean].append(time.process_time() - begin)
                times["scored"].append(wall)
            ratios = sorted(s / b for s, b in zip(times["scored"], times["bare"]))
            b, s = np.median(times["bare"]), np.median(times["scored"])
            print(
                f"  {title:28s} decode + forward {num_images / b:6.1f} images/s, scored {num_images / s:6.1f}; "
                f"cost {100 * (np.median(ratios) - 1):+.1f} % "
                f"(runs {', '.join(f'{100 * (x - 1):+.1f}' for x in ratios)})"
            )
            extra = 100 * (np.median(processor[False]) / np.median(processor[True]) - 1)
            print(f"  {'':28s} of it measures without a threshold {extra:+.1f} % of processor time")


def timed(work: Callable[[], None]) -> float:
    """Wall seconds."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def memory(counts: list[int]) -> None:
    """Peak resident memory of `eval.localize` over files of maps, one process per count."""
    peaks = []
    for count in counts:
        code = f"import benchmarks.localize as b; b.peak_of({count})"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        peaks.append(float(done.stdout.split()[-1]))
        print(f"  {count:7d} images: peak {peaks[-1]:7.1f} MB")
    print(f"  difference: {peaks[-1] - peaks[0]:+.1f} MB")


def peak_of(count: int) -> None:
    """Score `count` random raw maps and print this process's peak memory in MB."""
    from collections.abc import Iterator

    from eval.evaluation.config import LocalizeConfig
    from eval.evaluation.evaluate import localize
    from eval.maps.batch import RawBatch, unpredicted
    from eval.maps.files import ScoreMapFiles

    def batches(self: ScoreMapFiles, rows: np.ndarray, batch_size: int = 64) -> Iterator[RawBatch]:
        for start in range(0, len(rows), batch_size):
            some = rows[start : start + batch_size]
            maps = np.random.default_rng(int(some[0])).random((len(some), 14, 14), np.float32)
            yield RawBatch(some, {"resize": maps}, np.zeros(len(some), np.uint8), *unpredicted(len(some)))

    with tempfile.TemporaryDirectory() as scratch:
        dataset(Path(scratch), count)
        maps = Path(scratch) / "maps"
        maps.mkdir()
        ScoreMapFiles.batches = batches  # type: ignore[method-assign]  # files would only measure the disk
        localize(
            LocalizeConfig(
                score_maps=maps, dataset=str(Path(scratch) / "manifest"), out=Path(scratch) / "o", pictures=0
            )
        )
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=64, help="images to score")
    parser.add_argument("--arch", default="resnet50", help="network (default: resnet50)")
    parser.add_argument("--size", type=int, default=224, help="input size")
    parser.add_argument("--stride", type=int, default=32, help="output stride")
    parser.add_argument("--repeats", type=int, default=3, help="interleaved runs")
    parser.add_argument(
        "--memory", type=int, nargs="+", metavar="N", help="measure peak memory at these counts instead"
    )
    chosen = parser.parse_args()
    if chosen.memory:
        memory(chosen.memory)
    else:
        throughput(chosen.images, chosen.arch, chosen.size, chosen.stride, chosen.repeats)
