"""The network that photographs are shown through, with names for its classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from eval.showing.class_names import imagenet_names, names_from_file, numbered_names
from eval.showing.example_network import EXAMPLE_ARCH, example_classifier
from wsol.cams.extract import extract_maps
from wsol.errors import UserError
from wsol.loading import normalize_images
from wsol.models import ClassifierSpec, build_classifier, find_network, load_external_classifier
from wsol.models.hub import network_of
from wsol.runs.network import load_classifier
from wsol.runs.record import load_run
from wsol.views import EvalView

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from eval.showing.config import ShowConfig
    from wsol.cams.map_method import LayerMap
    from wsol.models import Classifier

IMAGENET_CLASSES = 1000


@dataclass(frozen=True)
class ShownNetwork:
    """A classifier on its device, in evaluation mode; `class_names` has a name for each output."""

    model: Classifier
    class_names: tuple[str, ...]
    title: str

    def maps(
        self, pictures: Sequence[npt.NDArray[np.uint8]], class_id: int | None, wanted: Sequence[LayerMap]
    ) -> tuple[torch.Tensor, torch.Tensor, tuple[torch.Tensor, ...]]:
        """Probabilities [N, K], the classes shown [N] (`class_id`, or the predicted ones), and for each method raw
        maps [N, h, w], on the CPU; pictures are uint8 [H, W, 3] of any sizes."""
        spec = self.model.spec
        view = EvalView("resize", spec.input_size, spec.input.interpolation)
        stack = torch.stack([torch.from_numpy(view.apply(p)) for p in pictures])
        images = normalize_images(stack.to(next(self.model.parameters()).device), spec.input)
        classes = None if class_id is None else torch.full((len(pictures),), class_id)
        found = extract_maps(self.model, images, classes, wanted)
        return (
            found.logits.float().softmax(1).cpu(),
            found.class_ids.cpu(),
            tuple(m.float().cpu() for m in found.maps),
        )


def open_network(config: ShowConfig, device: torch.device) -> ShownNetwork:
    """The network that the config names; UserError where it names several, or none that is there."""
    if config.run is not None and (config.arch or config.checkpoint or config.pretrained):
        raise UserError("--run has its own network and weights; leave out --arch, --checkpoint, --pretrained")
    if config.checkpoint is not None and config.pretrained:
        raise UserError("--checkpoint and --pretrained exclude each other; name one set of weights")
    if config.run is not None:
        run = load_run(config.run)
        return _named(config, load_classifier(run, device), run.classes, str(config.run))
    if config.checkpoint is not None:
        arch, pixels = network_of(config.checkpoint, config.arch)
        model = load_external_classifier(
            config.checkpoint, arch, input_size=config.size, output_stride=config.output_stride, pixels=pixels
        )
        return _named(config, model.to(device), (), f"{arch}, {config.checkpoint.name}")
    if config.arch is None:
        if config.pretrained:
            raise UserError("name the network of those weights with --arch (such as resnet50, or timm:NAME)")
        return _named(config, example_classifier().to(device), (), EXAMPLE_ARCH)
    if not config.pretrained:
        raise UserError("--arch needs weights: --checkpoint FILE, or --pretrained for ImageNet's")
    return _named(config, _imagenet_classifier(config).to(device), (), f"{config.arch}, ImageNet weights")


def _imagenet_classifier(config: ShowConfig) -> Classifier:
    assert config.arch is not None
    size = config.size or find_network(config.arch).input_pixels().size
    spec = ClassifierSpec(config.arch, IMAGENET_CLASSES, config.output_stride, size)
    return build_classifier(spec, pretrained="imagenet").eval()


def _named(config: ShowConfig, model: Classifier, names: Sequence[str], title: str) -> ShownNetwork:
    count = model.spec.num_classes
    if config.class_names is not None:
        names = names_from_file(config.class_names, count)
    elif len(names) != count:
        names = imagenet_names() if count == IMAGENET_CLASSES else numbered_names(count)
    return ShownNetwork(model, tuple(names), title)
