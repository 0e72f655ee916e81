"""Play the grid game: grids of a split, maps of the network and of its random weights, shares with intervals."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from eval.evaluation.config import LocalizeConfig
from eval.evaluation.networks import found_network, pick_device
from eval.grids.config import GridConfig
from eval.grids.picture import draw_grids_picture
from eval.grids.players import Player, function_player, network_player
from eval.grids.separate import over_separate_tiles
from eval.grids.tiles import draw_grids, tile_shares, tiled
from eval.maps.function import about_function, find_function
from eval.statistics.law import Law
from eval.terminal.progress import progress
from eval.terminal.tables import number, table_of, unit
from eval.terminal.text import print_place, print_table, print_text, terminal
from wsol.cams.extract import extract_maps
from wsol.cams.registry import CAM_OF_FINAL, layer_maps
from wsol.datasets.catalog import open_dataset
from wsol.errors import UserError
from wsol.files.atomic_write import write_durably
from wsol.loading import ImageReader, normalize_images
from wsol.machine.distributed import World
from wsol.machine.provenance import command_line, git_state, software_versions
from wsol.manifest import split_hash
from wsol.models.pixels import IMAGENET
from wsol.views import EvalView

if TYPE_CHECKING:
    import numpy.typing as npt

    from wsol.manifest import Manifest, Split
    from wsol.models import Classifier
    from wsol.models.pixels import Pixels

SCHEMA = 1
RESULT = "grid.json"
SOURCES = {
    "one": "grid pointing game: Boehle, Fritz, Schiele, CVPR 2021, arXiv 2104.00032; each image in one grid at most",
    "separate": "DiFull: Rao, Boehle, Schiele, CVPR 2022, arXiv 2205.10435, for every tile; each image in one grid",
}
WHAT = {
    "energy": "share of the positive part of a class's map in the tile of that class",
    "pointing": "the map's maximum lies in the tile of that class",
}


@dataclass(frozen=True)
class _Table:
    """A split to be tiled, and who plays on it."""

    manifest: Manifest
    split: Split
    outputs: npt.NDArray[np.int64]
    """The players' outputs of the dataset's labels."""
    pixels: Pixels
    players: dict[str, Player]
    out: Path
    provenance: dict[str, Any]
    model: Classifier | None
    separate: bool = False
    """Whether the players take single tiles and give the maps of whole grids."""


def play_and_print(config: GridConfig) -> None:
    """Play as configured, write grid.json and grids.png, print the table."""
    out, results = play(config)
    console = terminal()
    title = (
        f"{results['dataset']}, {results['split']}: {results['num_grids']} grids of {config.side} x {config.side} "
        f"classes; {unit(row[what] for row in results['rows'].values() for what in WHAT)}"
    )
    table = table_of(title, "", ["energy in its tile", "maximum in its tile", "chance"])
    for name, row in results["rows"].items():
        cells = (number(row[what]) for what in WHAT)
        table.add_row(name, *cells, f"{results['chance']:.2f}")
    print_table(console, [table])
    for name, entry in results.get("differences", {}).items():
        print_text(console, f"network minus random weights, {name}: {number(entry)} points")
    for name, row in results["rows"].items():
        if row["energy"].get("undefined"):
            print_text(
                console,
                f"note: {name}: {_grids_have(row['energy']['undefined'])} a map without a positive value",
            )
    print_place(console, "results", out / RESULT)


def _grids_have(count: int) -> str:
    return "1 grid has" if count == 1 else f"{count} grids have"


def play(config: GridConfig) -> tuple[Path, dict[str, Any]]:
    """Play as configured and write grid.json and grids.png. Returns their folder and the content of grid.json."""
    for name, least in (("side", 2), ("batch_size", 1), ("pictures", 0), ("seed", 0), ("grids", 1)):
        value = getattr(config, name)
        if value is not None and value < least:
            raise UserError(f"--{name.replace('_', '-')} must be at least {least}, got {value}")
    table = _set_up(config)
    rows = np.arange(len(table.split))
    if config.least_confidence is not None:
        rows = rows[_confident(table, config)]
        if not len(rows):
            raise UserError(
                f"no image of '{config.split}' is classified right with a probability of {config.least_confidence:g}"
            )
    grids = rows[draw_grids(table.split.labels[rows], config.side, config.seed, config.grids)]
    if len(grids) < 2:
        raise UserError(f"{len(rows)} images give {len(grids)} grids; at least 2 are needed for an interval")
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in table.players}
    drawn: list[tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]] = []
    with progress("playing", grids.size * len(table.players)) as advance:
        for start in range(0, len(grids), config.batch_size):
            some = grids[start : start + config.batch_size]
            tiles = _tiles(table, some)  # uint8 [n, T, 3, S, S]
            for name, player in table.players.items():
                maps = _maps(player, tiles, table.outputs[table.split.labels[some]], config, table.separate)
                found[name] += [_outcome(m, config.side) for m in maps]
                if name == "network":
                    drawn += list(zip(tiles, maps, some))[: max(config.pictures - len(drawn), 0)]
                advance(some.size)
    arrays = {name: np.array(values) for name, values in found.items()}  # [G, 2]
    table.out.mkdir(parents=True, exist_ok=True)
    results = _results(config, table, arrays, len(rows), len(grids))
    write_durably(table.out / RESULT, json.dumps(results, indent=1, allow_nan=False) + "\n")
    if drawn:
        names = [
            [table.manifest.classes[int(table.split.labels[r])] for r in of_grid] for _, _, of_grid in drawn
        ]
        draw_grids_picture(
            table.out / "grids.png",
            [(t, m) for t, m, _ in drawn],
            names,
            arrays["network"][:, 0],
            config.side,
        )
    return table.out, results


def _set_up(config: GridConfig) -> _Table:
    shared = {
        name: getattr(config, name)
        for name in (
            *("run", "checkpoint", "arch", "size", "mean", "std", "interpolation", "class_map"),
            *("dataset", "data_root", "split", "device", "seed"),
        )
    }
    if config.map_function is not None:
        if config.run or config.checkpoint:
            raise UserError("--map-function and a network exclude each other; name one that plays")
        if config.dataset is None:
            raise UserError("name the dataset with --dataset (a prepared name, or a manifest folder)")
        function = find_function(config.map_function)
        device = pick_device(config.device, World())
        base = IMAGENET.changed(config.mean, config.std, config.interpolation)
        pixels = replace(base, size=config.size or IMAGENET.size)
        manifest = open_dataset(config.dataset, data_root=config.data_root, roles=[config.split])
        safe = "".join(c if c.isalnum() or c in "._-" else "-" for c in config.map_function)
        return _Table(
            manifest,
            manifest.split(config.split),
            np.arange(len(manifest.classes)),
            pixels,
            {"network": function_player(function, pixels, device)},
            config.out or Path("runs") / f"eval-{safe}" / f"grid-{config.side}",
            {"map_function": config.map_function, **about_function(function)},
            None,
        )
    network = found_network(LocalizeConfig(**shared), World())
    (wanted,) = layer_maps([config.map_method], [config.map_layer])
    separate = config.layout == "separate" and wanted != CAM_OF_FINAL
    played = over_separate_tiles(wanted, config.side) if separate else wanted
    models = {"network": network.model, "random weights": network.untrained()}
    return _Table(
        network.manifest,
        network.manifest.split(config.split),
        np.asarray(network.known.outputs),
        replace(network.model.spec.input, size=network.model.spec.input_size),
        {name: network_player(m, played, network.device) for name, m in models.items()},
        config.out or network.out / f"grid-{config.side}",
        {**network.provenance, "map": wanted.describe(), "classifier": network.model.describe()},
        network.model,
        separate,
    )


def _tiles(table: _Table, grids: npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
    """The tiles of some grids, uint8 [n, T, 3, S, S]."""
    assert table.manifest.root is not None
    reader = ImageReader(table.split, table.manifest.root)
    view = EvalView("resize", table.pixels.size, table.pixels.interpolation)
    return np.stack([np.stack([view.apply(reader.read(int(row))) for row in grid]) for grid in grids])


def _maps(
    player: Player,
    tiles: npt.NDArray[np.uint8],
    classes: npt.NDArray[np.int64],
    config: GridConfig,
    separate: bool,
) -> npt.NDArray[np.floating]:
    """Raw maps of the class of every tile over the whole grid [n, T, h, w]; `classes` [n, T]."""
    if config.layout == "one":
        images = np.stack([tiled(t, config.side) for t in tiles])
        return player(torch.from_numpy(images), torch.from_numpy(classes))
    if separate:
        alone = torch.from_numpy(tiles.reshape(-1, *tiles.shape[2:]))
        maps = player(alone, torch.from_numpy(classes.reshape(-1, 1)))
        return maps.reshape(*classes.shape, *maps.shape[-2:])
    found = []
    for own, asked in zip(tiles, classes):  # one weight a class, whatever the tile: CAM, and functions
        every = np.repeat(asked[None], len(own), 0)  # each tile is asked for every class of the grid
        maps = player(torch.from_numpy(own), torch.from_numpy(every))  # [T, T, h, w] by tile and class
        found.append(tiled(maps, config.side))
    return np.stack(found)


def _outcome(maps: npt.NDArray[np.floating], side: int) -> tuple[float, float]:
    """A grid's energy share and pointing, each the mean over its classes; maps [T, h, w]."""
    shares = [tile_shares(m, side)[tile] for tile, m in enumerate(maps)]
    peaks = [
        tile_shares((m == m.max()).astype(float), side)[tile] if np.isfinite(m).all() else np.nan
        for tile, m in enumerate(maps)
    ]
    return float(np.mean(shares)), float(np.mean(peaks))


