"""The audit: is this manifest what it claims to be? Expected counts, files, boxes, masks, duplicates, labels."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from wsol.datasets.cards import Card, Expected
from wsol.datasets.inspect_files import FileFacts, SplitFacts
from wsol.manifest import Manifest, Split

if TYPE_CHECKING:
    import numpy.typing as npt

Severity = Literal["error", "warning", "note"]
EXAMPLES = 3
MANY = 20
"""Fewer boxes than this say nothing about their units by their range alone."""
FEW_TRAINING = 10
"""Fewer training images than this are few where they are also less than a quarter of their class."""


@dataclass(frozen=True)
class Finding:
    """One thing the audit noticed. `error`: the manifest should not be used as it is. `warning`: look at it
    before you trust a number. `note`: worth knowing."""

    severity: Severity
    check: str
    message: str
    count: int = 1
    split: str | None = None

    def __str__(self) -> str:
        return f"{self.severity}: {f'{self.split}: ' if self.split else ''}{self.message}"


@dataclass(frozen=True)
class SplitSummary:
    """One line of the summary table. Counts of images, except `boxes` and `masks`; `median_box_share` is the
    median box area over image area, None where no size is known."""

    split: str
    images: int
    classes: int
    boxes: int
    without_truth: int
    several_boxes: int
    masks: int
    median_box_share: float | None


@dataclass(frozen=True)
class Audit:
    """Everything noticed, worst first, and one summary a split."""

    findings: tuple[Finding, ...]
    splits: tuple[SplitSummary, ...]

    @property
    def errors(self) -> tuple[Finding, ...]:
        return tuple(f for f in self.findings if f.severity == "error")

    def with_findings(self, more: Iterable[Finding]) -> Audit:
        """The same audit with further findings."""
        return Audit(_worst_first((*self.findings, *more)), self.splits)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, for audit.json."""
        return asdict(self)


def audit_manifest(
    manifest: Manifest,
    *,
    card: Card | None = None,
    facts: FileFacts | None = None,
    subset: bool = False,
    held_out: bool = False,
) -> Audit:
    """Audit a manifest. `card` brings the expected counts, `facts` what its files are (None: files not looked
    at). `subset` says that only some classes were asked for, so that fewer than expected are no error;
    `held_out` that train-fullsup was taken out of the training images, which are then counted together."""
    findings: list[Finding] = []
    if card is not None:
        findings.extend(_check_counts(manifest, card, subset, held_out))
    for role, split in manifest.splits.items():
        findings.extend(_check_truth(manifest, role, split))
    findings.extend(_check_training(manifest))
    findings.extend(_check_between_splits(manifest))
    findings.extend(_check_units(manifest))
    if facts is not None:
        findings.extend(_check_files(manifest, facts))
    return Audit(_worst_first(findings), tuple(_summary(role, s) for role, s in manifest.splits.items()))


def _worst_first(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(findings, key=lambda f: ("error", "warning", "note").index(f.severity)))


# --- counts -------------------------------------------------------------------------------------------------


def _check_counts(manifest: Manifest, card: Card, subset: bool, held_out: bool) -> Iterator[Finding]:
    found = len(manifest.classes)
    if card.num_classes is not None and found != card.num_classes:
        if found < card.num_classes and (subset or _per_class_only(card)):
            what = "a subset" if subset else "a part of it, or other data in its layout"
            yield Finding("note", "classes", f"{what}: {found} of {card.num_classes} classes")
        else:
            yield Finding("error", "classes", f"{found} classes, but {card.title} has {card.num_classes}")
    for role, expected in card.expected.items():
        if held_out and role == "train-fullsup":
            continue
        images, boxes = _totals(manifest, role, held_out)
        if images is None:
            continue
        also = " with those held out as train-fullsup" if held_out and role == "train-weaksup" else ""
        wanted = expected.images
        if expected.images_per_class is not None:
            wanted = expected.images_per_class * found
        if wanted is not None and images != wanted and not (subset and images < wanted):
            message = f"{images} images{also}, but {wanted} are expected"
            yield Finding("error", "counts", message, abs(images - wanted), role)
        if expected.boxes is not None and boxes != expected.boxes and not (subset and boxes < expected.boxes):
            off = abs(boxes - expected.boxes)
            message = f"{boxes} boxes{also}, but {expected.boxes} are expected"
            yield Finding("error", "counts", message, off, role)


