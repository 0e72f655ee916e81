"""Which output of a network stands for which class of a dataset, where they are not the same list.

A run's classes are matched by the names that it was trained with. A network of ImageNet's 1,000 classes is scored on a
dataset that has some of them by its WordNet ids, or by a file that names the network's outputs in order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from wsol.errors import UserError
from wsol.files.regular import read_text
from wsol.files.strict_json import load_json
from wsol.manifest import Manifest

_WNID = re.compile(r"n\d{8}")
_UNNAMED = re.compile(r"(class )?\d+")  # what readers call classes that have no names
_IMAGENET_CLASSES = 1000
_OTHER_CLASSES = (
    "; score it on a dataset of its classes, or say which output is which class with --class-map FILE"
)


@dataclass(frozen=True)
class ClassMap:
    """`outputs[label]` is the network's output of a dataset's class, -1 where the network does not know it.

    `source` says what the classes were matched by; `classes` counts the dataset's before any was left out, `left_out`
    the images of each split whose class is unknown.
    """

    outputs: tuple[int, ...]
    source: str
    classes: int
    left_out: dict[str, int]

    @property
    def plain(self) -> bool:
        """Whether labels are outputs, as they are for a network that was trained on the dataset."""
        return all(output == label for label, output in enumerate(self.outputs) if output >= 0)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for a record."""
        return {"source": self.source, "outputs": list(self.outputs), "left_out": self.left_out}

    def note(self, manifest: Manifest, role: str) -> str | None:
        """What a user should know before the numbers of a split; None where every image is scored."""
        dropped = self.left_out.get(role, 0)
        if not dropped:
            return None
        known = sum(output >= 0 for output in self.outputs)
        total = dropped + len(manifest.split(role))
        return (
            f"{dropped} of {total} images of '{role}' are left out: the network knows {known} of the "
            f"{self.classes} classes of '{manifest.dataset}' ({self.source})"
        )


def map_classes(
    manifest: Manifest,
    num_outputs: int,
    who: str,
    file: str | Path | None = None,
    names: Sequence[str] = (),
) -> tuple[Manifest, ClassMap]:
    """The part of a manifest whose classes a network knows, and its outputs for them; labels stay as they are.

    With a `file` classes are matched by name (see `output_names`), and so they are with `names`, of the outputs in
    order, unless the dataset begins with the same ones or only one of the two has names. Else a network of as many
    classes as the dataset has its classes, one of fewer the first of them, and one of 1,000 those of ImageNet, where
    the dataset's classes begin with WordNet ids. Raises UserError, naming classes, where they cannot be matched.
    """
    classes = manifest.classes
    listed_alike = tuple(names) == classes[:num_outputs]
    both_named = bool(names) and _named(names) == _named(classes)
    if file is not None:
        outputs, source = (
            _by_name(classes, output_names(file, num_outputs, who), str(file)),
            f"by {Path(file).name}",
        )
    elif both_named and not listed_alike:
        known_as = [tuple(_names_in(name)) for name in names]
        outputs, source = _by_name(classes, known_as, who, _OTHER_CLASSES), "by name"
    elif num_outputs <= len(classes):
        outputs = [label if label < num_outputs else -1 for label in range(len(classes))]
        source = "the same classes" if num_outputs == len(classes) else f"the first {num_outputs} classes"
    elif num_outputs == _IMAGENET_CLASSES and all(_WNID.match(name) for name in classes):
        outputs, source = (
            _by_name(classes, [(wnid,) for wnid in _imagenet_wnids(who)], "ImageNet"),
            "by WordNet id",
        )
    else:
        raise UserError(
            f"{who} has {num_outputs} classes, but dataset '{manifest.dataset}' has {len(classes)}; name the dataset "
            "that it was trained on with --dataset, or say which output is which class with --class-map FILE (one "
            "output a line, in order, named as the dataset names its classes)"
        )
    return select(manifest, outputs, source)


def _named(classes: Sequence[str]) -> bool:
    return not all(map(_UNNAMED.fullmatch, classes))


