"""Reading the output of named modules of a backbone while it runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, cast

from wsol.errors import UserError, unknown_name

if TYPE_CHECKING:
    from torch import Tensor, nn


@contextmanager
def outputs_of(backbone: nn.Module, names: Sequence[str], gradients: bool) -> Iterator[dict[str, Tensor]]:
    """The outputs [N, C, h, w] of modules, by name, filled in by the forward pass within the context.

    With `gradients` they can be differentiated by: the graph begins at the first of them, not at the pixels. Later
    modules get a copy, so that one that changes its input in place does not change what was read.

    Raises UserError for an unknown module, one that runs several times in a pass, or whose output is no map of an
    image: a square of cells behind the channels.
    """
    seen: dict[str, Tensor] = {}

    def reader(name: str) -> object:
        def read(module: nn.Module, inputs: object, output: object) -> Tensor:
            if name in seen:
                raise UserError(
                    f"layer '{name}' runs several times in one forward pass; name one that runs once"
                )
            shape = list(getattr(output, "shape", ())) or type(output).__name__
            if not isinstance(shape, list) or len(shape) != 4 or shape[2] != shape[3]:
                raise UserError(
                    f"layer '{name}' gives {shape}, which is no map [N, channels, cells, cells]; name another layer"
                )
            tensor = cast("Tensor", output)
            own = tensor.detach().requires_grad_() if gradients and not tensor.requires_grad else tensor
            seen[name] = own
            return own.clone()

        return read

    handles = [layer_named(backbone, n).register_forward_hook(reader(n)) for n in names]  # type: ignore[arg-type]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def layer_named(backbone: nn.Module, name: str) -> nn.Module:
    """A module of a backbone by its dotted name, as the network's checkpoints spell it; UserError if there is none."""
    children = dict(backbone.named_children())
    body = (
        children["body"] if list(children) == ["body"] else backbone
    )  # a timm network lies one level deeper
    modules = {**dict(body.named_modules()), **dict(backbone.named_modules())}
    if name not in modules or not name:
        raise unknown_name("layer", name, ["final", *(n for n, _ in body.named_children())])
    return modules[name]


@contextmanager
def without_weight_gradients(model: nn.Module) -> Iterator[None]:
    """No parameter of `model` asks for a gradient meanwhile, so that none is computed and nothing kept for it."""
    asking = [p for p in model.parameters() if p.requires_grad]
    for parameter in asking:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in asking:
            parameter.requires_grad_(True)