def part_of(manifest: Manifest, card: Card | None, held_out: bool) -> str | None:
    """What a manifest holds of the dataset that its card describes, in words; None where it is the whole of it, or
    where the card describes a layout for anybody's images (it states no number of images).

    Args:
        held_out: as in `audit_manifest`.
    """
    if card is None or not card.states_counts:
        return None
    said = []
    found = len(manifest.classes)
    if card.num_classes is not None and found < card.num_classes:
        said.append(f"{found} of {plural(card.num_classes, 'class')}")
    for role, expected in card.expected.items():
        images, _ = _totals(manifest, role, held_out)
        wanted = expected.images
        if (
            not (held_out and role == "train-fullsup")
            and images is not None
            and wanted is not None
            and images < wanted
        ):
            said.append(f"{role} {images:,} of {plural(wanted, 'image')}")
    return f"{card.title}: {'; '.join(said)}" if said else None


def _per_class_only(card: Card) -> bool:
    return all(e.images is None and e.boxes is None for e in card.expected.values())


def _totals(manifest: Manifest, role: str, held_out: bool) -> tuple[int | None, int]:
    roles = ("train-weaksup", "train-fullsup") if held_out and role == "train-weaksup" else (role,)
    there = [manifest.splits[r] for r in roles if r in manifest.splits]
    if not there:
        return None, 0
    return sum(len(s) for s in there), sum(len(s.boxes_xyxy) for s in there)


# --- rows ---------------------------------------------------------------------------------------------------


def _check_truth(manifest: Manifest, role: str, split: Split) -> Iterator[Finding]:
    if not len(split):
        yield Finding("error", "empty", "holds no image", 1, role)
        return
    present = np.bincount(split.labels, minlength=len(manifest.classes))
    empty = np.flatnonzero(present == 0)
    if len(empty):
        names = _few(manifest.classes[k] for k in empty)
        severity: Severity = "error" if role == "train-weaksup" else "warning"
        yield Finding(
            severity, "classes", f"{_have(len(empty), 'class')} no image: {names}", len(empty), role
        )
    counts = np.diff(split.box_offsets)
    if role != "train-weaksup":
        bare = [i for i in np.flatnonzero(counts == 0).tolist() if i not in split.masks]
        if bare:
            names = _few(split.image_ids[i] for i in bare)
            message = f"{_have(len(bare), 'image')} neither box nor mask: {names}"
            yield Finding("warning", "no truth", message, len(bare), role)
    if not len(split.boxes_xyxy):
        return
    owner = np.repeat(np.arange(len(split)), counts)
    boxes = split.boxes_xyxy
    flat = np.flatnonzero((boxes[:, 0] == boxes[:, 2]) | (boxes[:, 1] == boxes[:, 3]))
    if len(flat):
        names = _few(dict.fromkeys(split.image_ids[i] for i in owner[flat]))
        if manifest.corners == "inclusive":
            message = f"{_are(len(flat), 'box')} one pixel wide or high: {names}"
        else:
            message = f"{_have(len(flat), 'box')} no area: {names}"
        yield Finding("warning", "zero area", message, len(flat), role)
    keyed = np.column_stack([owner, boxes])
    repeated = len(keyed) - len(np.unique(keyed, axis=0))
    if repeated:
        yield Finding(
            "warning", "duplicates", f"{_are(repeated, 'box')} listed twice for one image", repeated, role
        )


def _check_training(manifest: Manifest) -> Iterator[Finding]:
    """Classes that hardly train: by their own images, or beside the other classes."""
    if "train-weaksup" not in manifest.splits:
        return
    classes = len(manifest.classes)
    train = np.bincount(manifest.splits["train-weaksup"].labels, minlength=classes)
    every = np.bincount(np.concatenate([s.labels for s in manifest.splits.values()]), minlength=classes)
    few = (train < FEW_TRAINING) & (4 * train < every) | (10 * train < np.median(train))
    named = np.flatnonzero(few & (train > 0)).tolist()  # without any is an error of its own
    if named:
        some = _few(f"'{manifest.classes[k]}' {train[k]} of {plural(every[k], 'image')}" for k in named)
        message = f"{_have(len(named), 'class')} very few training images: {some}"
        yield Finding("warning", "training", message, len(named), "train-weaksup")


