"""What `python -m eval.grid_game` can be asked, as one typed config. Importable without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from wsol.models.pixels import Interpolation


@dataclass(frozen=True)
class GridConfig:
    """Localization without any box: photographs of different classes tiled, and how much of each class's map lies in
    its own tile (the grid pointing game of Boehle et al., CVPR 2021).

    Any dataset with classes serves, and any network that takes the larger input. Chance is 1 / tiles, exactly. The same
    network with random weights plays the same grids. Writes grid.json and grids.png.
    """

    # --- who plays
    run: Annotated[Path | None, tyro.conf.Positional] = None
    """A run directory made by train_cutmix.py (default: the newest finished one)."""
    checkpoint: Path | None = None
    """Weights trained elsewhere; needs --arch and --dataset."""
    arch: str | None = None
    """Network of --checkpoint: a name of docs/networks.md, or timm:NAME."""
    map_function: str | None = None
    """A function of yours that makes the maps, module:function, as for eval.localize."""
    size: Annotated[int | None, tyro.conf.arg(aliases=["--input-size"])] = None
    """Side of a tile (default: the network's own input)."""
    mean: tuple[float, float, float] | None = None
    """Mean of the input's red, green and blue, of pixels in [0, 1] (default: the network's own)."""
    std: tuple[float, float, float] | None = None
    """Standard deviation of the same."""
    interpolation: Interpolation | None = None
    """How images are resized (default: as for the network's own weights)."""
    class_map: Path | None = None
    """File that names the network's outputs in order, where they are not the dataset's classes."""
    map_method: str = "cam"
    """How the maps are made: cam, hirescam, gradcam, layercam and others, as for eval.localize."""
    map_layer: str = "final"
    """Where they read the network: its final map, or a module by name."""

    # --- on what
    dataset: Annotated[str | None, tyro.conf.arg(aliases=["--manifest"])] = None
    """A prepared dataset by name, or a manifest folder (default: the run's own)."""
    data_root: Path | None = None
    """Where the dataset's images are, if not where the manifest says."""
    split: str = "test"
    """Images that are tiled."""
    least_confidence: float | None = None
    """Tile only images whose class the network, alone, gives at least this probability and ranks first; the paper
    takes 0.99. None takes all."""

    # --- the game
    side: int = 2
    """Tiles along a side: 2 is a grid of four classes, 3 of nine."""
    layout: Literal["one", "separate"] = "one"
    """one: the tiled picture is one input (GridPG). separate: each tile passes alone, a class's head sees its own tile
    alone, and the method reads the layer's outputs of all tiles put together (DiFull of Rao et al., CVPR 2022)."""
    grids: int | None = None
    """At most so many grids (default: all that the images give, each image in one grid at most)."""
    seed: int = 0
    """Seed of the grids and of the random weights."""

    # --- what is written
    out: Path | None = None
    """Where results go (default: grid-SIDE beside the network's evaluation)."""
    pictures: int = 4
    """How many grids are drawn with their maps; 0 for none."""

    # --- the machine
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, ..."""
    batch_size: int = 4
    """Grids per forward pass."""
