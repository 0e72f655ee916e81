"""The classifier's last layer in somebody's checkpoint, in every form that amounts to one linear layer."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from wsol.errors import UserError

# Names that training scripts give to a head on a backbone of somebody else's.
_USUAL = ("head", "fc", "classifier", "linear", "head.fc", "cls_head.fc", "last_linear", "fc_cls", "logits")


@dataclass(frozen=True)
class FileHead:
    """A linear head found in a file: `weight` [K, C], `bias` [K] (zeros where it has none), and the tensors' names."""

    weight: Tensor
    bias: Tensor
    names: frozenset[str]


def find_head(
    state: Mapping[str, Tensor], prefix: str, names: Sequence[str], body: frozenset[str], source: str
) -> FileHead | None:
    """The head of a network whose own names stand behind `prefix`; None where there is none.

    `names` are the head's names in the network's own checkpoints, tried first; then the usual ones. It may stand
    behind the prefix or beside it, be a 1x1 convolution, have no bias, be weight-normalised, or be the only layer with
    weights of a Sequential (Dropout + Linear). Raises UserError, naming the keys, where several layers with weights
    stand in its place.
    """
    taken = {prefix + name for name in body}
    for root in _roots(prefix):
        for name in dict.fromkeys((*names, *_USUAL)):
            base = root + name
            inside = {n: v for n, v in state.items() if n.startswith(base + ".") and n not in taken}
            found = _linear(inside, base)
            if found is not None:
                return found
            children = sorted({n.removeprefix(base + ".").split(".")[0] for n in inside})
            if not children or not all(child.isdigit() for child in children):
                continue
            found = _linear(inside, f"{base}.{children[0]}") if len(children) == 1 else None
            if found is None:
                shown = ", ".join(sorted(inside)[:4]) + (" ..." if len(inside) > 4 else "")
                raise UserError(
                    f"{source}: the head {base} consists of several layers with weights ({shown}), so its logits are "
                    "not linear in the final map"
                )
            return found
    return None


def _roots(prefix: str) -> Iterator[str]:
    """The prefix, then what stands before each of its parts, down to nothing.

    >>> list(_roots("model.backbone."))
    ['model.backbone.', 'model.', '']
    """
    parts = prefix.split(".")[:-1]
    for i in range(len(parts), -1, -1):
        yield "".join(part + "." for part in parts[:i])


def _linear(inside: Mapping[str, Tensor], base: str) -> FileHead | None:
    """The tensors under one name as a linear layer; None where they are something else."""
    short = {name.removeprefix(base + "."): value for name, value in inside.items()}
    bias = short.pop("bias", None)
    if set(short) == {"weight"}:
        weight = short["weight"]
    elif set(short) == {"weight_g", "weight_v"}:
        weight = _weight_norm(short["weight_g"], short["weight_v"])
    elif set(short) == {"parametrizations.weight.original0", "parametrizations.weight.original1"}:
        weight = _weight_norm(
            short["parametrizations.weight.original0"], short["parametrizations.weight.original1"]
        )
    else:
        return None
    if weight.ndim == 4 and weight.shape[2:] == (1, 1):
        weight = weight.flatten(1)
    if weight.ndim != 2 or (bias is not None and bias.shape != weight.shape[:1]):
        return None
    return FileHead(weight, weight.new_zeros(weight.shape[0]) if bias is None else bias, frozenset(inside))


def _weight_norm(length: Tensor, direction: Tensor) -> Tensor:
    """Rows of `direction` at the lengths `length`, as torch's weight_norm over dimension 0 has them."""
    return torch._weight_norm(direction.float(), length.float(), 0)
