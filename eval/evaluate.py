"""Score maps of a run, a checkpoint, files or a control into records, split by split, then write the results."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

from eval.localize_config import LocalizeConfig, check_counts
from eval.maps.files import ScoreMapFiles
from eval.maps.source import MapSource
from eval.maps.stored import INDEX, StoredMaps
from eval.metrics.results_json import RESULTS
from eval.progress import progress
from eval.protocols import Channel, Protocol, channels_of, load_protocols, select
from eval.records.controls import ControlRecords
from eval.records.fill import measure
from eval.records.scorer import Scorer, require_boxes_or_masks
from eval.records.store import RecordIndex, RecordStore
from eval.targets import Subject, find_subject, pick_device
from eval.terminal import print_table, print_text, terminal
from eval.terminal_tables import notes, result_tables
from eval.write_results import conclude
from wsol.cams.registry import layer_maps
from wsol.errors import UserError, unknown_name
from wsol.files.atomic_write import remove_unfinished
from wsol.machine.distributed import World, joined, wait_for_all, world_from_environment
from wsol.manifest import SPLIT_ROLES, Manifest, Split, split_hash


def localize_and_print(config: LocalizeConfig) -> None:
    """Score what the config names and print a table for each map method; processes other than the first print
    nothing."""
    for one in per_map(config):
        found = localize(one)
        if found is None:
            continue
        path, results = found
        console = terminal()
        print_table(console, result_tables(results))
        for line in notes(results):
            print_text(console, line)
        print_text(console, f"results: {path}")


def per_map(config: LocalizeConfig) -> list[LocalizeConfig]:
    """A config for each map method and layer that `config` names; with several, `--out` holds a folder for each."""
    wanted = layer_maps(config.map_method, config.map_layer)
    return [
        dataclasses.replace(
            config,
            map_method=(w.method.name,),
            map_layer=(w.layer,),
            out=config.out / w.label if config.out and len(wanted) > 1 else config.out,
        )
        for w in wanted
    ]


def localize(config: LocalizeConfig) -> tuple[Path, dict[str, Any]] | None:
    """Score what the config names. Returns the path of results.json and its content.

    Under torchrun the processes share the images out by whole blocks; the first one writes the results, the others
    return None.
    """
    check_counts(config)
    world = world_from_environment()
    if world.size == 1:
        return score_subject(config, find_subject(config, world))
    with joined(world, pick_device(config.device, world)):
        return score_subject(config, find_subject(config, world), world)


def score_subject(
    config: LocalizeConfig, subject: Subject, world: World | None = None
) -> tuple[Path, dict[str, Any]] | None:
    """Score any source of maps as configured; as `localize`."""
    world = world or World()
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
    test = subject.manifest.split(config.split)
    crops = [p.name for p in protocols if p.frame != "resize"]
    if crops and not config.protocols and "map" in subject.provenance and world.first:
        sys.stderr.write(
            f"note: {', '.join(crops)} scores a centre crop, so every image passes through the network twice; "
            "--protocols with the names of others leaves it out\n"
        )
    role = _threshold_role(config, subject.manifest, protocols)
    stores: dict[str, RecordStore] = {}
    roles = [config.split, *([role] if role else [])]
    total = sum(len(subject.manifest.split(r)) for r in roles) // world.size
    surplus: list[str] = []
    with _progress("scoring", total, world.first) as advance:
        for r in roles:
            split = subject.manifest.split(r)
            stores[r], found = _score_split(config, subject, split, r, protocols, advance, world)
            if r == config.split:
                surplus = found
            elif config.threshold_maps is None:  # one folder for both: names of either split belong there
                neither = set(found)
                surplus = [s for s in surplus if s in neither]
    wait_for_all(world)
    if not world.first:
        return None
    return conclude(config, subject, test, role, stores, protocols, surplus)


def _threshold_role(config: LocalizeConfig, manifest: Manifest, protocols: Sequence[Protocol]) -> str | None:
    role = config.threshold_split
    if role is None or not any(p.threshold == "transferred" for p in protocols):
        return None
    if role not in SPLIT_ROLES:
        raise unknown_name("split", role, SPLIT_ROLES)
    if role == config.split:
        return None
    there = manifest.splits.get(role)
    if there is None or not len(there) or not len(there.boxes_xyxy):
        return None
    if config.score_maps is not None and config.threshold_maps is None:
        return role if _maps_cover(config.score_maps, there, role) else None
    return role


def _maps_cover(location: Path, split: Split, role: str) -> bool:
    """Whether a store of score maps holds the threshold split's images too; a note where it holds only some."""
    if (location / INDEX).is_file():
        return False
    missing, _ = ScoreMapFiles(location, split).missing_and_surplus()
    if 0 < len(missing) < len(split):
        sys.stderr.write(
            f"note: {len(missing)} of {len(split)} images of {role} have no map in '{location}' (such as "
            f"'{missing[0]}'), so no threshold is chosen on it\n"
        )
    return not missing


