"""A network to score: of a run, or of a checkpoint trained elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from eval.evaluation.subject import Subject, opened, wanted_map
from eval.maps.network import NetworkMaps
from eval.records.judged_maps import JudgedMaps
from wsol.cams.cell_centers import cell_centers
from wsol.cams.registry import CAM_OF_FINAL
from wsol.class_map import ClassMap, map_classes
from wsol.errors import UserError
from wsol.files.checked_safetensors import tensors_sha256
from wsol.machine.cores import decoding_processes
from wsol.machine.device import use_full_float32
from wsol.models import Classifier, load_external_classifier, untrained
from wsol.models.hub import network_of
from wsol.runs.find import newest_run
from wsol.runs.network import load_classifier, untrained_classifier
from wsol.runs.record import load_run
from wsol.wrapping import tell

if TYPE_CHECKING:
    from eval.boxes.frames import Frame
    from eval.evaluation.config import LocalizeConfig
    from eval.maps.source import MapSource
    from wsol.cams.map_method import LayerMap
    from wsol.machine.distributed import World
    from wsol.manifest import Manifest, Split
    from wsol.runs.record import Run


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


def network_subject(config: LocalizeConfig, found: FoundNetwork) -> Subject:
    wanted = wanted_map(config)
    model = found.untrained() if config.random_weights else found.model
    wanted.check(model)
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
    manifest = opened(config, run.manifest_folder, None if config.dataset else run.data_root)
    manifest, known = _known(config, manifest, run.spec.num_classes, f"run '{run.dir}'", run.classes)
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
    manifest, known = _known(config, opened(config), model.spec.num_classes, f"'{config.checkpoint}'")
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
    config: LocalizeConfig, manifest: Manifest, num_outputs: int, who: str, names: Sequence[str] = ()
) -> tuple[Manifest, ClassMap]:
    """The images whose class the network knows; says how many of the scored split are left out, and where its classes
    are not listed as the dataset's are."""
    kept, known = map_classes(manifest, num_outputs, who, config.class_map, names)
    if names and config.class_map is None and tuple(names) != manifest.classes[:num_outputs]:
        how = (
            known.source
            if known.source == "by name"
            else "by their number, for only one of the two names them"
        )
        tell(f"note: {who} lists its classes otherwise than '{manifest.dataset}'; they are matched {how}")
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
            wanted=[wanted_map(config)],
            outputs=known.outputs,
            batch_size=config.batch_size or (256 if gpu else 16),
            workers=workers,
            precision=config.precision,
        )

    return factory


def pick_device(name: str, world: World) -> Any:
    """The torch device of a name; `auto` is the process's own GPU, or the CPU. `UserError` where it is not there.

    On a GPU float32 is float32 from then on, without the rounding of TF32 that torch allows its convolutions.
    """
    if name == "auto":
        name = f"cuda:{world.local_rank}" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"device '{name}' cannot be used: {str(error).splitlines()[0]}") from error
    if device.type == "cuda":
        use_full_float32()
    return device


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
