"""What is scored: a run, a checkpoint, ready-made maps or a control, each as a `Subject`."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from eval.limit import limited_subject
from eval.maps.files import ScoreMapFiles
from eval.maps.function import MapFunction, about_function, find_function, function_source
from eval.maps.network import NetworkMaps
from eval.maps.predictions import Predictions
from eval.maps.stored import INDEX, StoredMaps
from eval.metrics.results_json import names_of, scored_folders
from eval.records.controls import JudgedControl
from eval.records.judged import Judged
from eval.records.judged_maps import JudgedMaps
from eval.records.predicted_boxes import JudgedBoxes, read_boxes
from wsol.cams.cell_centers import cell_centers
from wsol.cams.registry import CAM_OF_FINAL, layer_maps
from wsol.class_map import ClassMap, map_classes
from wsol.datasets.catalog import open_dataset
from wsol.errors import UserError
from wsol.files.checked_safetensors import tensors_sha256
from wsol.images import IMAGE_SUFFIXES
from wsol.machine.cores import decoding_processes
from wsol.machine.device import use_full_float32
from wsol.manifest import SPLIT_ROLES, split_hash
from wsol.models import Classifier, load_external_classifier, untrained
from wsol.models.hub import network_of
from wsol.models.pixels import IMAGENET
from wsol.runs.find import newest_run
from wsol.runs.network import load_classifier, untrained_classifier
from wsol.runs.record import RECORD, load_run
from wsol.wrapping import tell

if TYPE_CHECKING:
    from eval.boxes.frames import Frame
    from eval.localize_config import LocalizeConfig
    from eval.maps.source import MapSource
    from wsol.cams.map_method import LayerMap
    from wsol.machine.distributed import World
    from wsol.manifest import Manifest, Split
    from wsol.runs.record import Run


@dataclass(frozen=True)
class Subject:
    """What is being scored: the dataset, what is judged on it, and where results go."""

    manifest: Manifest
    judged: Judged
    out: Path
    provenance: dict[str, Any]
    title: str


def find_subject(config: LocalizeConfig, world: World) -> Subject:
    """What the config names; `UserError` where it names several things, or something that is not there."""
    given = [
        name
        for name, value in (
            ("RUN", config.run),
            ("--checkpoint", config.checkpoint),
            ("--score-maps", config.score_maps),
            ("--map-function", config.map_function),
            ("--boxes", config.boxes),
            ("--control", config.control),
        )
        if value is not None
    ]
    if config.run is not None and not (config.run / RECORD).exists():
        _refuse_what_is_no_run(config.run, config)
    if len(given) > 1:
        raise UserError(f"{' and '.join(given)} exclude each other; name one thing to score")
    ready = config.control or config.score_maps or config.map_function or config.boxes
    if ready and _wanted(config) != CAM_OF_FINAL:
        raise UserError(f"{given[0]} has maps of its own; --map-method and --map-layer are for networks")
    subject = _subject(config, world)
    if config.limit is None:
        return subject
    return limited_subject(subject, config.limit, keep_place=config.out is not None)


def _refuse_what_is_no_run(place: Path, config: LocalizeConfig) -> None:
    """Say which command is meant for photographs, and which for results. Other places are `load_run`'s to refuse."""
    images = (f for f in (place, *place.glob("*"), *place.glob("*/*")) if f.suffix.lower() in IMAGE_SUFFIXES)
    if scored := scored_folders(place):
        raise UserError(
            f"'{place}' is not a run but holds results of eval.localize: {names_of(scored)}. Look at one with "
            f"`python -m eval.report {shlex.quote(str(scored[0]))}`, compare several with `python -m eval.compare`"
        )
    if any(f.is_file() for f in images):
        network = [f"--arch {config.arch}"] * bool(config.arch) + (
            [f"--checkpoint {shlex.quote(str(config.checkpoint))}"] if config.checkpoint else []
        )
        command = " ".join(["python -m eval.show", shlex.quote(str(place)), *network])
        raise UserError(
            f"'{place}' is not a run but {'a photograph' if place.is_file() else 'photographs'}. To see score maps and "
            f"boxes, without a score: `{command}`. To score them, boxes are needed: `python -m wsol.prepare folder`"
        )


