"""Score maps of a batch: one forward pass, and one backward pass at most, for any number of methods and layers."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from wsol.cams.cam import checked_class_ids
from wsol.cams.layers import outputs_of, without_weight_gradients
from wsol.cams.map_method import FINAL, LayerMap
from wsol.cams.registry import CAM_OF_FINAL
from wsol.models.classifier import Classifier
from wsol.models.head import PooledLinear
from wsol.models.mode import evaluation_mode, without_autocast


@dataclass(frozen=True)
class MapBatch:
    """Logits [N, K] and, for each method asked for, the raw maps [N, h, w] of `class_ids` [N], on one device."""

    logits: Tensor
    maps: tuple[Tensor, ...]
    class_ids: Tensor


def extract_maps(
    model: Classifier,
    images: Tensor,
    class_ids: Tensor | None = None,
    wanted: Sequence[LayerMap] = (CAM_OF_FINAL,),
) -> MapBatch:
    """Raw maps of a batch by several methods, without gradients of the weights.

    `images` is float [N, 3, S, S], normalised; it and `class_ids` [N] are moved to the model's device, where the
    result stays. `class_ids` None takes each image's predicted class. At the final map gradients come from the head
    alone; other layers that need them share one backward pass, which ends at the first of them. CAM alone also takes
    `class_ids` [N, M], several classes an image, and gives [N, M, h, w]. CAM of a network whose training method
    defines its own map is that map. The model is in evaluation mode meanwhile; every module's own mode is restored, on
    errors as well.

    Raises TypeError or ValueError for class ids that do not fit, UserError for a layer that cannot be read.
    """
    if class_ids is not None:  # before the pass, and where the ids are: no waiting for the device
        class_ids = checked_class_ids(class_ids, images.shape[0], model.spec.num_classes)
    for one in wanted:
        one.check(model)
    device = next(model.parameters()).device
    layers = list(dict.fromkeys(w.layer for w in wanted if w.layer != FINAL))
    backward = list(dict.fromkeys(w.layer for w in wanted if w.method.needs_gradient and w.layer != FINAL))
    with ExitStack() as stack:
        stack.enter_context(evaluation_mode(model))
        stack.enter_context(torch.set_grad_enabled(bool(backward)))
        if backward:
            stack.enter_context(without_weight_gradients(model))
        seen = stack.enter_context(outputs_of(model.backbone, layers, bool(backward)))
        if class_ids is not None:
            class_ids = class_ids.to(device, non_blocking=True)
        images = images.to(device, non_blocking=True)
        outputs = model(images, class_ids)
        logits, features = outputs.logits, outputs.features
        if class_ids is None:
            class_ids = logits.argmax(1)
        gradients: dict[str, Tensor] = {}
        if backward:
            own = logits.gather(1, class_ids[:, None]).sum()  # images do not meet in evaluation mode
            gradients.update(zip(backward, torch.autograd.grad(own, [seen[layer] for layer in backward])))
    seen[FINAL] = features
    with torch.no_grad(), without_autocast(device):
        features_of = {layer: exact(found.detach()) for layer, found in seen.items()}
        if any(w.method.needs_gradient and w.layer == FINAL for w in wanted):
            gradients[FINAL] = head_gradient(model.head, features_of[FINAL], class_ids)
        maps = []
        for w in wanted:
            if w == CAM_OF_FINAL and model.method is not None and model.method.has_own_maps:
                maps.append(model.method.maps(model, outputs, class_ids))
                continue
            found = features_of[w.layer]
            if w.method.through is not None:
                maps.append(w.method.through(model, images, found, class_ids))
                continue
            assert w.method.formula is not None, w.method.name
            gradient = exact(gradients[w.layer]) if w.method.needs_gradient else found
            maps.append(w.method.formula(found, gradient, model.head, class_ids))
    return MapBatch(logits.detach(), tuple(maps), class_ids)


@dataclass(frozen=True)
class CamBatch:
    """Logits [N, K] and the raw maps [N, h, w] (or [N, M, h, w]) of `class_ids` [N] ([N, M]), on one device."""

    logits: Tensor
    maps: Tensor
    class_ids: Tensor


def extract_cams(model: Classifier, images: Tensor, class_ids: Tensor | None = None) -> CamBatch:
    """Logits and raw class activation maps of a batch in one forward pass; as `extract_maps`."""
    batch = extract_maps(model, images, class_ids)
    return CamBatch(batch.logits, batch.maps[0], batch.class_ids)


def exact(values: Tensor) -> Tensor:
    """At least float32, as formulas take it."""
    return values.to(torch.promote_types(values.dtype, torch.float32))


def head_gradient(head: nn.Module, features: Tensor, class_ids: Tensor) -> Tensor:
    """Gradient [N, C, h, w] of each image's logit with respect to the final map, through the head alone.

    Behind pooling over A cells and a linear layer it is the class's weights divided by A, the same in every cell: a
    view, without any backward pass.
    """
    if isinstance(head, PooledLinear):
        cells = features.shape[2] * features.shape[3]
        rows = head.weight.detach()[class_ids] / cells  # [N, C]
        return rows[:, :, None, None].expand_as(features)
    with torch.enable_grad():
        leaf = features.detach().requires_grad_()
        own = head(leaf, class_ids).logits.gather(1, class_ids[:, None]).sum()
        return torch.autograd.grad(own, leaf)[0]
