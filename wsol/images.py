"""From the bytes of an image file to pixels.

The decoding policy:

- **EXIF orientation is not applied.** Pixels come as stored, because boxes and masks of every dataset here
  refer to the stored image. `exif_orientation` lets the audit count the images that a viewer would show
  rotated.
- CMYK and YCCK become RGB (Adobe's inverted inks included), palettes are looked up, grey is repeated, alpha
  is dropped, 16-bit grey keeps its high byte (a mask's small non-zero values stay non-zero). Floating-point
  images are refused.
- A truncated or corrupt image is refused with its name; half an image is never scored.
"""

from __future__ import annotations

import functools
import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from wsol.errors import UserError

if TYPE_CHECKING:
    import numpy.typing as npt

IMAGE_FORMATS = (
    *("JPEG", "PNG", "JPEG2000", "BMP", "DIB", "GIF", "WEBP", "AVIF", "TIFF", "PPM"),
    *("TGA", "PCX", "SGI", "PSD", "ICO", "DDS"),
)
"""What is decoded, by content: the raster formats that are decoded in this process. Pillow knows more, PostScript among
them, which it hands to an interpreter."""
MAX_PIXELS = 178_956_970
"""Largest image decoded; Pillow's own bound against decompression bombs."""
MAX_SIDE = 65_535
"""Longest side decoded; JPEG's. Other formats let a few bytes announce millions, which decode slowly."""
EXIF_ORIENTATION_TAG = 0x0112
IMAGE_SUFFIXES = (
    *(
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".apng",
        ".bmp",
        ".dib",
        ".gif",
        ".webp",
        ".tif",
        ".tiff",
        ".mpo",
    ),
    *(
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
        ".jp2",
        ".j2k",
        ".jpx",
        ".avif",
        ".tga",
        ".pcx",
        ".sgi",
        ".psd",
        ".ico",
        ".dds",
    ),
)
"""Endings of files that are taken for images: the raster formats that Pillow decodes."""


class UndecodableImage(UserError):
    """The bytes of a file are not a whole image."""


# --- pixels -------------------------------------------------------------------------------------------------


@functools.cache
def _formats() -> tuple[str, ...]:
    """Those of `IMAGE_FORMATS` that this Pillow was built with."""
    Image.init()
    return tuple(name for name in IMAGE_FORMATS if name in Image.OPEN)


def _open_image(data: bytes, where: str) -> Image.Image:
    try:
        image = Image.open(io.BytesIO(data), formats=_formats())
    except Image.DecompressionBombError as error:
        raise UndecodableImage(f"image '{where}' is larger than {MAX_PIXELS} pixels; not decoded") from error
    except Exception as error:  # decoders raise nearly anything on broken bytes
        kind = "empty" if not data else f"not a readable image ({len(data)} bytes)"
        raise UndecodableImage(f"image '{where}' is {kind}; replace the file") from error
    if image.width * image.height > MAX_PIXELS or max(image.size) > MAX_SIDE:
        raise UndecodableImage(
            f"image '{where}' is {image.width}x{image.height}, more than {MAX_PIXELS} pixels or {MAX_SIDE} a side; not "
            "decoded"
        )
    return image


def _convert(image: Image.Image, mode: str, where: str) -> npt.NDArray[Any]:
    try:
        image.load()
        if image.mode.startswith("I"):  # 16-bit grey: Pillow's own conversion clips it to white
            values = np.asarray(image).astype(np.int64)
            # PNG and PNM come as "I" with white at 65535; a TIFF of 32 bits states no white
            if values.min() < 0 or values.max() > 0xFFFF or (image.mode == "I" and image.format == "TIFF"):
                raise UndecodableImage(f"image '{where}' holds 32-bit values; convert it to 8 bits")
            if mode == "levels":
                return values.astype(np.uint16)
            high = (values >> 8).astype(np.uint8)
            if mode == "L":  # small instance numbers in a 16-bit mask must stay foreground
                high[(values > 0) & (high == 0)] = 1
            return np.repeat(high[..., None], 3, axis=2) if mode == "RGB" else high
        elif image.mode == "F":
            raise UndecodableImage(f"image '{where}' holds floating-point values; convert it to 8 bits")
        elif image.mode == "P" and "transparency" in image.info:
            image = image.convert("RGBA")
        return np.array(image if image.mode == mode else image.convert(mode))
    except UserError:
        raise
    except Exception as error:
        raise UndecodableImage(
            f"image '{where}' is truncated or corrupt ({error}); replace the file"
        ) from error


def decode_rgb(data: bytes, where: str) -> npt.NDArray[np.uint8]:
    """Decode an image to RGB, shape [H, W, 3], by this module's policy.

    `where` (an image id or path) is quoted when the bytes are not a whole image; that is a `UserError`.
    """
    return _convert(_open_image(data, where), "RGB", where)


def decode_grey(data: bytes, where: str) -> npt.NDArray[np.uint8]:
    """Decode a mask or image to 8-bit grey, shape [H, W]; 1-bit masks become 0 and 255.
    Errors as `decode_rgb`."""
    return _convert(_open_image(data, where), "L", where)


def decode_levels(data: bytes, where: str) -> npt.NDArray[np.uint8] | npt.NDArray[np.uint16]:
    """Decode a grey image with its values as stored, 8 or 16 bits, shape [H, W]; three equal channels count as grey.
    Errors as `decode_rgb`; an image in colour is one."""
    image = _open_image(data, where)
    grey = image.mode in ("1", "L", "LA")
    found = _convert(image, "levels" if image.mode.startswith("I") else "L" if grey else "RGB", where)
    if found.ndim == 2:
        return found
    if (found != found[..., :1]).any() or data[24:26] == b"\x10\x02":  # PNG's 16-bit colour comes as 8 bits
        raise UndecodableImage(f"image '{where}' is in colour, where grey values are expected")
    return found[..., 0]


def image_size_wh(data: bytes, where: str) -> tuple[int, int]:
    """Stored (width, height) from the header alone; the pixels are not decoded."""
    with _open_image(data, where) as image:
        return image.size


def is_whole(data: bytes) -> bool:
    r"""Whether an encoded image ends with its format's end marker (zero bytes after it left aside); True for formats
    without one. Data after the marker is legal, so that False is a reason to decode, not a verdict.

    >>> is_whole(b"\xff\xd8 a JPEG \xff\xd9\0\0"), is_whole(b"\xff\xd8 cut sh")
    (True, False)
    """
    for head, marker in ((b"\xff\xd8", b"\xff\xd9"), (b"\x89PNG", b"IEND\xaeB`\x82"), (b"GIF8", b"\x3b")):
        if data.startswith(head):
            return data.endswith(marker) or data.rstrip(b"\0").endswith(marker)
    if data.startswith(b"RIFF"):
        return int.from_bytes(data[4:8], "little") <= len(data) - 8
    return not data.startswith((b"II*\0", b"MM\0*"))  # a TIFF's pixels may lie anywhere in the file


def exif_orientation(data: bytes, where: str) -> int:
    """EXIF orientation, 1 (upright) to 8; 1 where it is absent or unreadable. Nothing here applies it."""
    with _open_image(data, where) as image:
        try:
            value = image.getexif().get(EXIF_ORIENTATION_TAG, 1)
        except Exception:  # a broken EXIF block does not make the pixels unusable
            return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
