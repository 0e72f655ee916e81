"""Where in the image the cells of a map look, from the strides, kernels and paddings that its network is run with.

A convolution or pooling of kernel k, stride s and padding p centres its output i on its input s * i + (k - 1) / 2 - p.
Resizing a map of n cells to S pixels draws cell i at (i + 1/2) * S / n - 1/2. The two differ for most networks: by
15.5 pixels for a ResNet at stride 32 and 224 pixels, by none for VGG16.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from wsol.cams.cells import Axis, CellCenters
from wsol.cams.layers import outputs_of
from wsol.cams.map_method import FINAL
from wsol.models.classifier import Classifier
from wsol.models.mode import evaluation_mode

_FOUND: WeakKeyDictionary[Classifier, dict[str, CellCenters | None]] = WeakKeyDictionary()


def cell_centers(model: Classifier, layer: str = FINAL) -> CellCenters | None:
    """Where the cells of a layer's map look at the network's input size; None where that cannot be followed.

    Shapes alone are computed. Branches that look at different places (a pooled shortcut beside a convolution) count
    as their mean. What a squeeze-and-excitation gate sees of the whole image is left out. Networks that fold the
    image into tokens other than by a convolution are not followed. Found once for a model.
    """
    found = _FOUND.setdefault(model, {})
    if layer not in found:
        found[layer] = _follow(model, layer)
    return found[layer]


def _follow(model: Classifier, layer: str) -> CellCenters | None:
    backbone, size = model.backbone, model.spec.input_size
    tensors = [*backbone.named_parameters(), *backbone.named_buffers()]
    shapes = {name: tensor.detach().to("meta") for name, tensor in tensors}
    image = torch.empty(1, 3, size, size, device="meta")
    try:
        with evaluation_mode(backbone), torch.no_grad(), _Follower(image) as follower:
            if layer == FINAL:
                features = torch.func.functional_call(backbone, shapes, (image,))
            else:
                with outputs_of(backbone, [layer], gradients=False) as seen:
                    torch.func.functional_call(backbone, shapes, (image,))
                features = seen[layer]
    except NotImplementedError:  # an operation without shapes of its own
        return None
    found = follower.centers(features)
    cells = tuple(features.shape[2:])
    return found if found and (found.y.cells, found.x.cells) == cells else None


class _Follower(TorchDispatchMode):
    """Notes for every tensor of a forward pass where its cells look."""

    def __init__(self, image: Tensor) -> None:
        super().__init__()
        height, width = image.shape[2:]
        self._found: dict[int, CellCenters] = {
            id(image): CellCenters(Axis(0.0, 1.0, width, width), Axis(0.0, 1.0, height, height))
        }
        self._alive: list[Any] = [image]  # an id may be given again once a tensor is gone

    def centers(self, tensor: Tensor) -> CellCenters | None:
        return self._found.get(id(tensor))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        inputs = [a for a in _flat(args) if isinstance(a, Tensor)]
        known = [c for c in (self.centers(t) for t in inputs) if c is not None]
        if not known:
            return out
        first = out[0] if isinstance(out, (tuple, list)) else out
        rule = _RULES.get(func.__name__.partition(".")[0])
        try:
            after = rule(known[0], args, first) if rule else _together(known)
        except _NotFollowed:
            return out
        for tensor in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(tensor, Tensor):
                self._found[id(tensor)] = after
                self._alive.append(tensor)
        return out


class _NotFollowed(Exception):
    """An operation whose effect on the cells is not known."""


def _flat(values: Any) -> list[Any]:
    """Arguments with lists of tensors opened."""
    return [v for value in values for v in (value if isinstance(value, (list, tuple)) else [value])]


def _together(known: Sequence[CellCenters]) -> CellCenters:
    """Where a sum or concatenation of maps looks: the mean over those of the largest size."""
    cells = max((c.y.cells, c.x.cells) for c in known)
    same = [c for c in known if (c.y.cells, c.x.cells) == cells]

    def mean(axes: Sequence[Axis]) -> Axis:
        start, step = (sum(getattr(a, name) for a in axes) / len(axes) for name in ("start", "step"))
        return Axis(start, step, axes[0].cells, axes[0].pixels)

    return CellCenters(mean([c.x for c in same]), mean([c.y for c in same]))


def _windows(
    before: CellCenters, out: Tensor, kernel: Any, stride: Any, padding: Any, dilation: Any
) -> CellCenters:
    """After a convolution or pooling; each of the settings is one number or (vertical, horizontal)."""

    def axis(a: Axis, i: int) -> Axis:
        k, s, p, d = (int(v if isinstance(v, int) else v[-1 if len(v) == 1 else i]) for v in settings)
        start = a.start + a.step * (d * (k - 1) / 2 - p)
        return Axis(start, a.step * s, out.shape[2 + i], a.pixels)

    settings = (kernel, stride or kernel, padding, dilation)
    return CellCenters(axis(before.x, 1), axis(before.y, 0))


def _convolution(before: CellCenters, args: Any, out: Tensor) -> CellCenters:
    _, weight, _, stride, padding, dilation, transposed, *_ = args
    if transposed or out.ndim != 4:
        raise _NotFollowed
    return _windows(before, out, list(weight.shape[2:]), stride, padding, dilation)


def _settings(args: Any, defaults: tuple[Any, ...]) -> list[Any]:
    """A pooling's kernel and the settings behind it, `defaults` where they were left out."""
    given = list(args[1 : 2 + len(defaults)])
    return given + list(defaults[len(given) - 1 :])


def _max_pooling(before: CellCenters, args: Any, out: Tensor) -> CellCenters:
    kernel, stride, padding, dilation = _settings(args, ([], 0, 1))
    return _windows(before, out, kernel, stride, padding, dilation)


def _average_pooling(before: CellCenters, args: Any, out: Tensor) -> CellCenters:
    kernel, stride, padding = _settings(args, ([], 0))
    return _windows(before, out, kernel, stride, padding, 1)


def _padding(before: CellCenters, args: Any, out: Tensor) -> CellCenters:
    left, _, top, _ = [*args[1], 0, 0][:4]
    x, y = before.x, before.y
    return CellCenters(
        Axis(x.start - x.step * left, x.step, out.shape[-1], x.pixels),
        Axis(y.start - y.step * top, y.step, out.shape[-2], y.pixels),
    )


def _upsampling(before: CellCenters, args: Any, out: Tensor) -> CellCenters:
    def axis(a: Axis, cells: int) -> Axis:
        factor = cells / a.cells
        return Axis(a.start + a.step * (0.5 / factor - 0.5), a.step / factor, cells, a.pixels)

    return CellCenters(axis(before.x, out.shape[-1]), axis(before.y, out.shape[-2]))


_RULES: dict[str, Any] = {
    "convolution": _convolution,
    "max_pool2d_with_indices": _max_pooling,
    "avg_pool2d": _average_pooling,
    "constant_pad_nd": _padding,
    "upsample_nearest2d": _upsampling,
    "upsample_bilinear2d": _upsampling,
}