def _subject(config: LocalizeConfig, world: World) -> Subject:
    ready = config.score_maps or config.map_function or config.boxes or config.control
    if config.random_weights and ready:
        raise UserError("--random-weights is for a network, RUN or --checkpoint: it is rebuilt untrained")
    if config.predictions and not config.score_maps:
        raise UserError("--predictions stand beside --score-maps; a network predicts by itself")
    if config.control is not None:
        return _control_subject(config)
    if config.boxes is not None:
        return _boxes_subject(config)
    if config.score_maps is not None:
        return _files_subject(config)
    if config.map_function is not None:
        return _function_subject(config, find_function(config.map_function), world)
    return _network_subject(config, found_network(config, world))


def _wanted(config: LocalizeConfig) -> LayerMap:
    (only,) = layer_maps(config.map_method, config.map_layer)
    return only


def _describe(model: Any) -> dict[str, Any]:
    """What provenance says of a network. Its weights are hashed as they were loaded, not as a file holds them now."""
    return {"weights_sha256": tensors_sha256(model.state_dict()), "classifier": model.describe()}


def _identity(description: dict[str, Any]) -> dict[str, Any]:
    """What makes a network's maps: the description without where its weights came from."""
    classifier = {k: v for k, v in description["classifier"].items() if k != "pretrained"}
    return {**description, "classifier": classifier}


def _about_map(model: Any, wanted: LayerMap) -> dict[str, Any]:
    """What provenance says of a network's maps: method, layer, label, and where the cells look (None: not known)."""
    cells = cell_centers(model, wanted.layer)
    return {**wanted.describe(), "label": wanted.label, "cells": cells.to_dict() if cells else None}


def _marked(name: str, wanted: LayerMap, join: str = "-") -> str:
    """A name that says which map method was used, where that is not CAM."""
    return name if wanted == CAM_OF_FINAL else f"{name}{join}{wanted.label}"


def _open(config: LocalizeConfig, default: str | None = None, root: str | None = None) -> Manifest:
    name = config.dataset or default
    if name is None:
        raise UserError("name the dataset with --dataset (a prepared name, or a manifest folder)")
    roles = {config.split, *([config.threshold_split] if config.threshold_split else [])}
    found = open_dataset(name, data_root=config.data_root or root, roles=sorted(roles))
    if config.split in SPLIT_ROLES and not len(found.splits.get(config.split, ())):
        open_dataset(name).split(config.split)  # the error names every split that has images
    return found


@dataclass(frozen=True)
class FoundNetwork:
    """A network on its device with the images whose class it knows, and what results say of it."""

    model: Classifier
    manifest: Manifest
    known: ClassMap
    device: torch.device
    out: Path
    provenance: dict[str, Any]
    title: str
    untrained: Callable[[], Classifier]
    """The same network with random weights from the config's seed, on the same device."""


def found_network(config: LocalizeConfig, world: World) -> FoundNetwork:
    """The network of a run or a checkpoint that the config names."""
    if config.checkpoint is not None:
        return _network_of_checkpoint(config, world)
    return _network_of_run(config, load_run(config.run if config.run is not None else newest_run()), world)


def _network_subject(config: LocalizeConfig, found: FoundNetwork) -> Subject:
    wanted = _wanted(config)
    model = found.untrained() if config.random_weights else found.model
    description = _describe(model)
    method = found.provenance.get("method")
    made = {"control": "random", "weights_seed": config.seed, "method": "random"}
    return Subject(
        found.manifest,
        JudgedMaps(
            found.manifest,
            _network_factory(
                config, model, found.manifest, found.known, found.device, _identity(description)
            ),
            config.keep_maps,
        ),
        config.out
        or found.out.with_name(
            _marked(f"{found.out.name}-random" if config.random_weights else found.out.name, wanted)
        ),
        {
            **found.provenance,
            **(made if config.random_weights else {}),
            "class_map": found.known.to_dict(),
            "map": _about_map(model, wanted),
            **description,
        },
        _marked(
            found.title.replace(f"({method})", "(random weights)")
            if config.random_weights and method
            else f"{found.title}{' (random weights)' if config.random_weights else ''}",
            wanted,
            " ",
        ),
    )


