"""What is scored without a network of ours: map files, a function that makes maps, boxes, a control."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from eval.evaluation.networks import pick_device
from eval.evaluation.subject import Subject, opened
from eval.maps.files import ScoreMapFiles
from eval.maps.function import MapFunction, about_function, function_source
from eval.maps.predictions import Predictions
from eval.maps.stored import INDEX, StoredMaps
from eval.records.controls import JudgedControl
from eval.records.judged_maps import JudgedMaps
from eval.records.predicted_boxes import JudgedBoxes, read_boxes
from wsol.errors import UserError
from wsol.manifest import split_hash
from wsol.models.pixels import IMAGENET
from wsol.wrapping import tell

if TYPE_CHECKING:
    from eval.boxes.frames import Frame
    from eval.evaluation.config import LocalizeConfig
    from eval.maps.source import MapSource
    from wsol.machine.distributed import World
    from wsol.manifest import Split


def files_subject(config: LocalizeConfig) -> Subject:
    assert config.score_maps is not None
    folder = config.score_maps
    manifest = opened(config)
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


def function_subject(config: LocalizeConfig, function: MapFunction, world: World) -> Subject:
    name = str(config.map_function)
    manifest = opened(config)
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


def boxes_subject(config: LocalizeConfig) -> Subject:
    assert config.boxes is not None
    manifest = opened(config)
    return Subject(
        manifest,
        JudgedBoxes(manifest, config.boxes, read_boxes(config.boxes, manifest.classes)),
        config.out or config.boxes.with_name(f"{config.boxes.stem}-eval"),
        {"boxes": str(config.boxes)},
        config.boxes.name,
    )


def control_subject(config: LocalizeConfig) -> Subject:
    assert config.control is not None
    manifest = opened(config)
    return Subject(
        manifest,
        JudgedControl(config.control, manifest),
        config.out or Path("runs") / f"eval-{manifest.dataset.replace(' ', '-')}-{config.control}",
        {"control": config.control},
        config.control,
    )
