"""Putting weights from elsewhere into a classifier, and saying exactly what was taken."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from os import PathLike
from typing import Any

from torch import Tensor

from wsol.errors import UserError, first_line
from wsol.models.checkpoint_files import check_tensors, read_checkpoint
from wsol.models.classifier import Classifier
from wsol.models.file_heads import FileHead, find_head
from wsol.models.networks import PATCH_TOKENS, Network, find_network, is_timm
from wsol.models.weight_sets import WeightSet, choose, is_beside, weight_sets


@dataclass(frozen=True)
class LoadReport:
    """Where weights came from and what became of them.

    `missing`: tensors of the network (by our names) that the source lacked and that stay random, never any for
    evaluation. `left_out`: tensors of the source (by its names) that the network has not. `head_reinitialised`: the
    head stays random, because the source has none or one of another shape; `source_classes` is the class count of the
    source's head, if it has one. `weights_key` names the set of weights that was taken, where the source holds several,
    `other_weights` the others.
    """

    source: str
    loaded: int
    missing: tuple[str, ...]
    left_out: tuple[str, ...]
    head_reinitialised: bool
    source_classes: int | None
    weights_key: str | None = None
    other_weights: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values, for a run record."""
        return asdict(self)

    def notes(self) -> list[str]:
        """What a user should be told: other weights that the file holds, and tensors that were left out."""
        found = []
        if self.other_weights:
            found.append(
                f"{self.source} holds {1 + len(self.other_weights)} sets of weights; taken: '{self.weights_key}'. For "
                f"another: " + " or ".join(f"--weights-key '{name}'" for name in self.other_weights)
            )
        if self.head_reinitialised and self.source_classes is not None:
            found.append(
                f"{self.source} has a head for {self.source_classes:,} classes; this one starts at random"
            )
        if self.left_out and not self.other_weights:
            found.append(f"{self.source}: {_some('left out', self.left_out)} that the network has not")
        return found


@dataclass(frozen=True)
class FoundWeights:
    """A network's weights in a source: the chosen set, its head if it has one, and the names of the other sets."""

    chosen: WeightSet
    head: FileHead | None
    others: tuple[str, ...]


def load_pretrained(
    model: Classifier,
    path: str | PathLike[str],
    allow_new_head: bool,
    weights_key: str | None = None,
    ignore: Sequence[str] = (),
) -> LoadReport:
    """Load a checkpoint file into `model` (in place) and report what was taken; also kept as `model.load_report`.

    Understands our own names, torchvision's and timm's, in whatever training scripts wrap them. With `allow_new_head`
    (fine-tuning) a missing head, or one for other classes, is left as initialised, and so are VGG16-GAP's own layers;
    without it (evaluation) everything must fit. `weights_key` chooses among several sets of weights; tensors whose
    names begin with one of `ignore` are passed over. Raises UserError, leaving the model untouched, for an unreadable
    file, a wrong class count, or weights of another architecture.
    """
    return load_state(model, read_checkpoint(path), str(path), allow_new_head, weights_key, ignore)


def load_imagenet(model: Classifier) -> LoadReport:
    """Load ImageNet weights by name (torchvision's first set, or timm's default) into `model`, in place.

    The head is kept when the model has 1,000 classes. Raises UserError when there are no such weights or when they
    cannot be downloaded.
    """
    arch = model.spec.arch
    try:
        state = find_network(arch).imagenet_weights()
    except UserError:
        raise
    except Exception as error:  # the hubs raise errors of their own kinds when the network is down
        raise UserError(
            f"the ImageNet weights of {arch} could not be downloaded ({first_line(error)}). Without network, "
            f"download the file elsewhere and give its path instead of 'imagenet'"
        ) from error
    source = "timm default weights" if is_timm(arch) or arch in PATCH_TOKENS else "torchvision IMAGENET1K_V1"
    return load_state(model, state, source, allow_new_head=True)


