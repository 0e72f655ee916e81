"""Networks from timm: the name after `timm:`, taken apart at the final map."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from wsol.errors import UserError, first_line, unknown_name
from wsol.models.classifier import Parts, StrideError
from wsol.models.networks import TIMM_PREFIX
from wsol.models.pixels import Pixels, pixels_of
from wsol.models.spec import ClassifierSpec
from wsol.models.taken_apart import take_apart


class _Timm:
    """How timm's networks are run in two steps."""

    def features(self, body: Any, images: Tensor) -> Any:
        return body.forward_features(images)

    def tail(self, body: Any, features: Tensor) -> Tensor:
        return body.forward_head(features)


def import_timm() -> Any:
    """The timm package; UserError where it is not installed."""
    try:
        import timm
    except ImportError as error:
        raise UserError(
            "networks named timm:NAME need the package timm; install it with `pip install 'wsol-eval[backbones]'`"
        ) from error
    return timm


def _config(arch: str) -> Any:
    """timm's facts about a network (input, name of the last layer); UserError for an unknown name."""
    timm = import_timm()
    name = arch.removeprefix(TIMM_PREFIX)
    if not timm.is_model(name):
        near = timm.list_models(f"*{name.split('_')[0].split('.')[0]}*")
        raise unknown_name("timm network", name, near or timm.list_models("resnet*")) from None
    found = timm.get_pretrained_cfg(name)
    if found is None:  # an old name of a network: timm knows its facts only once it is made
        with torch.device("meta"):
            found = timm.create_model(name, pretrained=False).pretrained_cfg
        found = timm.models.PretrainedCfg(**found)
    return found


def pixels(arch: str) -> Pixels:
    """The input of a network's own weights. timm resizes by Pillow with the named interpolation."""
    found = _config(arch)
    return pixels_of(found.mean, found.std, found.input_size, found.interpolation, found.crop_pct)


def head_names(arch: str) -> tuple[str, ...]:
    """The names of a network's last layer, as its checkpoints spell it."""
    classifier = _config(arch).classifier
    if classifier is None:
        return ()
    return (classifier,) if isinstance(classifier, str) else tuple(classifier)


def build(spec: ClassifierSpec) -> Parts:
    """A network in parts, at the asked output stride or at its own.

    Raises UserError when timm is missing or does not know the name, StrideError when the network cannot be given the
    stride.
    """
    asked = spec.output_stride
    parts = _take_apart(spec)
    if asked is None or asked == parts.stride:
        return parts
    try:
        coarser = _take_apart(spec, output_stride=asked)
    except (TypeError, ValueError, AssertionError, NotImplementedError, RuntimeError) as error:
        raise _no_stride(spec, parts.stride) from error
    if coarser.stride != asked:
        raise _no_stride(spec, parts.stride)
    return replace(coarser, stride_changes=(f"output stride {asked} through timm, which dilates",))


def weights(arch: str) -> dict[str, Tensor]:
    """A network's own pretrained weights, downloaded on first use; whatever timm's hub raises when that fails."""
    _config(arch)  # an unknown name is the user's mistake, not the download's
    return import_timm().create_model(arch.removeprefix(TIMM_PREFIX), pretrained=True).state_dict()


def _take_apart(spec: ClassifierSpec, **options: Any) -> Parts:
    """The network in parts; what timm raises where `options` are not for it."""
    timm = import_timm()
    name = spec.arch.removeprefix(TIMM_PREFIX)
    found = _config(spec.arch)
    if found.fixed_input_size and spec.input_size != found.input_size[-1]:
        options["img_size"] = spec.input_size
    try:
        body = timm.create_model(name, pretrained=False, num_classes=spec.num_classes, **options)
    except (TypeError, ValueError, AssertionError, NotImplementedError, RuntimeError) as error:
        if "output_stride" in options:
            raise
        raise UserError(
            f"timm cannot make {name} for images of {spec.input_size} pixels: {first_line(error)}"
        ) from error
    last = found.classifier
    if not isinstance(last, str):
        raise UserError(
            f"{spec.arch} has no single last layer ({_shown(last)}), so no map can be made for its classes here; make "
            "maps yourself and score them with --score-maps"
        )
    return take_apart(_TIMM_STEPS, body, last, spec.arch, spec.input_size)


def _shown(last: Any) -> str:
    return ", ".join(last) if isinstance(last, tuple) else "it has none"


_TIMM_STEPS = _Timm()


def _no_stride(spec: ClassifierSpec, own: int) -> StrideError:
    return StrideError(
        f"{spec.arch} cannot be given output stride {spec.output_stride}: at {spec.input_size} pixels its map has "
        f"{round(spec.input_size / own)} cells a side, which counts as {own}; leave --output-stride out, or give {own}"
    )
