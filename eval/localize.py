"""`python -m eval.localize`: score maps to boxes to every published number, with intervals, in one pass."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.localize_config import LocalizeConfig
from wsol.errors import UserError, run_command

if TYPE_CHECKING:
    from eval.localization import Outcome
    from eval.protocols import Channel, Protocol
    from eval.records import RecordStore
    from eval.sources import MapSource
    from wsol.manifest import Manifest, Split
    from wsol.runs import Run
    from wsol.training.distributed import World


@dataclasses.dataclass(frozen=True)
class Subject:
    """What is being scored: the dataset, how to get maps of one of its splits, and where results go."""

    manifest: Manifest
    source: Callable[[Split, str, Sequence[str]], MapSource]
    out: Path
    provenance: dict[str, Any]
    title: str
    stores_maps: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    import tyro

    config = tyro.cli(LocalizeConfig, args=arguments, prog="python -m eval.localize")
    # OpenMP's threads would spin while they wait and starve the box kernel on few cores; read when torch loads.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    return run_command(lambda: _run(config))


def _run(config: LocalizeConfig) -> None:
    from rich.console import Console

    found = localize(config)
    if found is None:
        return
    path, results = found
    console = Console() if sys.stdout.isatty() else Console(width=140)
    from eval.tables import result_table

    console.print(result_table(results))
    for line in notes(results):
        console.print(line, markup=False, highlight=False, soft_wrap=True)
    console.print(f"results: {path}", markup=False, highlight=False, soft_wrap=True)


def localize(config: LocalizeConfig) -> tuple[Path, dict[str, Any]] | None:
    """Score what the config names. Returns the path of results.json and its content.

    Under torchrun the processes share the images out by whole blocks; the first one writes the results, the others
    return None.
    """
    from wsol.training.distributed import joined, world_from_environment

    world = world_from_environment()
    if world.size == 1:
        return score_subject(config, _subject(config, world))
    with joined(world, _device(config.device, world)):
        return score_subject(config, _subject(config, world), world)


def score_subject(
    config: LocalizeConfig, subject: Subject, world: World | None = None
) -> tuple[Path, dict[str, Any]] | None:
    """Score any source of maps as configured; as `localize`."""
    from eval.protocols import load_protocols, select
    from wsol.training.distributed import World, wait_for_all

    world = world or World()

    extra = load_protocols(config.protocol_file) if config.protocol_file else {}
    protocols = select(
        config.protocols,
        normalizations=config.normalizations,
        first_gt=config.first_gt,
        ivr_fraction=config.ivr_fraction,
        extra=extra,
    )
    if config.protocols:
        protocols = (*protocols, *(p for p in extra.values() if p.name not in {q.name for q in protocols}))
    test = subject.manifest.split(config.split)
    role = _threshold_role(config, subject.manifest, protocols)
    stores: dict[str, RecordStore] = {}
    roles = [config.split, *([role] if role else [])]
    total = sum(len(subject.manifest.split(r)) for r in roles) // world.size
    surplus: list[str] = []
    with _progress("scoring", total, world.first) as advance:
        for r in roles:
            split = subject.manifest.split(r)
            stores[r], found = _score_split(config, subject, split, r, protocols, advance, world)
            surplus = found if r == config.split else [s for s in surplus if s in set(found)]
    wait_for_all(world)
    if not world.first:
        return None
    return _conclude(config, subject, test, role, stores, protocols, surplus)


# --- what is scored -----------------------------------------------------------------------------------------


def _subject(config: LocalizeConfig, world: World) -> Subject:
    given = [
        name
        for name, value in (
            ("RUN", config.run),
            ("--checkpoint", config.checkpoint),
            ("--score-maps", config.score_maps),
            ("--control", config.control),
        )
        if value is not None
    ]
    if len(given) > 1:
        raise UserError(f"{' and '.join(given)} exclude each other; name one thing to score")
    if config.control is not None:
        return _control_subject(config)
    if config.score_maps is not None:
        return _files_subject(config)
    if config.checkpoint is not None:
        return _checkpoint_subject(config, world)
    from wsol.runs import load_run, newest_run

    return _run_subject(config, load_run(config.run if config.run is not None else newest_run()), world)


def _open(config: LocalizeConfig, default: str | None = None, root: str | None = None) -> Manifest:
    from wsol.datasets.catalog import open_dataset

    name = config.dataset or default
    if name is None:
        raise UserError("name the dataset with --dataset (a prepared name, or a manifest folder)")
    roles = {config.split, *([config.threshold_split] if config.threshold_split else [])}
    return open_dataset(name, data_root=config.data_root or root, roles=sorted(roles))


def _run_subject(config: LocalizeConfig, run: Run, world: World) -> Subject:
    import hashlib

    from eval.restrict import first_classes
    from wsol.runs import load_classifier

    if run.status != "finished":
        sys.stderr.write(
            f"note: run '{run.dir}' is {run.status}; scoring the weights of its last checkpoint\n"
        )
    device = _device(config.device, world)
    model = load_classifier(run, device)
    manifest = _open(config, run.manifest_folder, None if config.dataset else run.data_root)
    manifest = first_classes(manifest, run.spec.num_classes, f"run '{run.dir}'")
    weights = hashlib.sha256(run.weights.read_bytes()).hexdigest()
    description = {"weights_sha256": weights, "classifier": model.describe()}
    return Subject(
        manifest,
        _network_factory(config, model, manifest, device, description),
        config.out or run.dir / "eval",
        {
            "run": str(run.dir),
            "method": run.method,
            "training": dict(run.config),
            "training_seed": run.config.get("seed"),
            **description,
        },
        f"{run.dir.name} ({run.method})",
        config.keep_maps,
    )


def _checkpoint_subject(config: LocalizeConfig, world: World) -> Subject:
    import hashlib

    from eval.restrict import first_classes
    from wsol.models import load_external_classifier

    assert config.checkpoint is not None
    if config.arch is None:
        raise UserError("--checkpoint needs --arch (such as resnet50, or timm:resnet50)")
    device = _device(config.device, world)
    model = load_external_classifier(
        config.checkpoint, arch=config.arch, input_size=config.input_size, output_stride=config.output_stride
    ).to(device)
    manifest = first_classes(_open(config), model.spec.num_classes, f"'{config.checkpoint}'")
    digest = hashlib.sha256(config.checkpoint.read_bytes()).hexdigest()
    description = {"weights_sha256": digest, "classifier": model.describe()}
    return Subject(
        manifest,
        _network_factory(config, model, manifest, device, description),
        config.out or Path("runs") / f"eval-{config.checkpoint.stem}",
        {"checkpoint": str(config.checkpoint), "arch": config.arch, **description},
        config.checkpoint.name,
        config.keep_maps,
    )


def _network_factory(
    config: LocalizeConfig, model: Any, manifest: Manifest, device: Any, description: dict[str, Any]
) -> Callable[[Split, str, Sequence[str]], MapSource]:
    def factory(split: Split, role: str, frames: Sequence[str]) -> MapSource:
        from eval.sources.network import NetworkMaps

        if manifest.root is None:
            raise UserError(
                f"dataset '{manifest.dataset}' does not say where its images are; give --data-root"
            )
        # the class ranks come from the whole image, as in the reference
        ordered = ["resize", *(f for f in frames if f != "resize")]
        return NetworkMaps(
            model,
            split,
            manifest.root,
            frames=ordered,
            device=device,
            description=description,
            batch_size=config.batch_size,
            workers=config.workers,
            precision=config.precision,
        )

    return factory


def _files_subject(config: LocalizeConfig) -> Subject:
    from eval.sources.stored import INDEX

    assert config.score_maps is not None
    folder = config.score_maps
    manifest = _open(config)
    ours = (folder / INDEX).is_file()

    def factory(split: Split, role: str, frames: Sequence[str]) -> MapSource:
        from eval.sources.files import ScoreMapFiles
        from eval.sources.stored import StoredMaps
        from wsol.manifest import split_hash

        place = config.threshold_maps if role != config.split and config.threshold_maps else folder
        if (place / INDEX).is_file():
            return StoredMaps.open(place, split_hash(split), len(split))
        return ScoreMapFiles(place, split, values=config.map_values, size_policy=config.map_size)

    return Subject(
        manifest,
        factory,
        config.out or folder.with_name(f"{folder.stem}-eval"),
        {"score_maps": str(folder), "own_format": ours},
        folder.name,
        False,
    )


def _control_subject(config: LocalizeConfig) -> Subject:
    manifest = _open(config)

    def factory(split: Split, role: str, frames: Sequence[str]) -> MapSource:
        raise AssertionError("a control has no maps of its own")

    return Subject(
        manifest,
        factory,
        config.out or Path("runs") / f"eval-{manifest.dataset}-{config.control}",
        {"control": config.control},
        str(config.control),
        False,
    )


def _threshold_role(config: LocalizeConfig, manifest: Manifest, protocols: Sequence[Protocol]) -> str | None:
    from wsol.errors import unknown_name
    from wsol.manifest import SPLIT_ROLES

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
        return role if _maps_cover(config.score_maps, there) else None
    return role


def _maps_cover(location: Path, split: Split) -> bool:
    """Whether a store of score maps holds the threshold split's images too."""
    from eval.sources.files import ScoreMapFiles
    from eval.sources.stored import INDEX

    if (location / INDEX).is_file():
        return False
    missing, _ = ScoreMapFiles(location, split).missing_and_surplus()
    return not missing


