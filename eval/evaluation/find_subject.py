"""Which one thing a command asks to score: a run, a checkpoint, ready-made maps or boxes, a function, a control."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from eval.evaluation.limit import limited_subject
from eval.evaluation.networks import found_network, network_subject
from eval.evaluation.ready_made import boxes_subject, control_subject, files_subject, function_subject
from eval.evaluation.subject import Subject, wanted_map
from eval.maps.function import find_function
from eval.metrics.results_json import names_of, scored_folders
from wsol.cams.registry import CAM_OF_FINAL
from wsol.errors import UserError
from wsol.images import IMAGE_SUFFIXES
from wsol.runs.record import RECORD

if TYPE_CHECKING:
    from eval.evaluation.config import LocalizeConfig
    from wsol.machine.distributed import World


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
    if ready and wanted_map(config) != CAM_OF_FINAL:
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
        return control_subject(config)
    if config.boxes is not None:
        return boxes_subject(config)
    if config.score_maps is not None:
        return files_subject(config)
    if config.map_function is not None:
        return function_subject(config, find_function(config.map_function), world)
    return network_subject(config, found_network(config, world))