def _network_of_run(config: LocalizeConfig, run: Run, world: World) -> FoundNetwork:
    if run.status != "finished":
        tell(f"note: run '{run.dir}' {run.situation}; scored here are the weights of its last checkpoint")
    device = pick_device(config.device, world)
    model = load_classifier(run, device)
    manifest = _open(config, run.manifest_folder, None if config.dataset else run.data_root)
    manifest, known = _known(config, manifest, run.spec.num_classes, f"run '{run.dir}'")
    return FoundNetwork(
        model,
        manifest,
        known,
        device,
        run.dir / "eval",
        {
            "run": str(run.dir),
            "method": run.method,
            "training": dict(run.config),
            "training_seed": run.config.get("seed"),
        },
        f"{run.dir.name} ({run.method})",
        lambda: untrained_classifier(run, config.seed, device),
    )


def _network_of_checkpoint(config: LocalizeConfig, world: World) -> FoundNetwork:
    assert config.checkpoint is not None
    arch, own_input = network_of(config.checkpoint, config.arch)
    device = pick_device(config.device, world)
    model = load_external_classifier(
        config.checkpoint,
        arch=arch,
        input_size=config.size,
        output_stride=config.output_stride,
        pixels=own_input.changed(config.mean, config.std, config.interpolation),
        weights_key=config.weights_key,
        ignore=config.ignore_weights,
    ).to(device)
    for note in model.load_report.notes() if model.load_report else ():
        tell(f"note: {note}")
    manifest, known = _known(config, _open(config), model.spec.num_classes, f"'{config.checkpoint}'")
    return FoundNetwork(
        model,
        manifest,
        known,
        device,
        Path("runs") / f"eval-{config.checkpoint.stem}",
        {"checkpoint": str(config.checkpoint), "arch": arch},
        config.checkpoint.name,
        lambda: untrained(model, config.seed).to(device),
    )


def _known(
    config: LocalizeConfig, manifest: Manifest, num_outputs: int, who: str
) -> tuple[Manifest, ClassMap]:
    """The images whose class the network knows; says how many of the scored split are left out."""
    kept, known = map_classes(manifest, num_outputs, who, config.class_map)
    note = known.note(kept, config.split)
    if note is not None:
        tell(f"note: {note}")
    return kept, known


def _network_factory(
    config: LocalizeConfig,
    model: Any,
    manifest: Manifest,
    known: ClassMap,
    device: Any,
    description: dict[str, Any],
) -> Callable[[Split, str, Sequence[Frame]], MapSource]:
    gpu = device.type == "cuda"
    if gpu and config.precision == "fp32":
        use_full_float32()
        description = {**description, "tf32": False}
    if not known.plain:
        description = {**description, "class_outputs": list(known.outputs)}
    workers = config.workers if config.workers is not None else (decoding_processes(True) if gpu else 0)
    if device.type != "mps":
        model.to(memory_format=torch.channels_last)  # as the images come; up to 1.4 times as fast

    def factory(split: Split, role: str, frames: Sequence[Frame]) -> MapSource:
        if manifest.root is None:
            raise UserError(
                f"dataset '{manifest.dataset}' does not say where its images are; give --data-root"
            )
        # the class ranks come from the whole image, as in the reference
        ordered = list(dict.fromkeys(["resize", *sorted(f.name for f in frames)]))
        return NetworkMaps(
            model,
            split,
            manifest.root,
            frames=ordered,
            device=device,
            description=description,
            wanted=[_wanted(config)],
            outputs=known.outputs,
            batch_size=config.batch_size or (256 if gpu else 16),
            workers=workers,
            precision=config.precision,
        )

    return factory