def _device(name: str, world: World) -> Any:
    import torch

    if name == "auto":
        return torch.device(f"cuda:{world.local_rank}" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device '{name}' cannot be used: {str(error).splitlines()[0]}") from error
    return device


# --- scoring ------------------------------------------------------------------------------------------------


def _score_split(
    config: LocalizeConfig,
    subject: Subject,
    split: Split,
    role: str,
    protocols: Sequence[Protocol],
    advance: Callable[[int], None],
    world: World,
) -> tuple[Any, list[str]]:
    from eval.controls import ControlRecords
    from eval.measure import measure
    from eval.records import RecordIndex, RecordStore
    from eval.results import RESULTS
    from eval.scoring import Scorer, require_boxes_or_masks
    from eval.sources.stored import StoredMaps
    from wsol.durable import remove_unfinished
    from wsol.manifest import split_hash
    from wsol.training.distributed import wait_for_all

    require_boxes_or_masks(split, f"split '{role}' of '{subject.manifest.dataset}'")
    channels = _channels(protocols)
    if config.control is not None:
        advance(len(split))
        return ControlRecords(config.control, subject.manifest, split, role, channels), []
    source = subject.source(split, role, sorted({c.frame for c in channels}))
    unusable = {str(c): source.unusable(c.normalization, c.frame) for c in channels}
    usable = [c for c in channels if unusable[str(c)] is None]
    if not usable:
        raise UserError(
            "none of the protocols can be scored: " + "; ".join(sorted({str(v) for v in unusable.values()}))
        )
    digest = split_hash(split)
    scorer = Scorer.for_manifest(
        subject.manifest, split, usable, input_size=source.input_size, threads=config.threads
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
    head = {
        "dataset": subject.manifest.dataset,
        "split": role,
        "split_hash": digest,
        "num_images": len(split),
        "input_size": source.input_size,
        "maps": source.describe(),
    }
    records, maps = subject.out / "records" / role, subject.out / "maps" / role
    if not world.first:
        wait_for_all(world)  # the first process starts or clears the stores
    store = RecordStore.create(records, index)
    keep = StoredMaps.create(maps, head) if subject.stores_maps else None
    if world.first:
        remove_unfinished(records)
        remove_unfinished(maps)
        if store.missing_blocks():
            (subject.out / RESULTS).unlink(missing_ok=True)  # never older results beside unfinished records
        wait_for_all(world)
    measure(store, scorer, source, keep=keep, rank=world.rank, world=world.size, advance=advance)
    surplus = source.missing_and_surplus()[1] if hasattr(source, "missing_and_surplus") else []
    return store, surplus


def _channels(protocols: Sequence[Protocol]) -> list[Channel]:
    return list(dict.fromkeys(p.channel for p in protocols))


# --- results ------------------------------------------------------------------------------------------------


def _conclude(
    config: LocalizeConfig,
    subject: Subject,
    split: Split,
    role: str | None,
    stores: dict[str, Any],
    protocols: Sequence[Protocol],
    surplus: Sequence[str],
) -> tuple[Path, dict[str, Any]]:
    from eval.controls import CONTROLS, ControlRecords
    from eval.localization import chosen_thresholds, summarize
    from eval.results import counts, curves_json, mean_with_interval, protocol_entries, write_results

    store = stores[config.split]
    taus = chosen_thresholds(stores[role], protocols) if role else {}
    outcomes = summarize(store, protocols, thresholds=taus, resamples=config.bootstrap, seed=config.seed)
    computed, absent = protocol_entries(outcomes)
    controls: dict[str, Any] = {}
    if len(split.boxes_xyxy):
        boxes = [p for p in protocols if p.metric == "box_accuracy" and p.class_gate == "none"]
        channels = _channels(boxes)
        for name in CONTROLS:
            records = ControlRecords(name, subject.manifest, split, config.split, channels)
            found = {}
            if role:
                found = chosen_thresholds(
                    ControlRecords(name, subject.manifest, subject.manifest.split(role), role, channels),
                    boxes,
                )
            entries, _ = protocol_entries(
                summarize(records, boxes, thresholds=found, resamples=config.bootstrap, seed=config.seed)
            )
            controls[name] = {k: _brief(v, name) for k, v in entries.items()}
    tally = counts(store, list(store.index.channels))
    tally["surplus_map"] = len(surplus)
    classification = {
        k: mean_with_interval(store, k, config.bootstrap, config.seed) for k in ("top1", "top5")
    }
    energy = _energy(config, store)
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
        "controls": controls,
        "curves": curves_json(outcomes),
        "provenance": _provenance(config, subject, store),
    }
    path = write_results(subject.out, content)
    if config.pictures and config.control is None and subject.manifest.root is not None:
        _draw(config, subject, split, store, outcomes)
    return path, content


def _brief(entry: dict[str, Any], control: str) -> dict[str, Any]:
    kept: dict[str, Any] = {k: entry[k] for k in ("value", "ci95", "per_iou", "threshold") if k in entry}
    if control == "full_image":
        kept.pop("threshold", None)  # the same box at every threshold
    return kept


def _energy(config: LocalizeConfig, store: RecordStore) -> dict[str, Any]:
    from eval.results import mean_with_interval

    names = [("object", "energy_object", None)]
    names += [(part, "energy_parts", i) for i, part in enumerate(store.index.part_names)]  # type: ignore[misc]
    found = {
        label: mean_with_interval(store, array, config.bootstrap, config.seed, column)
        for label, array, column in names
    }
    return {k: v for k, v in found.items() if v}


def _provenance(config: LocalizeConfig, subject: Subject, store: RecordStore) -> dict[str, Any]:
    from wsol.runs import command_line, git_state, software_versions

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


def notes(results: dict[str, Any]) -> list[str]:
    """What a reader must know beside the table: odd maps, absent protocols, classification."""
    from eval.tables import number

    lines = []
    for key, entry in results["classification"].items():
        lines.append(f"classification {key}: {number(entry)} %")
    for key, entry in results.get("energy", {}).items():
        lines.append(f"share of map energy on {key}: {number(entry)} %")
    wording = {
        "missing_map": "images had no map and were scored as all zeros",
        "unreadable_map": "maps could not be read and were scored as all zeros",
        "nan_map": "maps held NaN or infinity and were scored as all zeros",
        "constant_map": "maps were constant and were scored as all zeros",
        "out_of_range_map": "maps left [0, 1] and were scored as all zeros",
        "resized_map": "maps had another size than the frame and were resized to it",
        "surplus_map": "maps belong to no image of the split and were ignored",
        "no_gt": "images have no ground-truth box and are left out of box metrics",
    }
    for key, words in wording.items():
        if results["counts"].get(key):
            lines.append(f"note: {results['counts'][key]} {words}")
    for channel, n in results["counts"].get("zero_divisor", {}).items():
        lines.append(f"note: {n} maps cannot be normalised for {channel} and were scored as all zeros there")
    for name, reason in results["not_computed"].items():
        lines.append(f"not computed: {name}: {reason}")
    return lines


def _draw(
    config: LocalizeConfig,
    subject: Subject,
    split: Split,
    store: RecordStore,
    outcomes: dict[str, Outcome],
) -> None:
    from eval.gallery import draw_gallery
    from eval.localization import Summary
    from eval.sources.stored import StoredMaps

    summary = next(
        (o for o in outcomes.values() if isinstance(o, Summary) and o.protocol.name.startswith("maxboxacc")),
        None,
    ) or next(
        (o for o in outcomes.values() if isinstance(o, Summary) and o.protocol.metric == "box_accuracy"), None
    )
    if summary is None:
        return
    folder = subject.out / "maps" / config.split
    source: MapSource
    if subject.stores_maps:
        from wsol.manifest import split_hash

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


def _progress(what: str, total: int, shown: bool) -> AbstractContextManager[Callable[[int], None]]:
    from contextlib import nullcontext

    from eval.progress import progress

    return progress(what, total) if shown else nullcontext(lambda images: None)


if __name__ == "__main__":
    sys.exit(main())
