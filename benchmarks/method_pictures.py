"""The pictures of docs/methods.md and docs/maps.md: `python -m benchmarks.method_pictures`.

What each mixing method makes of the same four photographs (scikit-image's), and what every map method shows of them, by
EfficientNet-Lite0 with ImageNet's weights.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import skimage.data
import torch
from PIL import Image, ImageDraw

from eval.maps.normalization import score_levels, upsample
from eval.pictures.overlay import overlay
from eval.showing.example_network import example_classifier
from wsol.cams.extract import extract_maps
from wsol.cams.registry import MAP_METHODS, layer_maps
from wsol.loading import normalize_images
from wsol.methods import Method, method_named
from wsol.training.look import Look
from wsol.views import resize_rgb

if TYPE_CHECKING:
    import numpy.typing as npt

    from wsol.models import Classifier

    Picture = npt.NDArray[np.uint8]

IMAGES = Path(__file__).resolve().parents[1] / "docs" / "images"
LAYERS = ("final", "blocks.4", "blocks.2")
SEED = 4
_TILE, _GAP, _LINE = 84, 6, 16

METHODS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "unchanged": ("vanilla", {}),
    "cutmix": ("cutmix", {}),
    "cutmix --cutmix-per-sample": ("cutmix", {"per_sample": True}),
    "cutmix --cutmix-center gaussian": ("cutmix", {"center": "gaussian", "sigma": 0.1, "per_sample": True}),
    "cutmix --cutmix-side 0.5": ("cutmix", {"side": 0.5, "per_sample": True}),
    "resizemix": ("resizemix", {}),
    "mixup": ("mixup", {}),
    "fmix": ("fmix", {}),
    "saliencymix": ("saliencymix", {}),
    "snapmix": ("snapmix", {}),
    "attentive_cutmix": ("attentive_cutmix", {}),
    "cutout": ("cutout", {}),
    "has": ("has", {}),
    "has --has-cell-px 0 16 32 44 56": ("has", {"cell_px": (0, 16, 32, 44, 56)}),
}


def main() -> None:
    """Write both pictures."""
    model = example_classifier()
    side = model.spec.input_size
    photographs = [resize_rgb(p, side) for p in _photographs()]
    stack = torch.from_numpy(np.stack(photographs)).permute(0, 3, 1, 2)
    images = normalize_images(stack, model.spec.input)
    IMAGES.mkdir(parents=True, exist_ok=True)
    _write(_mixing(model, images), IMAGES / "mixing-methods.png")
    _write(_maps(model, images, photographs), IMAGES / "map-methods.png")


def _photographs() -> list[Picture]:
    chelsea, coffee, rocket, astronaut = (
        getattr(skimage.data, name)() for name in ("chelsea", "coffee", "rocket", "astronaut")
    )
    return [chelsea, coffee, rocket, astronaut]


def _mixing(model: Classifier, images: torch.Tensor) -> Image.Image:
    """A panel a method: the batch of four photographs as it is trained on."""
    look = Look(model, nullcontext)
    labels = look.outputs(images).logits.argmax(1)
    panels = {}
    for title, (name, settings) in METHODS.items():
        method: Method = method_named(name)(**settings)
        drawn = method.draw(len(images), tuple(images.shape[-2:]), torch.Generator().manual_seed(SEED), 0.5)  # type: ignore[arg-type]
        mixed = method.apply(images, labels, drawn, look).images
        panels[title] = [_tile(picture) for picture in _pixels(model, mixed)]
    return _sheet(panels, across=2)


def _maps(model: Classifier, images: torch.Tensor, photographs: Sequence[Picture]) -> Image.Image:
    """A panel a map method and layer: the map of each photograph's predicted class. Methods of the final map alone come
    first, then a row for each other one."""
    readable = [name for name, method in MAP_METHODS.items() if method.check is None]
    methods = sorted(readable, key=lambda name: not MAP_METHODS[name].final_only)
    wanted = layer_maps(methods, LAYERS)
    found = extract_maps(model, images, None, wanted)
    panels: dict[str, list[Picture]] = {"photograph": [_tile(p) for p in photographs], " ": [], "  ": []}
    for one, maps in zip(wanted, found.maps):
        large = np.stack([upsample(m.numpy(), photographs[0].shape[:2]) for m in maps])
        levels, _ = score_levels(large, "minmax")
        panels[one.label] = [_tile(overlay(p, u)) for p, u in zip(photographs, levels)]
    return _sheet(panels, across=3)


def _pixels(model: Classifier, images: torch.Tensor) -> list[Picture]:
    """A network's input as uint8 pictures [H, W, 3]."""
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (model.spec.input.mean, model.spec.input.std))
    values = ((images * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
    return [np.ascontiguousarray(v.permute(1, 2, 0).numpy()) for v in values]


def _tile(picture: Picture) -> Picture:
    return resize_rgb(picture, _TILE)


def _sheet(panels: Mapping[str, Sequence[Picture]], across: int) -> Image.Image:
    """Panels in rows of `across`, each a line of tiles under its title."""
    count = len(next(iter(panels.values())))
    width, height = count * _TILE + (count - 1) * 2 + 2 * _GAP, _TILE + _LINE + 2 * _GAP
    down = -(-len(panels) // across)
    sheet = Image.new("RGB", (across * width, down * height), "white")
    pen = ImageDraw.Draw(sheet)
    for i, (title, tiles) in enumerate(panels.items()):
        x, y = i % across * width + _GAP, i // across * height + _GAP
        pen.text((x, y), title, fill="black")
        for k, tile in enumerate(tiles):
            sheet.paste(Image.fromarray(tile), (x + k * (_TILE + 2), y + _LINE))
    return sheet


def _write(picture: Image.Image, file: Path) -> None:
    """Write with few colours: a repository keeps every version."""
    buffer = io.BytesIO()
    picture.quantize(200, dither=Image.Dither.FLOYDSTEINBERG).save(buffer, "PNG", optimize=True)
    file.write_bytes(buffer.getvalue())
    print(
        file.relative_to(IMAGES.parents[1]),
        f"{picture.width} x {picture.height}, {len(buffer.getvalue()) / 1024:.0f} KB",
    )


if __name__ == "__main__":
    main()