def load_state(
    model: Classifier,
    content: Mapping[str, Any],
    source: str,
    allow_new_head: bool,
    weights_key: str | None = None,
    ignore: Sequence[str] = (),
) -> LoadReport:
    """`load_pretrained` for what a file held; `source` names it in messages and in the report."""
    ours = model.state_dict()
    if set(content) == set(ours) and all(content[name].shape == ours[name].shape for name in ours):
        check_tensors(content, source)
        model.load_state_dict(content)
        return _keep(model, LoadReport(source, len(ours), (), (), False, model.spec.num_classes))
    found = find_weights(model, content, source, allow_new_head, weights_key)
    return _keep(model, _load(model, found, source, allow_new_head, ignore))


def find_weights(
    model: Classifier, content: Any, source: str, allow_new_head: bool, weights_key: str | None = None
) -> FoundWeights:
    """The weights of `model`'s network, whatever its class count, in what a file held; UserError where it has none."""
    network = find_network(model.spec.arch)
    body = _body_names(model, network)
    sets = weight_sets(content, frozenset(body), source)
    if not sets:
        raise UserError(_of_another_network(content, body, model.spec.arch, source))
    chosen = _respelt(choose(sets, weights_key, source), network, model.spec.stride, source)
    check_tensors({n: v for n, v in chosen.state.items() if not is_beside(n)}, source)
    try:
        head = find_head(chosen.state, chosen.prefix, network.head_names(), frozenset(body), source)
    except UserError:
        if not allow_new_head:
            raise
        head = None
    return FoundWeights(chosen, head, tuple(one.name for one in sets if one.name != chosen.name))


def _respelt(chosen: WeightSet, network: Network, stride: int, source: str) -> WeightSet:
    """The set under the network's own names, where the file has others; UserError where these are of another stride."""
    for other in (stride, *(s for s in network.strides if s != stride)):
        names = {chosen.prefix + a: chosen.prefix + b for a, b in network.other_names(other).items()}
        odd = next((a for a in names if a in chosen.state and a not in names.values()), None)
        if odd is None or not set(names) <= set(chosen.state):
            continue
        if other != stride:
            raise UserError(
                f"{source} holds {odd}: so {network.name} numbers its layers at output stride {other}, not {stride}; "
                f"pass --output-stride {other}"
            )
        return replace(chosen, state={names.get(name, name): value for name, value in chosen.state.items()})
    return chosen


def _load(
    model: Classifier, found: FoundWeights, source: str, allow_new_head: bool, ignore: Sequence[str]
) -> LoadReport:
    spec, network, ours = model.spec, find_network(model.spec.arch), model.state_dict()
    chosen, head = found.chosen, found.head
    body = _body_names(model, network)
    taken = {
        ours_name: chosen.state[chosen.prefix + name]
        for name, ours_name in body.items()
        if chosen.prefix + name in chosen.state
    }
    used = {chosen.prefix + name for name in body} | (head.names if head else frozenset())
    left_out = sorted(set(chosen.state) - used)
    missing = [n for n in ours if n not in taken and not n.startswith("head.") and not _counter(n)]
    fresh = network.fresh if allow_new_head else ()
    absent = [n for n in missing if not n.startswith(fresh)] if fresh else missing
    foreign = _foreign(left_out, chosen, found.others, body, network, ignore, allow_new_head)
    if absent or foreign:
        raise UserError(_does_not_fit(source, spec.arch, absent, foreign))
    for name, value in taken.items():
        if value.shape != ours[name].shape:
            raise UserError(
                f"{source} does not hold the weights of {spec.arch}: {name} has shape {tuple(value.shape)}, expected "
                f"{tuple(ours[name].shape)}. Choose the architecture it was trained with"
            )
    classes = None if head is None else int(head.weight.shape[0])
    layer = {n: value.shape for n, value in ours.items() if n.startswith("head.")}
    fits = head is not None and layer == {"head.weight": head.weight.shape, "head.bias": head.bias.shape}
    if not fits and not allow_new_head:
        raise UserError(_no_head(source, spec.arch, head, tuple(layer.get("head.weight", ()))))
    if head is not None and fits:
        taken |= {"head.weight": head.weight, "head.bias": head.bias}
    else:
        missing += layer
    model.load_state_dict(taken, strict=False)
    return LoadReport(
        source,
        len(taken),
        tuple(missing),
        tuple(left_out),
        not fits,
        classes,
        chosen.name if found.others or "/" in chosen.name else None,
        found.others,
    )


