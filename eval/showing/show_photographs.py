"""Photographs through a network: pictures with maps and boxes, the top classes printed, boxes as CSV and COCO."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from eval.boxes.best_iou import boxes_at_level
from eval.evaluation.networks import pick_device
from eval.maps.normalization import normalize, quantize, upsample
from eval.showing.boxes_files import write_coco, write_csv
from eval.showing.class_names import find_class
from eval.showing.photographs import Photograph, example_photograph, find_photographs
from eval.showing.picture import write_picture
from eval.showing.shown_network import ShownNetwork, open_network
from eval.terminal.progress import progress
from eval.terminal.text import print_text, terminal
from wsol.cams.registry import layer_maps
from wsol.errors import UserError
from wsol.files.atomic_write import remove_unfinished
from wsol.machine.distributed import World

if TYPE_CHECKING:
    import numpy.typing as npt

    from eval.showing.config import ShowConfig
    from wsol.cams.map_method import LayerMap

TOP = 5


@dataclass(frozen=True)
class Shown:
    """A photograph's result: its size, the class whose map is shown, top classes as (class, probability), and for each
    map method the 8-bit map [H, W] and the boxes [K, 4] (xyxy, exclusive ends, in the photograph's pixels)."""

    photograph: Photograph
    size_wh: tuple[int, int]
    class_id: int
    probability: float
    top: tuple[tuple[int, float], ...]
    maps: tuple[npt.NDArray[np.uint8], ...]
    boxes: tuple[npt.NDArray[np.int32], ...]


def show(config: ShowConfig) -> None:
    """Do what the config asks for and print what was found."""
    if not 0 <= config.threshold < 1:
        raise UserError(f"--threshold must lie in [0, 1), got {config.threshold}")
    for name in ("limit", "batch_size"):
        if (value := getattr(config, name)) is not None and value < 1:
            raise UserError(f"--{name.replace('_', '-')} must be at least 1, got {value}")
    wanted = layer_maps(config.map_method, config.map_layer)
    photographs = (
        find_photographs(config.photographs, config.limit) if config.photographs else [example_photograph()]
    )
    network = open_network(config, pick_device(config.device, World()))
    class_id = None if config.class_ is None else find_class(config.class_, network.class_names)
    labels = [w.label for w in wanted]
    console = terminal()
    print_text(console, f"network: {network.title}")
    results: list[Shown] = []
    remove_unfinished(config.out)
    with progress("showing", len(photographs)) as advance:
        for found, pixels in _results(config, network, photographs, class_id, wanted):
            tops = ", ".join(f"{network.class_names[c]} {100 * p:.1f} %" for c, p in found.top)
            print_text(console, f"{found.photograph.name}: {tops}")
            caption = f"{network.class_names[found.class_id]}, {100 * found.probability:.1f} %"
            if class_id is not None:
                print_text(console, f"  map of {caption}")
            if config.pictures:
                file = config.out / _file_name(found.photograph.name)
                write_picture(file, pixels, found.maps, found.boxes, labels, caption, config)
                print_text(console, f"  picture: {file}")
            results.append(dataclasses.replace(found, maps=()))  # a folder's maps need not stay in memory
            advance(1)
    if config.csv is not None:
        write_csv(config.csv, results, network.class_names, labels, config.threshold)
        print_text(console, f"boxes: {config.csv}")
    if config.coco is not None:
        write_coco(config.coco, results, network.class_names, labels)
        print_text(console, f"boxes: {config.coco}")


def _file_name(name: str) -> Path:
    """`a/b.jpg` to `a/b.jpg.png`: two photographs never share a picture."""
    return Path(f"{name}.png")


def _results(
    config: ShowConfig,
    network: ShownNetwork,
    photographs: list[Photograph],
    class_id: int | None,
    wanted: tuple[LayerMap, ...],
) -> Iterator[tuple[Shown, npt.NDArray[np.uint8]]]:
    for start in range(0, len(photographs), config.batch_size):
        batch = photographs[start : start + config.batch_size]
        pixels = [p.pixels() for p in batch]
        probabilities, classes, maps = network.maps(pixels, class_id, wanted)
        for i, photograph in enumerate(batch):
            height, width = pixels[i].shape[:2]
            levels = tuple(_levels(m[i].numpy(), (height, width)) for m in maps)
            boxes = tuple(
                boxes_at_level(u, int(config.threshold * int(u.max())), config.boxes)
                if u.any()
                else np.zeros((0, 4), np.int32)
                for u in levels
            )
            best = torch.topk(probabilities[i], min(TOP, probabilities.shape[1]))
            yield (
                Shown(
                    photograph,
                    (width, height),
                    int(classes[i]),
                    float(probabilities[i, classes[i]]),
                    tuple((int(c), float(p)) for p, c in zip(best.values, best.indices)),
                    levels,
                    boxes,
                ),
                pixels[i],
            )


def _levels(raw: npt.NDArray[np.float32], size_hw: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """A raw map at the photograph's size, its range stretched to 0..255; all zeros for a constant map."""
    return quantize(normalize(upsample(raw, size_hw), "minmax")[0])
