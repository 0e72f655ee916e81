"""Making classifiers: from a spec for training, from anybody's checkpoint for evaluation."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from os import PathLike
from typing import TYPE_CHECKING

import torch

from wsol.errors import UserError
from wsol.models.checkpoint_files import read_checkpoint
from wsol.models.classifier import Classifier, StrideError
from wsol.models.networks import default_output_stride, find_network
from wsol.models.pixels import Pixels
from wsol.models.pretrained import find_weights, load_imagenet, load_pretrained, load_state
from wsol.models.spec import ClassifierSpec

if TYPE_CHECKING:
    from wsol.methods import Method


def build_classifier(
    spec: ClassifierSpec,
    *,
    pretrained: str | None = None,
    seed: int | None = None,
    method: Method | None = None,
    fresh_head: bool = False,
    weights_key: str | None = None,
) -> Classifier:
    """A classifier on the CPU, in training mode, ready to be trained.

    `pretrained` is None (random weights), 'imagenet' (downloaded by torchvision or timm on first use), or a checkpoint
    file ('file:PATH' or just the path; `weights_key` chooses among its sets of weights), whose head is left out when it
    is for other classes; `load_report` of the result says what was taken. `method` extends the network before weights
    are loaded. With `fresh_head` the head stays random even where the weights have one that fits. With `seed` the
    initial weights depend on it alone and torch's global generator is left as it was; without, they come from that
    generator. An output stride of None is the network's own; one whose strides are not listed is asked for 8 or 16
    first where its input is smaller than 224 pixels, so that maps have 8 x 8 cells. Raises UserError for anything that
    cannot be had.
    """
    if seed is not None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return build_classifier(
                spec, pretrained=pretrained, method=method, fresh_head=fresh_head, weights_key=weights_key
            )
    model = _assemble(spec)
    if method is not None and method.shapes_evaluation:
        method.extend(model)
        model.method = method
    head = copy.deepcopy(model.head.state_dict()) if fresh_head else None
    if pretrained == "imagenet":
        load_imagenet(model)
    elif pretrained is not None:
        load_pretrained(model, pretrained.removeprefix("file:"), allow_new_head=True, weights_key=weights_key)
    if head is not None and model.load_report is not None:
        model.head.load_state_dict(head)
        model.load_report = replace(model.load_report, head_reinitialised=True)
    return model


def load_external_classifier(
    path: str | PathLike[str],
    arch: str,
    num_classes: int | None = None,
    input_size: int | None = None,
    output_stride: int | None = None,
    stride_plan: str = "late",
    pixels: Pixels | None = None,
    weights_key: str | None = None,
    ignore: Sequence[str] = (),
) -> Classifier:
    """Somebody's checkpoint as a classifier in evaluation mode, on the CPU, with every weight in place.

    `arch` is one of `NETWORKS` or `timm:NAME`; `num_classes` None takes the count from the file's head. `input_size`
    and `pixels` None are those of the network's own weights. The network's own output stride is kept unless another is
    asked for: say 16 if it was trained with layer4 at stride 1. Strides are turned late stages first, as the reference
    does, at any input size. `weights_key` chooses among several sets of weights in the file; tensors whose names begin
    with one of `ignore` are passed over. Raises UserError for an unreadable file, another class count, or weights that
    are not this architecture's.
    """
    if arch == "vgg16":
        raise UserError(
            "vgg16 with its dense layers has no class activation map; "
            "vgg16_gap (conv6, pooling, one linear head) has"
        )
    pixels = pixels or find_network(arch).input_pixels()
    content = read_checkpoint(path)
    spec = ClassifierSpec(
        arch, num_classes or 2, output_stride, input_size or pixels.size, stride_plan, pixels
    )
    model = Classifier(spec, find_network(arch).parts(spec))
    if num_classes is None:
        head = find_weights(model, content, str(path), False, weights_key).head
        if head is None:
            raise UserError(
                f"{path} has no head that {arch} knows, so its class count is unknown; is it {arch}, trained to "
                "classify?"
            )
        spec = replace(spec, num_classes=int(head.weight.shape[0]))
        model = Classifier(spec, find_network(arch).parts(spec))
    load_state(model, content, str(path), False, weights_key, ignore)
    return model.eval()


def untrained(model: Classifier, seed: int) -> Classifier:
    """The same network with random weights that depend on `seed` alone, on the CPU, in evaluation mode: a control."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Classifier(model.spec, find_network(model.spec.arch).parts(model.spec)).eval()


def _assemble(spec: ClassifierSpec) -> Classifier:
    """The network of a spec with random weights."""
    network = find_network(spec.arch)
    if (
        spec.output_stride is None
        and (wanted := default_output_stride(spec.arch, spec.input_size)) is not None
    ):
        try:
            preferred = replace(spec, output_stride=wanted)
            return Classifier(preferred, network.parts(preferred))
        except StrideError:  # its own, then
            pass
    return Classifier(spec, network.parts(spec))
