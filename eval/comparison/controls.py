"""Controls as contestants: each method's paired difference to what looks at no image, and to a network that was never
trained."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from eval.analysis.evaluated import Evaluated, Unavailable
from eval.analysis.paired_statistics import Correction, Difference, adjusted
from eval.comparison.sides import difference_of, party_of, sampled
from eval.comparison.verdicts import Party, judge, sentence
from eval.metrics.bootstrap import Bootstrap
from eval.metrics.outcomes import Summary
from eval.metrics.summarize import Chosen, chosen_thresholds, summarize
from eval.protocols import Protocol, channels_of
from eval.records.controls import ControlRecords
from eval.records.store import RecordsWithin
from eval.statistics.components import Sampled

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from wsol.manifest import Manifest, Split

GAUSSIAN = "center_gaussian"
NAMES = {
    GAUSSIAN: "the centre Gaussian",
    "full_image": "the full-image box",
    "random": "a network with random weights",
}
BESIDE = {GAUSSIAN: "centre Gaussian", "full_image": "full image"}
"""The controls whose values stand in every table of protocols, and their columns' names."""


def values_beside(run: Evaluated, protocol: str) -> dict[str, float | None]:
    """What each control scores on the run's images, as its results.json states; None where it does not (a control has
    no class, and a map without an image no pixels to rank)."""
    entries = {name: run.results.get("controls", {}).get(name, {}).get(protocol) for name in BESIDE}
    return {name: entry["value"] if entry else None for name, entry in entries.items()}


@dataclass(frozen=True)
class Control:
    """A control with its summaries by protocol; `runs` is empty where it needs no network."""

    name: str
    summaries: Mapping[str, Sequence[Summary]]
    runs: tuple[Evaluated, ...] = ()

    @property
    def said(self) -> str:
        return NAMES.get(self.name, self.name)


def gaussian(
    manifest: tuple[Manifest, Split] | Unavailable,
    first: Evaluated,
    protocols: Sequence[Protocol],
    bootstrap: Bootstrap,
) -> Control | None:
    """The centre Gaussian under every protocol of boxes without a class condition; None without the dataset."""
    boxes = [p for p in protocols if p.metric == "box_accuracy" and p.class_gate == "none"]
    if isinstance(manifest, Unavailable) or not boxes:
        return None
    records, taus = _gaussian_records(*manifest, first, boxes, bootstrap)
    found = summarize(records, boxes, thresholds=taus, bootstrap=bootstrap)
    return Control(GAUSSIAN, {n: [o] for n, o in found.items() if isinstance(o, Summary)})


def gaussian_within(
    manifest: tuple[Manifest, Split],
    first: Evaluated,
    protocol: Protocol,
    insides: Sequence[npt.NDArray[np.bool_]],
    bootstrap: Bootstrap,
) -> list[Summary | None]:
    """The centre Gaussian under one protocol of boxes on some of the images, at the threshold that it has on all."""
    records, taus = _gaussian_records(*manifest, first, [protocol], bootstrap)
    if protocol.threshold == "oracle":
        whole = summarize(records, [protocol], bootstrap=bootstrap)[protocol.name]
        taus = {protocol.name: Chosen(whole.thresholds)} if isinstance(whole, Summary) else {}
    found = [
        summarize(RecordsWithin(records, inside), [protocol], thresholds=taus, bootstrap=bootstrap)
        for inside in insides
    ]
    return [o if isinstance(o := f[protocol.name], Summary) else None for f in found]


def _gaussian_records(
    data: Manifest, split: Split, first: Evaluated, boxes: Sequence[Protocol], bootstrap: Bootstrap
) -> tuple[ControlRecords, dict[str, Chosen]]:
    """The centre Gaussian on the images of `first`, in its frames, and thresholds chosen as its were."""
    channels = channels_of(boxes)
    role = first.results.get("threshold_split")
    input_size = first.store.index.maps.get("input_size")
    taus = {}
    if role and role in data.splits:
        other = ControlRecords(
            GAUSSIAN, data, data.split(str(role)), str(role), channels, input_size=input_size
        )
        taus = chosen_thresholds(other, boxes, bootstrap)
    return ControlRecords(GAUSSIAN, data, split, first.split, channels, input_size=input_size), taus


def given(runs: Sequence[Evaluated], summaries: Mapping[str, Mapping[str, Summary]]) -> list[Control]:
    """The controls among the runs that were named, by name."""
    by_name: dict[str, list[Evaluated]] = {}
    for run in runs:
        by_name.setdefault(run.method, []).append(run)
    controls = []
    for name, group in by_name.items():
        group = one_of_each(group)
        own = [summaries[str(r.folder)] for r in group]
        common = [p for p in own[0] if all(p in s for s in own)]
        control = group[0].control or name
        controls.append(Control(control, {p: [s[p] for s in own] for p in common}, tuple(group)))
    return controls


def one_of_each(runs: Sequence[Evaluated]) -> list[Evaluated]:
    """Runs of a control without those that are another's copy: a network with random weights is the same one wherever
    it was scored, and what needs no network is the same everywhere."""
    found: dict[Any, Evaluated] = {}
    for run in runs:
        found.setdefault(run.results["provenance"].get("weights_sha256"), run)
    return list(found.values())


def against_controls(
    method: str,
    runs: Sequence[Evaluated],
    controls: Sequence[Control],
    summaries: Mapping[str, Mapping[str, Summary]],
    primary: str,
    bootstrap: Bootstrap,
    correction: Correction,
) -> list[dict[str, Any]]:
    """Each control's entry for one method: the difference method - control under every protocol that both have, and a
    sentence by the primary outcome. All differences to one control are a family."""
    found = []
    me = party_of(runs)
    for control in controls:
        names = [p for p in control.summaries if all(p in summaries[str(r.folder)] for r in runs)]
        if not names:
            continue
        family: list[Difference] = []
        for name in names:
            mine = [summaries[str(r.folder)][name] for r in runs]
            theirs: Sampled = sampled(
                control.summaries[name], trained=bool(control.runs) and control.name == "random"
            )
            family.append(difference_of(theirs, sampled(mine, trained=me.trained), mine[0], False, bootstrap))
        decided = dict(zip(names, adjusted(family, correction)))
        first = primary if primary in decided else names[0]
        single = adjusted([decided[first]], correction)[0]  # the primary outcome stands alone
        party = Party(control.said, max(len(control.runs), 1), trained=control.name == "random")
        found.append(
            {
                "method": method,
                "control": control.name,
                "said": control.said,
                "primary": first,
                "sentence": sentence(single, judge(single), party, me, first),
                "protocols": {
                    n: {**d.as_json(), "verdict": judge(d)} for n, d in {**decided, first: single}.items()
                },
            }
        )
    return found