def _confident(table: _Table, config: GridConfig) -> npt.NDArray[np.bool_]:
    """Which images the network ranks right, with the least probability asked for."""
    if table.model is None:
        raise UserError("--least-confidence needs a network; a map function gives no probabilities")
    device = next(table.model.parameters()).device
    outputs = table.outputs[table.split.labels]
    fine = np.zeros(len(outputs), bool)
    for start in range(0, len(outputs), 16):
        rows = np.arange(start, min(start + 16, len(outputs)))
        images = torch.from_numpy(_tiles(table, rows[:, None])[:, 0]).to(device)
        given = normalize_images(images, table.pixels)
        logits = extract_maps(table.model, given, torch.from_numpy(outputs[rows])).logits.float().cpu()
        best, chosen = logits.softmax(1).max(1)
        fine[rows] = (best.numpy() >= (config.least_confidence or 0)) & (chosen.numpy() == outputs[rows])
    return fine


def _results(
    config: GridConfig, table: _Table, found: dict[str, npt.NDArray[np.float64]], images: int, grids: int
) -> dict[str, Any]:
    chance = 100 / config.side**2
    definition = {
        "game": "grid",
        "side": config.side,
        "layout": config.layout,
        "least_confidence": config.least_confidence,
    }
    results: dict[str, Any] = {
        "schema": SCHEMA,
        "dataset": table.manifest.dataset,
        "split": config.split,
        "split_hash": split_hash(table.split),
        "num_images": images,
        "num_grids": grids,
        "chance": chance,
        "rows": {
            name: {what: _mean(values[:, k], 0) for k, what in enumerate(WHAT)}
            for name, values in found.items()
        },
        "what": WHAT,
        "definition": {**definition, "source": SOURCES[config.layout]},
        "definition_hash": hashlib.sha256(json.dumps(definition, sort_keys=True).encode()).hexdigest()[:8],
        "provenance": {
            **table.provenance,
            "seed": config.seed,
            "manifest_hash": table.manifest.hash(),
            "versions": software_versions(),
            "git": git_state(),
            "command": command_line(),
        },
    }
    if len(found) > 1:
        gain = found["network"] - found["random weights"]
        results["differences"] = {what: _mean(gain[:, k], -100) for k, what in enumerate(WHAT)}
    return results


def _mean(values: npt.NDArray[np.float64], least: float) -> dict[str, Any]:
    """Mean over grids in percent with Student's interval, as far as it lies in `least` to 100, which no mean leaves;
    grids are independent, for no image is in two."""
    fine = 100 * values[np.isfinite(values)]
    entry: dict[str, Any] = {"value": None, "ci95": None, "num_grids": len(fine)}
    if len(fine):
        entry["value"] = float(fine.mean())
    if len(fine) > 1:
        law = Law(float(fine.mean()), float(fine.var(ddof=1) / len(fine)), len(fine) - 1)
        entry["ci95"] = [min(max(end, least), 100.0) for end in law.interval()]
    if len(fine) < len(values):
        entry["undefined"] = len(values) - len(fine)
    return entry
