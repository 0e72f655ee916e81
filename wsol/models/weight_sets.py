"""Finding a network's weights in a checkpoint: which of its dicts, under which prefix, with which head.

Training scripts wrap the network's own names (`layer1.0.conv1.weight`) in dicts (`state_dict`, `model_ema`), in
prefixes (`module.`, `net.`, `encoder.`) and in modules (`_orig_mod.`), and put other tensors beside them. What the
network needs is known by its own names, so they are looked for wherever they are.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from wsol.errors import UserError

# What torch.compile, FSDP, activation checkpointing and DataParallel put into a name, at any depth.
_WRAPPERS = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "module")
# Dicts whose tensors are an optimizer's memory.
_NO_WEIGHTS = re.compile(r"optim|scheduler|scaler|amp|rng|loops|args|config", re.IGNORECASE)
# Raw weights before averaged ones: the names of dicts and prefixes that hold averages.
_AVERAGED = re.compile(r"ema|avg|average|swa|teacher|momentum|encoder_k|shadow|target", re.IGNORECASE)
# The usual names of the dict of weights, the most usual first.
_USUAL = ("", "state_dict", "model_state_dict", "model", "network", "net", "params")
# Tensors beside a network that have no part in its forward pass: losses, averages, metrics, contrastive queues.
_BESIDE = re.compile(
    r"(criterion|.*loss|losses|n_averaged|.*ema|ema_.*|.*metrics?|.*(acc|accuracy|f1|auroc|confmat)|queue.*|"
    r".*teacher|swa.*|.*_ema|avg_.*|optimizer.*|mixup.*|cutmix.*|current_val_fn.*)$",
    re.IGNORECASE,
)
_TOP = "(top level)"


@dataclass(frozen=True)
class WeightSet:
    """One set of a network's weights in a file.

    `name` is what `--weights-key` calls it, `prefix` what stands before the network's own names, `state` every tensor
    of its dict, wrappers taken out of the names; `covered` counts how many of the network's names are there.
    """

    name: str
    prefix: str
    state: dict[str, Tensor]
    covered: int


def weight_sets(content: Any, body: frozenset[str], source: str) -> list[WeightSet]:
    """Every set of tensors with at least half of a network's names, raw weights before averaged ones.

    `body` are the network's names as its own checkpoints spell them, without the head. Raises UserError where the file
    holds no tensors; returns an empty list where they are another network's.
    """
    dicts = dict(_dicts(content))
    if not dicts:
        if not isinstance(content, Mapping):
            raise UserError(
                f"checkpoint {source} holds a {type(content).__name__}, expected a dict of names and tensors"
            )
        keys = ", ".join(str(key) for key in list(content)[:8]) or "(nothing)"
        raise UserError(
            f"checkpoint {source} holds no weights; its top level has: {keys}. Expected names and tensors, or a dict "
            "of these (state_dict, model, ...)"
        )
    found = []
    for key, tensors in dicts.items():
        state = without_wrappers(tensors, body)
        prefixes = [(p, n) for p, n in _prefixes(state, body).most_common() if 2 * n >= len(body)]
        for prefix, covered in prefixes:
            label = key or _TOP
            name = f"{label}:{prefix}" if len(prefixes) > 1 else label
            found.append(WeightSet(name, prefix, state, covered))
    return sorted(found, key=_rank)


def choose(sets: Sequence[WeightSet], key: str | None, source: str) -> WeightSet:
    """The set that was asked for, else the first; UserError for a name that none has."""
    if key is None:
        return sets[0]
    for one in sets:
        if key in (one.name, one.name.partition(":")[2], one.name.partition(":")[2].rstrip(".")) and key:
            return one
    raise UserError(
        f"{source} has no weights of this network under --weights-key {key!r}; it has: "
        + ", ".join(repr(one.name) for one in sets)
    )


def without_wrappers(state: Mapping[str, Tensor], body: frozenset[str]) -> dict[str, Tensor]:
    """The same tensors, with what wrappers added taken out of their names; a name that would then be taken stays."""
    theirs = {part for name in body for part in name.split(".")}
    wrappers = [w for w in _WRAPPERS if w not in theirs]
    cleaned: dict[str, Tensor] = {}
    for name, value in state.items():
        short = ".".join(part for part in name.split(".") if part not in wrappers)
        cleaned[short if short not in cleaned and (short == name or short not in state) else name] = value
    return cleaned


def is_beside(name: str) -> bool:
    """Whether a tensor outside the network is known to have no part in its forward pass.

    >>> is_beside("criterion.weight"), is_beside("attention.weight")
    (True, False)
    """
    parts = name.split(".")
    return any(_BESIDE.match(part) for part in parts[:2]) or parts[-1] == "num_batches_tracked"


def _dicts(content: Any, path: str = "", depth: int = 0) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """(path, tensors by name) of every dict of tensors, two levels deep."""
    if not isinstance(content, Mapping):
        return
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if tensors:
        yield path, tensors
    if depth < 3:
        for key, value in content.items():
            if isinstance(key, str) and not _NO_WEIGHTS.search(key):
                yield from _dicts(value, f"{path}/{key}" if path else key, depth + 1)


def _prefixes(state: Mapping[str, Tensor], body: frozenset[str]) -> Counter[str]:
    """How many of the network's names stand behind each prefix ("" included)."""
    counts: Counter[str] = Counter()
    for name in state:
        parts = name.split(".")
        for i in range(len(parts)):
            if ".".join(parts[i:]) in body:
                counts["".join(part + "." for part in parts[:i])] += 1
    return counts


def _rank(one: WeightSet) -> tuple[bool, int, int, str]:
    key = one.name.partition(":")[0].replace(_TOP, "")
    usual = _USUAL.index(key) if key in _USUAL else len(_USUAL)
    averaged = bool(_AVERAGED.search(one.name.replace(_TOP, "")))
    return averaged, -one.covered, usual, one.name
