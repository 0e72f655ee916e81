"""The Python interface: a model to numbers with intervals, images to score maps. See docs/api.md."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from eval.boxes.frames import Frame
from eval.evaluation.config import LocalizeConfig
from eval.evaluation.evaluate import score_subject
from eval.evaluation.limit import limited_subject
from eval.evaluation.networks import pick_device
from eval.evaluation.plan import resolve
from eval.evaluation.results import Results, Value
from eval.evaluation.subject import Subject
from eval.maps.function import MapFunction, about_function, function_source
from eval.maps.network import NetworkMaps
from eval.metrics.objects import BoxAccuracy, MaxBoxAcc, MaxBoxAccV2, PixelMetric, PxAP
from eval.records.judged_maps import JudgedMaps
from wsol.cams.extract import extract_maps
from wsol.cams.registry import layer_maps
from wsol.datasets.catalog import open_dataset
from wsol.errors import UserError
from wsol.loading import normalize_images
from wsol.machine.distributed import World
from wsol.manifest import Manifest, Split
from wsol.models.any_network import AnyNetwork
from wsol.models.pixels import IMAGENET, Pixels

__all__ = [
    "BoxAccuracy",
    "MaxBoxAcc",
    "MaxBoxAccV2",
    "PixelMetric",
    "Pixels",
    "PxAP",
    "Results",
    "Value",
    "evaluate",
    "evaluate_function",
    "score_maps",
]


def evaluate(
    model: nn.Module,
    dataset: str | os.PathLike[str] | Manifest,
    *,
    layer: str | None = None,
    map_method: str = "hirescam",
    pixels: Pixels = IMAGENET,
    split: str = "test",
    protocols: Sequence[str] = (),
    limit: int | None = None,
    bootstrap: int = 1000,
    out: str | os.PathLike[str] | None = None,
    device: str = "auto",
    batch_size: int = 16,
) -> Results:
    """Score the localization of a model on a dataset, as `python -m eval.localize` does.

    Args:
        model: any module from images float [N, 3, S, S] to logits [N, K], K the dataset's class count, in its order.
        dataset: a prepared dataset's name, a manifest folder, or a `Manifest`.
        layer: dotted name of the module whose output score maps are read from; None takes the last map.
        map_method: hirescam (CAM, where average pooling and a linear layer follow), gradcam, layercam and others.
        pixels: the input that the model was made for: mean, std, size, interpolation.
        split: which images are scored.
        protocols: names of protocols; empty takes every published one.
        limit: score only so many images of each split, to see whether all works.
        bootstrap: resamples for the intervals; 0 for none.
        out: folder for results.json and records, where they are to be kept.
        device: auto, cpu, cuda, cuda:1 ...
        batch_size: images per forward pass.

    Returns: results by protocol name.

    Raises UserError for a model or a dataset that does not fit.
    """
    manifest = dataset if isinstance(dataset, Manifest) else open_dataset(dataset)
    where = pick_device(device, World())
    network = AnyNetwork(model.to(where), pixels, layer)
    if network.spec.num_classes != len(manifest.classes):
        raise UserError(
            f"the model gives {network.spec.num_classes} logits, but dataset '{manifest.dataset}' has "
            f"{len(manifest.classes)} classes; they must be the same, in the same order"
        )
    if manifest.root is None:
        raise UserError(f"dataset '{manifest.dataset}' does not say where its images are")
    root = manifest.root
    wanted = layer_maps([map_method], [network.spec.layer])
    description = {"classifier": network.describe(), "map": wanted[0].describe()}

    def source(split: Split, role: str, frames: Sequence[Frame]) -> NetworkMaps:
        # the class ranks come from the whole image
        ordered = list(dict.fromkeys(["resize", *sorted(f.name for f in frames)]))
        return NetworkMaps(
            network,  # type: ignore[arg-type]
            split,
            root,
            frames=ordered,
            device=where,
            description=description,
            wanted=wanted,
            batch_size=batch_size,
        )

    judged = JudgedMaps(manifest, source, keep=False)
    return _scored(
        manifest, judged, description, type(model).__name__, split, protocols, limit, bootstrap, out
    )


def evaluate_function(
    function: MapFunction,
    dataset: str | os.PathLike[str] | Manifest,
    *,
    pixels: Pixels = IMAGENET,
    split: str = "test",
    protocols: Sequence[str] = (),
    limit: int | None = None,
    bootstrap: int = 1000,
    out: str | os.PathLike[str] | None = None,
    device: str = "auto",
    batch_size: int = 16,
) -> Results:
    """Score the maps that a function makes, as `python -m eval.localize --map-function` does.

    Args:
        function: from images float [N, 3, S, S], as `pixels` says, and class ids int [N] (or from images alone) to raw
            maps [N, h, w], or to (maps, logits [N, K]) for Top-1 Loc.

    The rest, what is returned and what is raised are as for `evaluate`.
    """
    manifest = dataset if isinstance(dataset, Manifest) else open_dataset(dataset)
    source = function_source(function, manifest, pixels, pick_device(device, World()), batch_size)
    about = about_function(function)
    judged = JudgedMaps(manifest, source, keep=False)
    return _scored(manifest, judged, about, about["function"], split, protocols, limit, bootstrap, out)


def _scored(
    manifest: Manifest,
    judged: JudgedMaps,
    provenance: dict[str, Any],
    title: str,
    split: str,
    protocols: Sequence[str],
    limit: int | None,
    bootstrap: int,
    out: str | os.PathLike[str] | None,
) -> Results:
    config = LocalizeConfig(
        split=split, protocols=tuple(protocols), bootstrap=bootstrap, pictures=0, keep_maps=False
    )
    with tempfile.TemporaryDirectory(prefix="wsol-eval-") as scratch:
        subject = Subject(manifest, judged, Path(scratch if out is None else out), provenance, title)
        if limit is not None:
            subject = limited_subject(subject, limit, keep_place=True)
        found = score_subject(resolve(config, subject), subject)
    assert found is not None  # one process
    return Results(found[1])


def score_maps(
    model: nn.Module,
    images: Tensor,
    class_ids: Tensor | None = None,
    *,
    layer: str | None = None,
    map_method: str = "hirescam",
    pixels: Pixels = IMAGENET,
) -> Tensor:
    """Raw score maps [N, h, w] of images uint8 [N, 3, S, S], on the model's device.

    `class_ids` int [N] are the classes whose maps are made; None takes the predicted ones. S is `pixels.size`, the rest
    as in `evaluate`. Raises UserError for a model or a layer that does not fit.
    """
    network = AnyNetwork(model, pixels, layer)
    wanted = layer_maps([map_method], [network.spec.layer])
    parameter = next(model.parameters(), None)
    device = parameter.device if parameter is not None else torch.device("cpu")
    return extract_maps(network, normalize_images(images.to(device), pixels), class_ids, wanted).maps[0]  # type: ignore[arg-type]
