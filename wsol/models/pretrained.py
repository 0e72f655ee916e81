"""Putting weights from elsewhere into a classifier, and saying exactly what was taken."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from os import PathLike
from typing import Any

from torch import Tensor

from wsol.errors import UserError
from wsol.models.checkpoint_files import first_line, read_state_dict
from wsol.models.classifier import Classifier
from wsol.models.names import ARCHS, is_timm
from wsol.models.resnet import torchvision_weights
from wsol.models.timm_backbone import head_name, timm_weights

# Parts of other people's files that our networks leave out on purpose: the dense layers of VGG.
_LEFT_OUT = {"vgg16_gap": ("backbone.classifier.", "backbone.pre_logits.", "backbone.head.")}
# Parts that no ImageNet file has: they start fresh when fine-tuning.
_FRESH = {"vgg16_gap": ("backbone.conv6.",)}


@dataclass(frozen=True)
class LoadReport:
    """Where weights came from and what became of them; names are those of our `Classifier`.

    `missing`: tensors of the network that the source lacked and that stay random (never any for
    evaluation). `unexpected`: tensors of the source that were left out. `head_reinitialised`: the head
    stays random, because the source has none or one of another shape; `source_classes` is the class count
    of the source's head, if it has one.
    """

    source: str
    loaded: int
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    head_reinitialised: bool
    source_classes: int | None

    def to_dict(self) -> dict[str, Any]:
        """The report as plain values, for a run record."""
        return asdict(self)


def load_pretrained(model: Classifier, path: str | PathLike[str], allow_new_head: bool) -> LoadReport:
    """Load a checkpoint file into `model` (in place) and report what was taken; also kept as
    `model.load_report`.

    Understands our own names, torchvision's and timm's. With `allow_new_head` (fine-tuning) a missing head,
    or one for other classes, is left as initialised, and so are VGG16-GAP's own layers; without it
    (evaluation) everything must fit. Raises UserError, leaving the model untouched, for an unreadable file,
    a wrong class count, or weights of another architecture.
    """
    return load_state(model, read_state_dict(path), str(path), allow_new_head)


def load_imagenet(model: Classifier) -> LoadReport:
    """Load ImageNet weights by name (torchvision's first set, or timm's default) into `model`, in place.

    The head is kept when the model has 1,000 classes. Raises UserError when there are no such weights or
    when they cannot be downloaded.
    """
    arch = model.spec.arch
    if not is_timm(arch) and not ARCHS[arch].imagenet:
        raise UserError(
            f"{arch} has no ImageNet weights; train it from scratch or give a checkpoint file instead"
        )
    try:
        state = timm_weights(arch) if is_timm(arch) else torchvision_weights(arch)
    except UserError:
        raise
    except Exception as error:  # the hubs raise errors of their own kinds when the network is down
        raise UserError(
            f"the ImageNet weights of {arch} could not be downloaded ({first_line(error)}). Without network, "
            f"download the file elsewhere and give its path instead of 'imagenet'"
        ) from error
    source = "timm default weights" if is_timm(arch) else "torchvision IMAGENET1K_V1"
    return load_state(model, state, source, allow_new_head=True)


def load_state(model: Classifier, state: dict[str, Tensor], source: str, allow_new_head: bool) -> LoadReport:
    """`load_pretrained` for tensors already in memory; `source` names them in messages and in the report."""
    arch = model.spec.arch
    ours = model.state_dict()
    theirs = our_names(state, arch)
    source_classes, head_fits = _match_head(theirs, ours)
    if not head_fits and not allow_new_head:
        found = "no head" if source_classes is None else f"a head for {source_classes} classes"
        raise UserError(
            f"{source} has {found}, expected {model.spec.num_classes} classes; give the class count it was "
            f"trained with, or another checkpoint"
        )
    left_out = _LEFT_OUT.get(arch, ())
    taken = {
        name: value for name, value in theirs.items() if name in ours and (head_fits or not _is_head(name))
    }
    unexpected = sorted(set(theirs) - set(taken))
    strangers = [n for n in unexpected if not _is_head(n) and not n.startswith(left_out)]
    missing = [n for n in ours if n not in taken and not _counter(n)]
    fresh = ("head.", *_FRESH.get(arch, ())) if allow_new_head else ()
    absent = [n for n in missing if not n.startswith(fresh)]
    if strangers or absent:
        raise UserError(
            f"{source} does not hold the weights of {arch}: {_some('lacks', absent)}; "
            f"{_some('also has', strangers)}. Choose the architecture it was trained with"
        )
    for name, value in taken.items():
        if value.shape != ours[name].shape:
            raise UserError(
                f"{source} does not hold the weights of {arch}: {name} has shape {tuple(value.shape)}, "
                f"expected {tuple(ours[name].shape)}. Choose the architecture it was trained with"
            )
    model.load_state_dict(taken, strict=False)
    report = LoadReport(source, len(taken), tuple(missing), tuple(unexpected), not head_fits, source_classes)
    model.load_report = report
    return report


def head_names(arch: str) -> tuple[str, ...]:
    """The names under which checkpoints of a network hold its head, ours included."""
    return ("head", head_name(arch)) if is_timm(arch) else ARCHS[arch].head_names


def our_names(state: dict[str, Tensor], arch: str) -> dict[str, Tensor]:
    """Checkpoint names turned into those of `Classifier`: `fc.weight` -> `head.weight`, the rest -> `backbone.*`.

    A head stored as a 1x1 convolution [K, C, 1, 1] becomes a matrix. Names that are ours already stay. A timm
    network's own names live one level deeper, under `backbone.body`.
    """
    body = "backbone.body." if is_timm(arch) else "backbone."
    own = any(name.startswith("backbone.") for name in state)
    head = next((h for h in head_names(arch) if f"{h}.weight" in state), None)
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        if head is not None and name in (f"{head}.weight", f"{head}.bias"):
            matrix = value.flatten(1) if value.ndim == 4 and value.shape[2:] == (1, 1) else value
            renamed["head." + name.removeprefix(head + ".")] = matrix
        elif own:
            renamed[name] = value
        else:
            renamed[body + name] = value
    return renamed


def classes_of(state: dict[str, Tensor], arch: str) -> int | None:
    """How many classes a checkpoint's head has; None without a head."""
    weight = our_names(state, arch).get("head.weight")
    return None if weight is None else int(weight.shape[0])


def _match_head(theirs: dict[str, Tensor], ours: dict[str, Tensor]) -> tuple[int | None, bool]:
    """The class count of the source's linear head, if it has one, and whether all of our head is there and fits."""
    weight = theirs.get("head.weight")
    shapes = {name: value.shape for name, value in ours.items() if _is_head(name) and not _counter(name)}
    fits = all(name in theirs and theirs[name].shape == shape for name, shape in shapes.items())
    return None if weight is None else int(weight.shape[0]), fits


def _is_head(name: str) -> bool:
    return name.startswith("head.")


def _counter(name: str) -> bool:
    """Batch counters of BatchNorm: files from before they existed lack them, and nothing here reads them."""
    return name.endswith("num_batches_tracked")


def _some(verb: str, names: list[str]) -> str:
    if not names:
        return f"{verb} nothing"
    shown = ", ".join(names[:3]) + (" ..." if len(names) > 3 else "")
    return f"{verb} {len(names)} tensors ({shown})"