def _score_split(
    config: LocalizeConfig,
    subject: Subject,
    split: Split,
    role: str,
    protocols: Sequence[Protocol],
    advance: Callable[[int], None],
    world: World,
) -> tuple[Any, list[str]]:
    require_boxes_or_masks(split, f"split '{role}' of '{subject.manifest.dataset}'")
    channels = channels_of(protocols)
    if config.control is not None:
        advance(len(split))
        return ControlRecords(config.control, subject.manifest, split, role, channels), []
    digest = split_hash(split)
    records, maps = subject.out / "records" / role, subject.out / "maps" / role

    def head_of(source: MapSource) -> dict[str, Any]:
        return {
            "dataset": subject.manifest.dataset,
            "split": role,
            "split_hash": digest,
            "num_images": len(split),
            "input_size": source.input_size,
            "cells": source.cells.to_dict() if source.cells else None,
            "maps": source.describe(),
        }

    frames = {c.frame for c in channels}
    source = subject.source(split, role, sorted(frames))
    if subject.stores_maps and not frames >= (there := StoredMaps.frames_at(maps)):
        # maps kept of more frames than asked for now are continued, not discarded
        wider = subject.source(split, role, sorted(frames | there))
        source = wider if StoredMaps.continues(maps, head_of(wider)) else source
    unusable = {str(c): _why_unusable(source, c) for c in channels}
    usable = [c for c in channels if unusable[str(c)] is None]
    if not usable:
        raise UserError(
            "none of the protocols can be scored: " + "; ".join(sorted({str(v) for v in unusable.values()}))
        )
    scorer = Scorer.for_manifest(
        subject.manifest, split, usable, input_size=source.input_size, cells=source.cells
    )
    index = RecordIndex(
        subject.manifest.dataset,
        role,
        digest,
        len(split),
        tuple(str(c) for c in usable),
        scorer.masks,
        subject.manifest.part_names if scorer.num_parts else (),
        {**source.describe(), "not_computed": {c: r for c, r in unusable.items() if r}},
    )
    if world.first:
        remove_unfinished(records)
        remove_unfinished(maps)
        if not RecordStore.finished(records, index):
            (subject.out / RESULTS).unlink(missing_ok=True)  # never older results beside unfinished records
    else:
        wait_for_all(world)  # the first process starts or clears the stores
    store = RecordStore.create(records, index)
    keep = StoredMaps.create(maps, head_of(source)) if subject.stores_maps else None
    if world.first:
        wait_for_all(world)
    measure(
        store,
        scorer,
        source,
        keep=keep,
        rank=world.rank,
        world=world.size,
        threads=config.threads,
        advance=advance,
    )
    surplus = source.missing_and_surplus()[1] if hasattr(source, "missing_and_surplus") else []
    return store, surplus


def _why_unusable(source: MapSource, channel: Channel) -> str | None:
    """Why maps of a source cannot be scored as a channel asks; None when they can."""
    if channel.aligned and source.cells is None:
        return "where the cells of these maps look is not known, so they cannot be aligned"
    return source.unusable(channel.normalization, channel.frame)


def _progress(what: str, total: int, shown: bool) -> AbstractContextManager[Callable[[int], None]]:
    return progress(what, total) if shown else nullcontext(lambda images: None)
