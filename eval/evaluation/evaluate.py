"""Score maps of a run, a checkpoint, files or a control into records, split by split, then write the results."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from eval.evaluation.config import LocalizeConfig, check_counts
from eval.evaluation.find_subject import find_subject
from eval.evaluation.networks import pick_device
from eval.evaluation.owner import claim, subject_facts, tell_replaced
from eval.evaluation.plan import Plan, resolve
from eval.evaluation.subject import Subject
from eval.evaluation.write_results import conclude
from eval.maps.network import NetworkMaps
from eval.maps.together import keep_together
from eval.metrics.results_json import RESULTS
from eval.records.judged import JudgedRecords, Work
from eval.records.judged_maps import JudgedMaps
from eval.records.scorer import require_boxes_or_masks
from eval.terminal.progress import progress
from eval.terminal.tables import notes, result_tables
from eval.terminal.text import print_place, print_table, print_text, terminal
from wsol.cams.registry import layer_maps
from wsol.errors import UserError
from wsol.files.lock import locked
from wsol.machine.distributed import World, agree_on, joined, wait_for_all, world_from_environment
from wsol.wrapping import tell


def localize_and_print(config: LocalizeConfig) -> None:
    """Score what the config names and print a table for each map method; processes other than the first print
    nothing."""
    check_counts(config)
    configs = per_map(config)
    if len(configs) > 1 and world_from_environment().size == 1:
        _make_maps_together(configs)
    for one in configs:
        found = localize(one)
        if found is None:
            continue
        path, results = found
        console = terminal()
        print_table(console, result_tables(results))
        for line in notes(results):
            print_text(console, line)
        print_place(console, "results", path)


def per_map(config: LocalizeConfig) -> list[LocalizeConfig]:
    """A config for each map method and layer that `config` names; with several, `--out` holds a folder for each."""
    wanted = layer_maps(config.map_method, config.map_layer)
    costly = [w.method.name for w in wanted if w.method.pass_a_channel]
    if costly and config.limit is None:
        raise UserError(
            f"{costly[0]} costs a forward pass for every channel of every image; say how many with --limit"
        )
    return [
        dataclasses.replace(
            config,
            map_method=(w.method.name,),
            map_layer=(w.layer,),
            out=config.out / w.label if config.out and len(wanted) > 1 else config.out,
        )
        for w in wanted
    ]


def _make_maps_together(configs: Sequence[LocalizeConfig]) -> None:
    """Keep the raw maps of all map methods from shared passes; each is then scored without the network.

    A method that cannot read the network is refused before anything is written, also where no maps are kept.
    """
    subjects = [find_subject(one, World()) for one in configs]
    if not configs[0].keep_maps:
        return
    plan = resolve(configs[0], subjects[0])
    splits = {role: subjects[0].manifest.split(role) for role in plan.roles}
    with _progress("making maps", sum(map(len, splits.values())), True) as advance:
        for role, split in splits.items():
            judged = [(s.judged, s.out) for s in subjects if isinstance(s.judged, JudgedMaps)]
            made = [j.kept_maps(split, role, plan.wanted(role), out) for j, out in judged]
            networks = [(source, store) for source, store in made if isinstance(source, NetworkMaps)]
            alike = [pair for pair in networks if pair[0].frames == networks[0][0].frames]
            keep_together([source for source, _ in alike], [store for _, store in alike], advance)


def localize(config: LocalizeConfig) -> tuple[Path, dict[str, Any]] | None:
    """Score what the config names. Returns the path of results.json and its content.

    Under torchrun the processes share the images out by whole blocks; the first one writes the results, the others
    return None.
    """
    check_counts(config)
    world = world_from_environment()
    if world.size == 1:
        subject = find_subject(config, world)
        return score_subject(resolve(config, subject), subject)
    with joined(world, pick_device(config.device, world)):
        subject = find_subject(config, world)
        return score_subject(resolve(config, subject), subject, world)


def score_subject(
    plan: Plan, subject: Subject, world: World | None = None
) -> tuple[Path, dict[str, Any]] | None:
    """Score what is judged as planned; as `localize`."""
    world = world or World()
    crops = [p.name for p in plan.protocols if p.frame != "resize"]
    if crops and not plan.protocols_named and "map" in subject.provenance and world.first:
        tell(
            f"note: {', '.join(crops)} scores a centre crop, so every image passes through the network twice; "
            "--protocols with the names of others leaves it out"
        )
    if world.first:
        subject.out.mkdir(parents=True, exist_ok=True)
    with locked(subject.out, "scoring") if world.first else nullcontext():
        return _score_locked(plan, subject, world)


def _score_locked(plan: Plan, subject: Subject, world: World) -> tuple[Path, dict[str, Any]] | None:
    same = {"subject": subject_facts(subject.provenance), "splits": plan.roles}
    agree_on(world, {**same, "protocols": [p.definition() for p in plan.protocols]})
    if world.first:
        claim(subject.out, subject.provenance, subject.manifest.dataset)
        tell_replaced(subject.out, [p.name for p in plan.protocols], plan.settings)
    splits = {role: subject.manifest.split(role) for role in plan.roles}
    found: dict[str, JudgedRecords] = {}
    with _progress("scoring", sum(map(len, splits.values())) // world.size, world.first) as advance:
        # never older results beside unfinished records
        discard = partial((subject.out / RESULTS).unlink, missing_ok=True)
        work = Work(subject.out, world, plan.threads, advance, discard)
        for role, split in splits.items():
            require_boxes_or_masks(split, f"split '{role}' of '{subject.manifest.dataset}'")
            found[role] = subject.judged.records(split, role, plan.wanted(role), work)
    wait_for_all(world)
    if not world.first:
        return None
    return conclude(plan, subject, found)


def _progress(what: str, total: int, shown: bool) -> AbstractContextManager[Callable[[int], None]]:
    return progress(what, total) if shown else nullcontext(lambda images: None)