def select(manifest: Manifest, outputs: Sequence[int], source: str) -> tuple[Manifest, ClassMap]:
    """The images whose class has an output of 0 or more, and the map that says so."""
    if all(output >= 0 for output in outputs):
        return manifest, ClassMap(tuple(outputs), source, len(outputs), {})
    known = np.asarray(outputs) >= 0
    splits, left_out = {}, {}
    for role, split in manifest.splits.items():
        rows = np.flatnonzero(known[split.labels])
        splits[role] = split.take(rows)
        left_out[role] = len(split) - len(rows)
    note = f"only {int(known.sum())} of {len(known)} classes, those that the network knows ({source})"
    last = int(np.flatnonzero(known)[-1]) + 1  # classes behind the last known one are not named at all
    kept = replace(manifest, classes=manifest.classes[:last], splits=splits, notes=(*manifest.notes, note))
    return kept, ClassMap(tuple(outputs[:last]), source, len(outputs), left_out)


def output_names(file: str | Path, num_outputs: int, who: str) -> list[tuple[str, ...]]:
    """The names of each output of a network: those of line i of a text file, or of entry "i" of a JSON object.

    A line may be a WordNet id with names behind it (`LOC_synset_mapping.txt`), or a name, perhaps with another one in
    brackets. Raises UserError where the file has another number of outputs.
    """
    path = Path(file)
    if not path.is_file():
        raise UserError(f"--class-map '{path}' does not exist")
    text = read_text(path)
    if path.suffix == ".json":
        content = load_json(text, str(path))
        if not isinstance(content, dict) or set(content) != {str(i) for i in range(len(content))}:
            raise UserError(
                f'--class-map {path}: expected an object with an entry "0", "1" ... for each output'
            )
        entries = [content[str(i)] for i in range(len(content))]
        found = [tuple(map(str, e)) if isinstance(e, list) else (str(e),) for e in entries]
    else:
        found = [tuple(_names_in(line.strip())) for line in text.splitlines() if line.strip()]
    if len(found) != num_outputs:
        raise UserError(
            f"--class-map {path} names {len(found)} outputs, but {who} has {num_outputs}; expected a line for each, in "
            "their order"
        )
    return found


def _names_in(line: str) -> Iterator[str]:
    """The names that a line may stand for: whole, its WordNet id, and what stands before and in brackets."""
    yield line
    if _WNID.match(line):
        yield line[:9]
    if (brackets := re.fullmatch(r"(.*?)\s*\((.*)\)", line)) is not None:
        yield from brackets.groups()


def _by_name(
    classes: Sequence[str], names: Sequence[tuple[str, ...]], where: str, remedy: str = ""
) -> list[int]:
    """The output of each class, -1 where none has its name; UserError where no class has one, or one has several."""
    output_of: dict[str, set[int]] = {}
    whole: dict[str, set[int]] = {}
    for output, of_one in enumerate(names):
        whole.setdefault(of_one[0], set()).add(output)
        for name in of_one:
            output_of.setdefault(_plain(name), set()).add(output)
    found = []
    for name in classes:
        fitting = (
            whole.get(name)
            or output_of.get(_plain(name))
            or (output_of.get(name[:9], set()) if _WNID.match(name) else set())
        )
        if len(fitting) > 1:
            shown = ", ".join(str(i) for i in sorted(fitting)[:4])
            raise UserError(f"{where}: several outputs ({shown}) have the name of class '{name}'")
        found.append(next(iter(fitting), -1))
    if max(found, default=-1) < 0:
        raise UserError(
            f"{where}: no output has the name of a class; the dataset's are '{classes[0]}' ..., the outputs' "
            f"'{names[0][0]}' ...{remedy}"
        )
    return found


def _plain(name: str) -> str:
    """A name without case, a leading number, underscores, hyphens and 's: CUB writes "009.Brewer_Blackbird"."""
    plain = re.sub(r"['\u2019]s\b", "", re.sub(r"^\d+\.", "", name))
    return re.sub(r"[\s_-]+", " ", plain).strip().casefold()


def _imagenet_wnids(who: str) -> list[str]:
    try:
        from timm.data import ImageNetInfo
    except ImportError as error:
        raise UserError(
            f"{who} has ImageNet's 1,000 classes; which is which says timm (pip install 'wsol-eval[backbones]') or "
            "--class-map LOC_synset_mapping.txt"
        ) from error
    return list(ImageNetInfo().label_names())
