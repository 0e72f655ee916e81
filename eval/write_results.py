"""From finished records to results.json and the pictures beside it."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.maps.stored import StoredMaps
from eval.metrics.bootstrap import Bootstrap
from eval.metrics.displacement import displacements
from eval.metrics.outcomes import Summary
from eval.metrics.results_json import counts, curves_json, mean_with_interval, protocol_entries, write_results
from eval.metrics.summarize import chosen_thresholds, summarize
from eval.pictures.random_images import draw_gallery
from eval.protocols import channels_of
from eval.records.controls import CONTROLS, ControlRecords
from eval.terminal_tables import odd_maps
from wsol.errors import UserError
from wsol.files.atomic_write import remove_unfinished
from wsol.machine.provenance import command_line, git_state, software_versions
from wsol.manifest import split_hash

if TYPE_CHECKING:
    from eval.localize_config import LocalizeConfig
    from eval.maps.source import MapSource
    from eval.metrics.outcomes import Outcome
    from eval.protocols import Protocol
    from eval.records.store import RecordStore
    from eval.targets import Subject
    from wsol.manifest import Split


def conclude(
    config: LocalizeConfig,
    subject: Subject,
    split: Split,
    role: str | None,
    stores: Mapping[str, Any],
    protocols: Sequence[Protocol],
    surplus: Sequence[str],
) -> tuple[Path, dict[str, Any]]:
    """Summarize finished records of `split` and write results.json and pictures; its path and its content.

    `stores` holds records by split role, `role` the one that transferred thresholds are chosen on (None: no such
    split), `surplus` the names of maps that belong to no image.
    """
    bootstrap = Bootstrap(config.bootstrap, config.seed)
    store = stores[config.split]
    taus = chosen_thresholds(stores[role], protocols, bootstrap) if role else {}
    outcomes = summarize(store, protocols, thresholds=taus, bootstrap=bootstrap)
    computed, absent = protocol_entries(outcomes)
    controls: dict[str, Any] = {}
    if len(split.boxes_xyxy):
        boxes = [p for p in protocols if p.metric == "box_accuracy" and p.class_gate == "none"]
        channels = channels_of(boxes)
        for name in CONTROLS:
            records = ControlRecords(name, subject.manifest, split, config.split, channels)
            found = {}
            if role:
                found = chosen_thresholds(
                    ControlRecords(name, subject.manifest, subject.manifest.split(role), role, channels),
                    boxes,
                    bootstrap,
                )
            entries, _ = protocol_entries(summarize(records, boxes, thresholds=found, bootstrap=bootstrap))
            controls[name] = {k: _brief(v, name) for k, v in entries.items()}
    if role:
        for line in odd_maps(counts(stores[role])):
            sys.stderr.write(f"note: {role}, where thresholds are chosen: {line}\n")
    tally = counts(store)
    tally["surplus_map"] = len(surplus)
    classification = {k: mean_with_interval(store, k, bootstrap) for k in ("top1", "top5")}
    energy = _energy(store, bootstrap)
    beside = displacements(store, split, outcomes, bootstrap) if config.control is None else {}
    content: dict[str, Any] = {
        "dataset": subject.manifest.dataset,
        "split": config.split,
        "threshold_split": role,
        "num_images": len(split),
        "title": subject.title,
        "protocols": computed,
        "not_computed": absent,
        "counts": tally,
        "classification": {k: v for k, v in classification.items() if v},
        **({"energy": energy} if energy else {}),
        **({"displacement": beside} if beside else {}),
        "controls": controls,
        "curves": curves_json(outcomes),
        "provenance": _provenance(config, subject, store),
    }
    path = write_results(subject.out, content)
    if config.pictures and config.control is None and subject.manifest.root is not None:
        try:
            _draw(config, subject, split, store, outcomes)
        except UserError as error:  # maps need no images to be scored, and the numbers stand
            sys.stderr.write(f"note: no pictures: {error}\n")
    return path, content


def _brief(entry: dict[str, Any], control: str) -> dict[str, Any]:
    kept: dict[str, Any] = {k: entry[k] for k in ("value", "ci95", "per_iou", "threshold") if k in entry}
    if control == "full_image":
        kept.pop("threshold", None)  # the same box at every threshold
    return kept


def _energy(store: RecordStore, bootstrap: Bootstrap) -> dict[str, Any]:
    names = [("object", "energy_object", None)]
    names += [(part, "energy_parts", i) for i, part in enumerate(store.index.part_names)]  # type: ignore[misc]
    found = {label: mean_with_interval(store, array, bootstrap, column) for label, array, column in names}
    return {k: v for k, v in found.items() if v}


def _provenance(config: LocalizeConfig, subject: Subject, store: RecordStore) -> dict[str, Any]:
    return {
        **subject.provenance,
        "manifest_hash": subject.manifest.hash(),
        "notes": list(subject.manifest.notes),
        "maps": store.index.maps,
        "config": dataclasses.asdict(config),
        "seeds": {"bootstrap": config.seed},
        "versions": software_versions(),
        "git": git_state(),
        "command": command_line(),
    }


def _draw(
    config: LocalizeConfig,
    subject: Subject,
    split: Split,
    store: RecordStore,
    outcomes: dict[str, Outcome],
) -> None:
    summary = next(
        (o for o in outcomes.values() if isinstance(o, Summary) and o.protocol.name.startswith("maxboxacc")),
        None,
    ) or next(
        (o for o in outcomes.values() if isinstance(o, Summary) and o.protocol.metric == "box_accuracy"), None
    )
    if summary is None:
        return
    remove_unfinished(subject.out / "pictures")
    folder = subject.out / "maps" / config.split
    source: MapSource
    if subject.stores_maps:
        source = StoredMaps.open(folder, split_hash(split), len(split))
    else:
        source = subject.source(split, config.split, [summary.protocol.frame])
    draw_gallery(
        subject.manifest,
        split,
        source,
        summary,
        file=subject.out / "pictures" / f"{config.split}.png",
        count=config.pictures,
        seed=config.seed,
        title=subject.title,
    )
