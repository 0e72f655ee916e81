"""Making classifiers: from a spec for training, from anybody's checkpoint for evaluation."""

from __future__ import annotations

import copy
from dataclasses import replace
from os import PathLike
from typing import TYPE_CHECKING

import torch

from wsol.errors import UserError, unknown_name
from wsol.models.checkpoint_files import read_state_dict
from wsol.models.classifier import Classifier
from wsol.models.names import ARCHS, check_arch, is_timm
from wsol.models.pretrained import classes_of, load_imagenet, load_pretrained, load_state
from wsol.models.resnet import ResNetBackbone, SmallResNet
from wsol.models.spec import ClassifierSpec
from wsol.models.timm_backbone import TimmBackbone, take_apart
from wsol.models.vgg import Vgg16GapBackbone

if TYPE_CHECKING:
    from wsol.methods import Method


def build_classifier(
    spec: ClassifierSpec,
    *,
    pretrained: str | None = None,
    seed: int | None = None,
    method: Method | None = None,
    fresh_head: bool = False,
) -> Classifier:
    """A classifier on the CPU, in training mode, ready to be trained.

    `pretrained` is None (random weights), 'imagenet' (downloaded by torchvision or timm on first use), or a checkpoint
    file ('file:PATH' or just the path), whose head is left out when it is for other classes; `load_report` of the
    result says what was taken. With `seed` the initial weights depend on it alone and torch's global generator is left
    as it was; without, they come from that generator. `method` extends the network before weights are loaded. With
    `fresh_head` the head stays random even where the weights have one that fits. Raises UserError for anything that
    cannot be had.
    """
    if seed is not None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return build_classifier(spec, pretrained=pretrained, method=method, fresh_head=fresh_head)
    model = _assemble(spec)
    if method is not None and method.shapes_evaluation:
        method.extend(model)
        model.method = method
    head = copy.deepcopy(model.head.state_dict()) if fresh_head else None
    if pretrained == "imagenet":
        load_imagenet(model)
    elif pretrained is not None:
        load_pretrained(model, pretrained.removeprefix("file:"), allow_new_head=True)
    if head is not None and model.load_report is not None:
        model.head.load_state_dict(head)
        model.load_report = replace(model.load_report, head_reinitialised=True)
    return model


def load_external_classifier(
    path: str | PathLike[str],
    arch: str,
    num_classes: int | None = None,
    input_size: int = 224,
    output_stride: int | None = None,
    stride_plan: str = "late",
) -> Classifier:
    """Somebody's checkpoint as a classifier in evaluation mode, on the CPU, with every weight in place.

    `arch` is one of `ARCHS` or `timm:NAME`; `num_classes` None takes the count from the file's head. The network's
    own output stride is kept unless another is asked for: say 16 if it was trained with layer4 at stride 1. Strides
    are turned late stages first, as the reference does, at any input size. Raises UserError for an unreadable file,
    another class count, or weights that are not this architecture's.
    """
    if arch == "vgg16":
        raise UserError(
            "vgg16 with its dense layers has no class activation map; "
            "vgg16_gap (conv6, pooling, one linear head) has"
        )
    check_arch(arch)
    state = read_state_dict(path)
    if num_classes is None:
        num_classes = classes_of(state, arch)
        if num_classes is None:
            raise UserError(
                f"{path} has no head that {arch} knows, so its class count is unknown; is it {arch}?"
            )
    if output_stride is None:
        if is_timm(arch):
            output_stride = take_apart(arch, num_classes, input_size, None).stride
        else:
            output_stride = ARCHS[arch].native_stride
    model = _assemble(ClassifierSpec(arch, num_classes, output_stride, input_size, stride_plan))
    load_state(model, state, str(path), allow_new_head=False)
    return model.eval()


def _assemble(spec: ClassifierSpec) -> Classifier:
    """The network of a spec with random weights."""
    if is_timm(spec.arch):
        parts = take_apart(spec.arch, spec.num_classes, spec.input_size, spec.output_stride)
        return Classifier(spec, TimmBackbone(parts.body), parts.head.in_features, parts.stride_changes)
    backbone: ResNetBackbone | SmallResNet | Vgg16GapBackbone
    if spec.arch == "resnet_small":
        backbone = SmallResNet(spec.output_stride)
    elif spec.arch == "vgg16_gap":
        backbone = Vgg16GapBackbone(spec.output_stride)
    elif spec.arch in ARCHS:
        backbone = ResNetBackbone(spec.arch, spec.output_stride, spec.stride_plan)
    else:
        raise unknown_name("network", spec.arch, ARCHS)
    return Classifier(spec, backbone, backbone.channels, backbone.stride_changes)