def _check_between_splits(manifest: Manifest) -> Iterator[Finding]:
    roles = list(manifest.splits)
    paths = {r: set(s.image_ids if s.paths is None else s.paths) for r, s in manifest.splits.items()}
    for role, split in manifest.splits.items():
        twice = len(split) - len(paths[role])
        if twice:
            yield Finding(
                "error", "duplicates", f"{_are(twice, 'file')} listed under two image ids", twice, role
            )
    for a, first in enumerate(roles):
        for second in roles[a + 1 :]:
            shared = paths[first] & paths[second]
            if shared:
                message = f"{_are(len(shared), 'file')} also in {second}: {_few(sorted(shared))}"
                yield Finding("error", "leak", message, len(shared), first)


# --- files --------------------------------------------------------------------------------------------------


def _check_files(manifest: Manifest, facts: FileFacts) -> Iterator[Finding]:
    for role, missing in facts.missing.items():
        if missing:
            message = f"{_are(len(missing), 'file')} missing: {_few(missing)}"
            yield Finding("error", "missing", message, len(missing), role)
    if facts.surplus:
        message = f"{_are(len(facts.surplus), 'image file')} in no split: {_few(facts.surplus)}"
        yield Finding("note", "surplus", message, len(facts.surplus))
    if facts.undecoded:
        message = (
            f"{_are(len(facts.undecoded), 'image file')} of a format that is not read here and in no split: "
            f"{_few(facts.undecoded)}; convert them to JPEG or PNG"
        )
        yield Finding("warning", "undecoded", message, len(facts.undecoded))
    for role, found in facts.splits.items():
        split = manifest.splits[role]
        if found.unreadable:
            message = f"{plural(len(found.unreadable), 'image')} cannot be read: {_few(found.unreadable.values(), 1)}"
            yield Finding("error", "unreadable", message, len(found.unreadable), role)
        stated, real = split.sizes_wh, found.sizes_wh
        wrong = np.flatnonzero((stated[:, 0] > 0) & (real[:, 0] > 0) & (stated != real).any(1))
        if len(wrong):
            i = int(wrong[0])
            one = f"'{split.image_ids[i]}' is {real[i, 0]}x{real[i, 1]}, stated {stated[i, 0]}x{stated[i, 1]}"
            message = f"{_are(len(wrong), 'image')} not of the stated size: {one}"
            if (stated[wrong] == real[wrong, ::-1]).all():
                message += _exchanged(found, wrong)
            yield Finding("error", "sizes", message, len(wrong), role)
        if found.exif_rotated:
            names = _few(split.image_ids[i] for i in found.exif_rotated)
            message = (
                f"{_have(len(found.exif_rotated), 'image')} an EXIF rotation, which is not applied; their boxes "
                f"must refer to the stored pixels (--boxes-in upright moves them there): {names}"
            )
            yield Finding("warning", "rotation", message, len(found.exif_rotated), role)
        if found.bad_masks:
            message = f"{_have(len(found.bad_masks), 'image')} bad masks: {_few(found.bad_masks.values(), 1)}"
            yield Finding("error", "masks", message, len(found.bad_masks), role)
        if facts.verify != "names" and found.opened < len(split) - len(facts.missing.get(role, ())):
            message = (
                f"{found.opened} of {len(split)} images were opened, a seeded sample (--verify pixels: all)"
            )
            yield Finding("note", "sampled", message, found.opened, role)
    across = [(a, b) for a, b in facts.duplicates if a[0] != b[0]]
    within = [(a, b) for a, b in facts.duplicates if a[0] == b[0]]
    for pairs, where in ((across, "across splits"), (within, "of the same split")):
        if pairs:
            some = "; ".join(f"{a[0]} '{a[1]}' = {b[0]} '{b[1]}'" for a, b in pairs[:EXAMPLES])
            message = f"{_are(len(pairs), 'image')} byte-identical to another {where}: {some}"
            yield Finding("warning", "duplicates", message, len(pairs))


def _exchanged(found: SplitFacts, wrong: Iterable[int]) -> str:
    """What to do where every wrong size is the real one with width and height exchanged."""
    if all(found.exif_rotated.get(int(i), 1) >= 5 for i in wrong):
        return (
            "; width and height are those of the rotated image: pass --boxes-in upright if its boxes are too"
        )
    return "; width and height are exchanged: correct them, or for the reference layout pass --sizes height-width"


