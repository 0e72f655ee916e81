"""Images of every form that Pillow decodes."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from PIL import Image

from benchmarks.anatomies import (
    BMP,
    GIF,
    JPEG,
    PNG,
    TIFF,
    WEBP,
    Anatomy,
)
from benchmarks.doors.door import Door
from tests.helpers.dataset_trees import picture
from wsol.images import decode_grey, decode_rgb, exif_orientation, image_size_wh


def encoded(form: str, mode: str = "RGB", **options: Any) -> bytes:
    """A small picture in one of Pillow's forms."""
    stream = io.BytesIO()
    with Image.open(io.BytesIO(picture((24, 17)))) as opened:
        opened.convert(mode).save(stream, form, **options)
    return stream.getvalue()


def read_image(file: Path) -> object:
    """Everything that is asked of an image."""
    data = file.read_bytes()
    image_size_wh(data, file.name)
    exif_orientation(data, file.name)
    decode_grey(data, file.name)
    return decode_rgb(data, file.name).shape


def images() -> list[Door]:
    """A door for each form."""
    forms = {
        "png": (
            PNG,
            [
                encoded("PNG"),
                encoded("PNG", "P"),
                encoded("PNG", "LA"),
                encoded("PNG", "1"),
                encoded("PNG", save_all=True, append_images=[Image.new("RGB", (24, 17))]),
            ],
        ),
        "jpeg": (
            JPEG,
            [
                encoded("JPEG"),
                encoded("JPEG", "CMYK"),
                encoded("JPEG", progressive=True),
                encoded("JPEG", "L"),
            ],
        ),
        "tiff": (
            TIFF,
            [
                encoded("TIFF"),
                encoded("TIFF", compression="tiff_lzw"),
                encoded("TIFF", compression="jpeg"),
                encoded("TIFF", "F"),
                encoded("TIFF", compression="tiff_adobe_deflate"),
                encoded("TIFF", "1", compression="group4"),
            ],
        ),
        "gif": (
            GIF,
            [
                encoded("GIF", "P"),
                encoded("GIF", "P", save_all=True, append_images=[Image.new("P", (24, 17))]),
            ],
        ),
        "webp": (
            WEBP,
            [
                encoded("WEBP"),
                encoded("WEBP", "RGBA", lossless=True),
                encoded("WEBP", save_all=True, append_images=[Image.new("RGB", (24, 17))]),
            ],
        ),
        "bmp": (BMP, [encoded("BMP"), encoded("BMP", "P"), encoded("BMP", "1")]),
        "others": (
            Anatomy(fields=lambda d: [(k, 1, "little") for k in range(min(len(d), 140))]),
            [
                encoded(f)
                for f in ("PPM", "TGA", "PCX", "SGI", "ICO", "DDS", "JPEG2000", "AVIF")
                if f in Image.SAVE
            ],
        ),
    }
    return [
        Door(f"image: {name}", seeds, form.mutate, read_image, 3 if name in ("png", "jpeg", "tiff") else 2)
        for name, (form, seeds) in forms.items()
    ]