def _files_subject(config: LocalizeConfig) -> Subject:
    assert config.score_maps is not None
    folder = config.score_maps
    manifest = _open(config)
    ours = (folder / INDEX).is_file()
    if ours and config.predictions:
        raise UserError(
            f"the maps in '{folder}' hold their network's own predictions; leave --predictions out"
        )
    predictions = Predictions.read(config.predictions, manifest.classes) if config.predictions else None

    def place_of(role: str) -> Path:
        return config.threshold_maps if role != config.split and config.threshold_maps else folder

    def factory(split: Split, role: str, frames: Sequence[Frame]) -> MapSource:
        place = place_of(role)
        if (place / INDEX).is_file():
            return StoredMaps.open(place, split_hash(split), len(split))
        sizes = tuple(dict.fromkeys(f.size for f in frames if f.name == "resize"))
        source = ScoreMapFiles(
            place,
            split,
            values=config.map_values,
            size_policy=config.map_size,
            frame_sizes=sizes,
            predictions=predictions,
        )
        source.require_fit()
        if predictions and role == config.split:
            predictions.require_all(split)
        return source

    def covered(split: Split, role: str) -> bool:
        return config.threshold_maps is not None or _maps_cover(folder, split, role)

    return Subject(
        manifest,
        JudgedMaps(manifest, factory, False, covered, shared=config.threshold_maps is None),
        config.out or folder.with_name(f"{folder.stem}-eval"),
        {"score_maps": str(folder), "own_format": ours},
        folder.name,
    )


def _function_subject(config: LocalizeConfig, function: MapFunction, world: World) -> Subject:
    name = str(config.map_function)
    manifest = _open(config)
    pixels = replace(
        IMAGENET.changed(config.mean, config.std, config.interpolation), size=config.size or IMAGENET.size
    )
    device = pick_device(config.device, world)
    workers = config.workers or 0
    judged = JudgedMaps(
        manifest,
        function_source(function, manifest, pixels, device, config.batch_size or 16, workers),
        config.keep_maps,
    )
    safe = "".join(c if c.isalnum() or c in "._-" else "-" for c in name)
    out = config.out or Path("runs") / f"eval-{safe}"
    return Subject(manifest, judged, out, {"map_function": name, **about_function(function)}, name)


def _maps_cover(location: Path, split: Split, role: str) -> bool:
    """Whether a store of score maps holds another split's images too; a note where it holds only some."""
    if (location / INDEX).is_file():
        return False
    missing, _ = ScoreMapFiles(location, split).missing_and_surplus()
    if 0 < len(missing) < len(split):
        tell(
            f"note: {len(missing)} of {len(split)} images of {role} have no map in '{location}' (such as "
            f"'{missing[0]}'), so no threshold is chosen on it"
        )
    return not missing


def _boxes_subject(config: LocalizeConfig) -> Subject:
    assert config.boxes is not None
    manifest = _open(config)
    return Subject(
        manifest,
        JudgedBoxes(manifest, config.boxes, read_boxes(config.boxes, manifest.classes)),
        config.out or config.boxes.with_name(f"{config.boxes.stem}-eval"),
        {"boxes": str(config.boxes)},
        config.boxes.name,
    )


def _control_subject(config: LocalizeConfig) -> Subject:
    assert config.control is not None
    manifest = _open(config)
    return Subject(
        manifest,
        JudgedControl(config.control, manifest),
        config.out or Path("runs") / f"eval-{manifest.dataset.replace(' ', '-')}-{config.control}",
        {"control": config.control},
        config.control,
    )


def pick_device(name: str, world: World) -> Any:
    """The torch device of a name; `auto` is the process's own GPU, or the CPU. `UserError` where it is not there."""
    if name == "auto":
        return torch.device(f"cuda:{world.local_rank}" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device '{name}' cannot be used: {str(error).splitlines()[0]}") from error
    return device