def _check_units(manifest: Manifest) -> Iterator[Finding]:
    """Boxes whose numbers are no pixels."""
    boxes = np.concatenate([s.boxes_xyxy for s in manifest.splits.values()] or [np.zeros((0, 4))])
    if not len(boxes):
        return
    small = boxes.max(axis=1) <= 1
    if small.all():
        message = (
            f"all coordinates of {plural(len(boxes), 'box')} lie in [0, 1]: they are shares of the image, not "
            "pixels; pass --box-units shares to scale them"
        )
        yield Finding("error", "units", message, len(boxes))
        return
    if small.any():
        message = f"{_are(int(small.sum()), 'box')} inside the first pixel: are these shares of the image?"
        yield Finding("warning", "units", message, int(small.sum()))
    sizes = np.concatenate([s.sizes_wh for s in manifest.splits.values()])
    for units, whole in (("percent", 100), ("thousandths", 1000)):
        if (
            len(boxes) >= MANY
            and 0.9 * whole < boxes.max() <= whole
            and (sizes > 0).all()
            and _beyond(sizes, whole)
        ):
            message = (
                f"no coordinate of {plural(len(boxes), 'box')} is above {whole}, although the images are larger; if "
                f"they are {units} of the image, pass --box-units {units}"
            )
            yield Finding("warning", "units", message, len(boxes))
            return


def _beyond(sizes_wh: npt.NDArray[np.int32], whole: int) -> bool:
    """Whether most images are so large that boxes in pixels would be expected to pass `whole`."""
    return bool((sizes_wh.min(axis=1) > 2 * whole).mean() > 0.5)


def check_archive(file: Path, card: Card | None) -> list[Finding]:
    """Compare an archive's digest with the card's, where the card knows the file's name."""
    wanted = card.checksums.get(file.name) if card is not None else None
    if wanted is None or not file.is_file():
        return []
    digest = hashlib.md5(usedforsecurity=False) if len(wanted) == 32 else hashlib.sha256()
    with file.open("rb") as stream:
        while block := stream.read(1 << 22):
            digest.update(block)
    found = digest.hexdigest()
    if found == wanted:
        return [Finding("note", "checksum", f"{file.name}: the published {digest.name} checksum agrees")]
    return [
        Finding(
            "error",
            "checksum",
            f"{file.name}: {digest.name} is {found}, published is {wanted}; the download is incomplete or was repacked",
        )
    ]


# --- summary ------------------------------------------------------------------------------------------------


def _summary(role: str, split: Split) -> SplitSummary:
    counts = np.diff(split.box_offsets)
    sizes = np.repeat(split.sizes_wh, counts, axis=0).astype(np.float64)
    known = sizes[:, 0] > 0
    boxes = split.boxes_xyxy[known]
    shares = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]) / sizes[known].prod(1)
    masked = np.zeros(len(split), bool)
    masked[list(split.masks)] = True
    return SplitSummary(
        split=role,
        images=len(split),
        classes=len(np.unique(split.labels)),
        boxes=len(split.boxes_xyxy),
        without_truth=int(((counts == 0) & ~masked).sum()),
        several_boxes=int((counts > 1).sum()),
        masks=sum(len(m) for m in split.masks.values()),
        median_box_share=float(np.median(shares)) if len(shares) else None,
    )


def plural(count: int, noun: str) -> str:
    """
    >>> plural(1, "class"), plural(2000, "class"), plural(0, "box")
    ('1 class', '2,000 classes', '0 boxes')
    """
    ending = "" if count == 1 else "es" if noun.endswith(("s", "x")) else "s"
    return f"{count:,} {noun}{ending}"


def _are(count: int, noun: str) -> str:
    return f"{plural(count, noun)} {'is' if count == 1 else 'are'}"


def _have(count: int, noun: str) -> str:
    return f"{plural(count, noun)} {'has' if count == 1 else 'have'}"


def _few(items: Iterable[str], count: int = EXAMPLES) -> str:
    some: Sequence[str] = list(items)
    return ", ".join(some[:count]) + (", ..." if len(some) > count else "")


__all__ = ["Audit", "Expected", "Finding", "SplitSummary", "audit_manifest", "check_archive", "plural"]
