"""What an unfamiliar folder looks like: the errors of readers name the layout that is there and what to do with it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable

from wsol.errors import UserError
from wsol.files.roots import FileRoot
from wsol.images import IMAGE_SUFFIXES

_LOOKED_AT = 5_000
"""How many file names of a source are looked at."""
_HEAD = 4_096

CONVERT = "convert it (docs/datasets.md, 'Other layouts', says with what)"
_BY_NAME = (
    (r"\.tfrecords?(-\d+-of-\d+)?$", "TFRecord files", CONVERT),
    (r"\.parquet$", "Parquet files", "read with `python -m wsol.prepare parquet`"),
    (r"\.(mdb|lmdb)$", "an LMDB database", CONVERT),
    (r"(^|/)labels/.*\.txt$", "YOLO's layout", "read with `python -m wsol.prepare yolo`"),
    (r"(^|/)data\.yaml$", "YOLO's layout", "read with `python -m wsol.prepare yolo`"),
    (r"(^|/)Annotations/[^/]*\.xml$", "Pascal VOC's layout", "read with `python -m wsol.prepare voc`"),
    (r"-annotations-bbox\.csv$", "OpenImages' CSV", "read with `python -m wsol.prepare openimages-csv`"),
    (
        r"(^|/)bounding_boxes\.txt$",
        "CUB's or NABirds' layout",
        "read with `python -m wsol.prepare cub200` or `nabirds`",
    ),
    (r"(^|/)wnids\.txt$", "Tiny ImageNet's layout", "read with `python -m wsol.prepare tiny-imagenet`"),
    (
        r"(^|/)image_ids\.txt$",
        "the reference metadata layout",
        "read with `python -m wsol.prepare wsol-metadata`",
    ),
    (r"(^|/)n\d{8}/[^/]*\.jpe?g$", "ImageNet's class folders", "read with `python -m wsol.prepare imagenet`"),
    (r"\.mat$", "MATLAB files", CONVERT),
)
_BY_CONTENT = (
    ((".json",), r'"shapes"\s*:.*"imagePath"|"imagePath"\s*:.*"shapes"', "LabelMe's JSON", CONVERT),
    ((".json",), r'"_via_|"shape_attributes"|"region_attributes"', "VIA's JSON", CONVERT),
    ((".json",), r'"rectanglelabels"|"original_width"', "Label Studio's JSON", CONVERT),
    ((".json",), r'"coordinates"\s*:', "Create ML's JSON", CONVERT),
    (
        (".json",),
        r'"images"\s*:|"annotations"\s*:',
        "COCO's JSON",
        "read with `python -m wsol.prepare coco --train JSON=FOLDER`",
    ),
    ((".xml",), r"<annotations>|<image\s[^>]*name=", "CVAT's XML", CONVERT),
    ((".xml",), r"<annotation>", "Pascal VOC's XML files", "read with `python -m wsol.prepare voc`"),
    ((".csv",), r"region_shape_attributes", "VIA's CSV", CONVERT),
)


def unknown_layout(root: FileRoot, expected: str, looked_for: str) -> UserError:
    """The error for a source that is not in the layout that was asked for.

    Args:
        expected: what it should have been, such as "Pascal VOC".
        looked_for: the files that were missing.
    """
    names = list(itertools.islice(root.names(), _LOOKED_AT))
    found = _recognise(root, names, expected)
    if found is None:
        tops = sorted({n.split("/", 1)[0] for n in names})
        found = f"it holds {', '.join(tops[:5])}{', ...' if len(tops) > 5 else ''}" if tops else "it is empty"
    return UserError(f"'{root.location}' does not look like {expected}: {looked_for} is missing; {found}")


def _recognise(root: FileRoot, names: Iterable[str], expected: str) -> str | None:
    visible = [n for n in names if not any(p.startswith(".") for p in n.split("/"))]
    for pattern, layout, remedy in _BY_NAME:
        if layout.startswith(expected):
            continue
        if example := next((n for n in visible if re.search(pattern, n, re.IGNORECASE)), None):
            return f"'{example}' looks like {layout}: {remedy}"
    for endings, pattern, layout, remedy in _BY_CONTENT:
        example = next((n for n in visible if n.lower().endswith(endings)), None)
        if example is None:
            continue
        head = root.read_bytes(example)[:_HEAD].decode("utf-8", "replace")
        if re.search(pattern, head, re.DOTALL):
            return f"'{example}' looks like {layout}: {remedy}"
    if any(n.lower().endswith(IMAGE_SUFFIXES) for n in visible) and any("/" in n for n in visible):
        return "images in folders: give their boxes as a table, see `python -m wsol.prepare folder --help`"
    return None


def single_top_folder(root: FileRoot, *wanted: str) -> FileRoot:
    """The only folder of a source that holds nothing else (as archives often do), where it holds one of the `wanted`
    files and the source itself does not; else the source as it is."""
    if any(root.exists(name) for name in wanted):
        return root
    tops = {n.split("/", 1)[0] for n in root.names() if not n.startswith((".", "__MACOSX/"))}
    if len(tops) == 1:
        inner = root.subfolder(tops.pop())
        if any(inner.exists(name) for name in wanted):
            return inner
    return root
