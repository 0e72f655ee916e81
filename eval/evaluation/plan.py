"""What an evaluation does, resolved from the command's config once: protocols, splits, bootstrap."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eval.metrics.bootstrap import Bootstrap
from eval.protocols import Protocol, load_protocols, normalization_variants, select
from eval.records.wanted import Wanted
from wsol.errors import unknown_name
from wsol.manifest import SPLIT_ROLES
from wsol.wrapping import tell

if TYPE_CHECKING:
    from eval.evaluation.config import LocalizeConfig
    from eval.evaluation.subject import Subject
    from wsol.manifest import Split


@dataclass(frozen=True)
class Plan:
    """`split` is scored; `threshold_split` is the one that transferred thresholds are chosen on, None where there is
    none. `settings` is the whole config, for the record."""

    protocols: tuple[Protocol, ...]
    split: str
    threshold_split: str | None
    bootstrap: Bootstrap
    pictures: int
    threads: int | None
    settings: Mapping[str, Any]
    protocols_named: bool = False
    """Whether the user named the protocols, rather than taking all."""
    why_no_threshold: str = ""
    """Why transferred protocols are not computed, where `threshold_split` is None."""

    @property
    def roles(self) -> tuple[str, ...]:
        """The splits that records are made of, the scored one first."""
        return (self.split, *([self.threshold_split] if self.threshold_split else []))

    def wanted(self, role: str) -> Wanted:
        """What is recorded of a split: all that its protocols read and, on the scored one, the maps under every
        normalisation, which `eval.compare` reads."""
        if role != self.split:
            chosen = Wanted.of(p for p in self.protocols if p.threshold == "transferred")
            return dataclasses.replace(chosen, thresholds_only=True)
        variants = normalization_variants(self.protocols)
        return Wanted.of([*self.protocols, *(p for by_name in variants.values() for p in by_name.values())])


def resolve(config: LocalizeConfig, subject: Subject) -> Plan:
    """The plan of a config for what it names. Raises `UserError` for unknown names of protocols and splits."""
    extra = load_protocols(config.protocol_file) if config.protocol_file else {}
    protocols = select(
        config.protocols,
        normalizations=config.normalizations,
        first_gt=config.first_gt,
        aligned=config.aligned,
        ivr_fraction=config.ivr_fraction,
        extra=extra,
    )
    if config.protocols:
        protocols = (*protocols, *(p for p in extra.values() if p.name not in {q.name for q in protocols}))
    threshold_split, why_none = _threshold_split(config, subject, protocols)
    return Plan(
        protocols,
        config.split,
        threshold_split,
        Bootstrap(config.bootstrap, config.seed),
        config.pictures,
        config.threads,
        dataclasses.asdict(config),
        bool(config.protocols),
        why_none,
    )


def _threshold_split(
    config: LocalizeConfig, subject: Subject, protocols: tuple[Protocol, ...]
) -> tuple[str | None, str]:
    """The split that thresholds are chosen on, or None and why there is none."""
    role = config.threshold_split
    if not any(p.threshold == "transferred" for p in protocols):
        return None, ""
    if role is None:
        return None, "no split to choose thresholds on was asked for (--threshold-split)"
    if role not in SPLIT_ROLES:
        raise unknown_name("split", role, SPLIT_ROLES)
    if role == config.split:
        return None, f"{role} is scored itself, and thresholds are chosen on other images"
    there = subject.manifest.splits.get(role)
    if there is None or not len(there):
        return None, f"the dataset has no {role} to choose thresholds on"
    if not len(there.boxes_xyxy):
        return None, f"{role} has no boxes, and thresholds are chosen by them"
    if (both := _in_both(there, subject.manifest.split(config.split))) is not None:
        tell(f"note: {both}, so no threshold is chosen on it: it would be chosen on images that are scored")
        return None, f"{both}, so no threshold is chosen on it"
    if not subject.judged.covers(there, role):
        if config.boxes is not None:
            return None, f"not all images of {role} have a box in '{config.boxes.name}'"
        return None, f"not all images of {role} have a map (--threshold-maps names a folder of its own)"
    return role, ""


def _in_both(chosen_on: Split, scored: Split) -> str | None:
    """How many images of a split are scored ones, in words; None for none of them."""
    files = {scored.path(i) for i in range(len(scored))}
    both = [i for i in range(len(chosen_on)) if chosen_on.path(i) in files]
    if not both:
        return None
    such = f"such as '{chosen_on.path(both[0])}'"
    return f"{len(both)} of {len(chosen_on)} images of the other split ({such}) are scored too"
