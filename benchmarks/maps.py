"""Cost of score maps relative to the bare forward pass: ours, torch-cam's and pytorch-grad-cam's, on one network.

    python -m benchmarks.maps [--arch resnet50] [--size 224] [--batch-size 4] [--rounds 5] [--threads 1]

Contenders take turns, a batch each, so that whatever else the machine does hits all of them; the ratio of medians is
printed. torch-cam and pytorch-grad-cam take part, with LayerCAM, where they are installed. `final` of ours needs no
backward pass through the network.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from wsol.cams.extract import extract_maps
from wsol.cams.registry import MAP_METHODS, layer_maps
from wsol.models import Classifier, ClassifierSpec, build_classifier

LAYERS = {"layer4": "final", "layer3": "layer3", "layer2": "layer2"}
"""The networks' layers as others read them, and as we do."""


class Logits(nn.Module):
    """A classifier that gives its logits alone, as the other packages expect."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model(images).logits


def contenders(model: Classifier, images: Tensor, ids: Tensor) -> dict[str, Callable[[], Any]]:
    """What is timed, by name."""

    def forward() -> Tensor:
        with torch.no_grad():
            return model(images).logits

    def ours(methods: list[str], layers: list[str]) -> Callable[[], Any]:
        wanted = layer_maps(methods, layers)
        return lambda: extract_maps(model, images, ids, wanted)

    found: dict[str, Callable[[], Any]] = {"forward pass": forward, "CAM": ours(["cam"], ["final"])}
    closed = [name for name, m in MAP_METHODS.items() if m.formula and not m.class_agnostic]
    found[f"all {len(closed)} closed forms, final"] = ours(closed, ["final"])
    found |= {f"LayerCAM {layer}": ours(["layercam"], [layer]) for layer in ("layer3", "layer2")}
    found["LayerCAM and Grad-CAM, final, layer3, layer2"] = ours(
        ["layercam", "gradcam"], list(LAYERS.values())
    )
    others = Logits(model)
    if importlib.util.find_spec("torchcam"):
        found |= {f"torch-cam LayerCAM {layer}": _torchcam(others, layer, images, ids) for layer in LAYERS}
    if importlib.util.find_spec("pytorch_grad_cam"):
        found |= {
            f"pytorch-grad-cam LayerCAM {layer}": _grad_cam(others, layer, images, ids) for layer in LAYERS
        }
    return found


def _torchcam(model: Logits, layer: str, images: Tensor, ids: Tensor) -> Callable[[], Any]:
    from torchcam.methods import LayerCAM

    def run() -> Any:
        with LayerCAM(model, f"model.backbone.{layer}") as extractor:
            return extractor(ids.tolist(), model(images), normalized=False)

    return run


def _grad_cam(model: Logits, layer: str, images: Tensor, ids: Tensor) -> Callable[[], Any]:
    from pytorch_grad_cam import LayerCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    targets = [ClassifierOutputTarget(int(i)) for i in ids]

    def run() -> Any:
        with LayerCAM(model, [model.model.backbone.get_submodule(layer)]) as extractor:
            return extractor(images, targets)

    return run


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--arch", default="resnet50")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--stride", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    model = build_classifier(ClassifierSpec(given.arch, 200, given.stride, given.size), seed=0).eval()
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.randn(given.batch_size, 3, given.size, given.size).to(memory_format=torch.channels_last)
    found = contenders(model, images, torch.arange(given.batch_size))
    seconds: dict[str, list[float]] = {name: [] for name in found}
    for round_ in range(given.rounds + 1):
        for name, run in found.items():
            start = time.process_time()
            run()
            if round_:  # the first warms up
                seconds[name].append(time.process_time() - start)
    bare = statistics.median(seconds["forward pass"])
    setting = f"{given.arch}, {given.size} px, stride {given.stride}, batches of {given.batch_size}"
    print(f"{setting}, {given.threads} thread(s), median of {given.rounds} batches")
    print(f"forward pass: {1000 * bare / given.batch_size:.0f} ms of processor time an image")
    print("| maps | times the forward pass |\n|---|---|")
    for name, spent in seconds.items():
        low, high = (1 / bare * f(spent) for f in (min, max))
        print(f"| {name} | {statistics.median(spent) / bare:.2f} ({low:.2f} to {high:.2f}) |")


if __name__ == "__main__":
    main()
