"""One picture of random samples with their boxes, masks and parts drawn, so that a
person sees what was read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from wsol.errors import UserError
from wsol.files.roots import FileRoot
from wsol.images import decode_grey, decode_rgb
from wsol.manifest import Manifest, Sample
from wsol.pictures import fit_text, font

if TYPE_CHECKING:
    import numpy.typing as npt

BOX_COLOUR = (0, 230, 118)
MASK_COLOUR = (255, 64, 129)
IGNORE_COLOUR = (255, 214, 0)
PART_COLOURS = ((66, 165, 245), (255, 112, 67), (171, 71, 188), (255, 238, 88), (38, 198, 218))
INK = (33, 33, 33)
PAPER = (255, 255, 255)


@dataclass(frozen=True)
class SheetLayout:
    """Sizes in pixels of the finished picture."""

    tile: int = 176
    gap: int = 8
    caption: int = 30
    heading: int = 30
    columns: int = 8
    per_split: int = 16


def sample_rows(manifest: Manifest, role: str, count: int, seed: int) -> list[int]:
    """Ascending row indices of `count` random images of a split (all of them where it has fewer)."""
    n = len(manifest.splits[role])
    return sorted(np.random.default_rng(seed).choice(n, min(count, n), replace=False).tolist())


def draw_contact_sheet(
    manifest: Manifest, root: FileRoot | None, *, seed: int = 0, layout: SheetLayout | None = None
) -> Image.Image:
    """A page of random samples, a block of tiles for each split that holds images.

    Boxes are green, masks pink, ignored regions yellow, visible parts dots. Without a root (or where an image
    cannot be read) a tile shows its boxes on grey, in the proportions of the stated size.
    """
    look = layout or SheetLayout()
    step = look.tile + look.gap
    blocks = {
        role: sample_rows(manifest, role, look.per_split, seed)
        for role, s in manifest.splits.items()
        if len(s)
    }
    rows = {role: -(-len(chosen) // look.columns) for role, chosen in blocks.items()}
    tall = look.tile + look.caption + look.gap
    height = look.heading + sum(look.heading + n * tall for n in rows.values()) + look.gap
    sheet = Image.new("RGB", (look.gap + look.columns * step, height), PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text(
        (look.gap, 8), fit_text(pen, _title(manifest, blocks, seed), sheet.width, 14), fill=INK, font=font(14)
    )
    top = look.heading
    for role, chosen in blocks.items():
        split = manifest.splits[role]
        pen.text(
            (look.gap, top + 8), f"{role}: {len(chosen)} of {len(split)} images", fill=INK, font=font(14)
        )
        top += look.heading
        for k, row in enumerate(chosen):
            x = look.gap + (k % look.columns) * step
            y = top + (k // look.columns) * tall
            sample = split[row]
            sheet.paste(draw_sample(sample, root, side=look.tile), (x, y))
            name = manifest.classes[sample.label]
            for line, text in enumerate((name, sample.image_id)):
                pen.text(
                    (x, y + look.tile + 1 + 14 * line),
                    fit_text(pen, text, look.tile, keep_end=line == 1),
                    INK,
                    font(11),
                )
        top += rows[role] * tall
    return sheet


def draw_sample(sample: Sample, root: FileRoot | None, *, side: int) -> Image.Image:
    """One image scaled to fit a square of `side` pixels, its truth drawn over it."""
    pixels, (width, height), problem = _pixels(sample, root)
    scale = side / max(width, height)
    size_wh = max(1, round(width * scale)), max(1, round(height * scale))
    small = Image.fromarray(pixels).resize(size_wh, Image.Resampling.LANCZOS)
    if root is not None and not problem:
        small = _overlay(small, sample, root)
    tile = Image.new("RGB", (side, side), (238, 238, 238))
    tile.paste(small, (0, 0))
    pen = ImageDraw.Draw(tile)
    for box in sample.boxes_xyxy * scale:
        x0, y0, x1, y1 = box.tolist()
        x1, y1 = max(x0, min(x1, size_wh[0] - 1)), max(y0, min(y1, size_wh[1] - 1))
        pen.rectangle((x0, y0, x1, y1), outline=INK, width=3)
        pen.rectangle((x0, y0, x1, y1), outline=BOX_COLOUR, width=1 if side < 64 else 2)
    if sample.parts is not None:
        _draw_parts(pen, sample.parts, scale)
    if problem:
        pen.text((6, 6), problem, fill=(198, 40, 40), font=font(12))
    return tile


def _pixels(sample: Sample, root: FileRoot | None) -> tuple[npt.NDArray[np.uint8], tuple[int, int], str]:
    """Pixels, the (width, height) that boxes refer to (a grey stand-in is smaller), and what is wrong."""
    problem = ""
    if root is not None:
        try:
            found = decode_rgb(root.read_bytes(sample.path), sample.path)
            return found, (found.shape[1], found.shape[0]), ""
        except UserError:
            problem = "cannot be read"
    extent = sample.boxes_xyxy[:, 2:].max(0).astype(int) + 1 if len(sample.boxes_xyxy) else (1, 1)
    w, h = sample.size_wh or (int(extent[0]), int(extent[1]))
    shrink = min(1.0, 1024 / max(w, h))
    return np.full((max(1, round(h * shrink)), max(1, round(w * shrink)), 3), 205, np.uint8), (w, h), problem


def _overlay(image: Image.Image, sample: Sample, root: FileRoot) -> Image.Image:
    for paths, colour in ((sample.masks, MASK_COLOUR), ((sample.ignore_mask,), IGNORE_COLOUR)):
        for path in paths:
            if path is None or not root.exists(path):
                continue
            grey = Image.fromarray(decode_grey(root.read_bytes(path), path))
            shade = grey.resize(image.size, Image.Resampling.NEAREST).point(lambda v: 120 if v > 0 else 0)
            image = Image.composite(Image.new("RGB", image.size, colour), image, shade)
    return image


def _draw_parts(pen: ImageDraw.ImageDraw, parts: npt.NDArray[np.float64], scale: float) -> None:
    for k, (x, y, visible) in enumerate(parts.tolist()):
        if visible:
            x, y = x * scale, y * scale
            pen.ellipse((x - 4, y - 4, x + 4, y + 4), fill=PART_COLOURS[k % len(PART_COLOURS)], outline=INK)


def _title(manifest: Manifest, blocks: dict[str, list[int]], seed: int) -> str:
    splits = [manifest.splits[role] for role in blocks]
    keys = ["green: boxes"] if any(len(s.boxes_xyxy) for s in splits) else []
    keys += ["pink: masks"] if any(s.masks for s in splits) else []
    keys += ["yellow: ignored"] if any(s.ignore_masks for s in splits) else []
    keys += ["dots: visible parts"] if any(s.parts for s in splits) else []
    return f"{manifest.dataset}, {len(manifest.classes)} classes, seed {seed}   {', '.join(keys)}"