def _keep(model: Classifier, report: LoadReport) -> LoadReport:
    model.load_report = report
    return report


def _body_names(model: Classifier, network: Network) -> dict[str, str]:
    """The network's tensors but for the head: its own name -> ours."""
    prefix = "backbone." + network.body
    return {n.removeprefix(prefix): n for n in model.state_dict() if n.startswith("backbone.")}


def _foreign(
    names: Sequence[str],
    chosen: WeightSet,
    others: Sequence[str],
    body: Mapping[str, str],
    network: Network,
    ignore: Sequence[str],
    fine_tuning: bool,
) -> list[str]:
    """Tensors of the file that may have a part in the forward pass of what was trained, and are not in the network."""
    stages = {name.split(".")[0] for name in body}
    elsewhere = tuple(p for p in (one.partition(":")[2] for one in others) if p)
    known = tuple(left.removeprefix("backbone.") for left in network.left_out)
    found = []
    for name in names:
        short = name.removeprefix(chosen.prefix)
        inside = name.startswith(chosen.prefix) and short.split(".")[0] in stages
        if (
            is_beside(short)
            or short.startswith(known or "\0")
            or name.startswith((*ignore, *elsewhere) or "\0")
        ):
            continue
        if fine_tuning and not inside:
            continue
        found.append(name)
    return found


def _of_another_network(content: Any, body: Mapping[str, str], arch: str, source: str) -> str:
    names = list(content) if isinstance(content, Mapping) else []
    for value in content.values() if isinstance(content, Mapping) else ():
        if isinstance(value, Mapping) and any(isinstance(v, Tensor) for v in value.values()):
            names = list(value)
            break
    # the first names are alike in many networks: those that only one of the two has say more
    odd = [n for n in names if n not in body] or names
    lacking = [n for n in body if n not in names] or list(body)
    there, wanted = ", ".join(map(str, odd[:3])), ", ".join(lacking[:3])
    return (
        f"{source} does not hold the weights of {arch}: it has {there} ..., {arch} has {wanted} .... Choose the "
        "architecture it was trained with"
    )


def _does_not_fit(source: str, arch: str, absent: Sequence[str], foreign: Sequence[str]) -> str:
    what = f"{source} does not hold the weights of {arch}: {_some('lacks', absent)}; {_some('also has', foreign)}. "
    if not absent and foreign:
        start = foreign[0].split(".")[0]
        return (
            f"{what}Choose the architecture it was trained with, or, if they have no part in its logits, leave them "
            f"out with --ignore-weights {start}"
        )
    return f"{what}Choose the architecture it was trained with"


def _no_head(source: str, arch: str, head: FileHead | None, shape: tuple[int, ...]) -> str:
    if head is None or not shape:
        return f"{source} has no head that {arch} knows, so it gives no class's map; is it {arch}, trained to classify?"
    classes, width = head.weight.shape
    if width != shape[1]:
        return (
            f"{source} has a head for {width} channels, {arch} has {shape[1]}; choose the architecture it was trained "
            "with"
        )
    return (
        f"{source} has a head for {classes} classes, expected {shape[0]} classes; give the class count it was trained "
        "with, or another checkpoint"
    )


def _counter(name: str) -> bool:
    """Batch counters of BatchNorm: files from before they existed lack them, and nothing here reads them."""
    return name.endswith("num_batches_tracked")


def _some(verb: str, names: Sequence[str]) -> str:
    if not names:
        return f"{verb} nothing"
    shown = ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")
    return f"{verb} {len(names)} tensors ({shown})"
