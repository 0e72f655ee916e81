"""Archives and Parquet."""

from __future__ import annotations

import gzip
import io
import json
import random
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.anatomies import (
    PARQUET,
    mutate_tar,
    tar_with_odd_members,
)
from benchmarks.doors.door import Door, in_zip
from benchmarks.fuzz_inputs import tarred, zipped
from benchmarks.mutations import (
    mutate_bytes,
)
from tests.helpers import layouts
from tests.helpers.dataset_trees import picture, tiny_files
from wsol.datasets.parquet import parquet_files, unpack_parquet
from wsol.files.archives import unpack_tar
from wsol.files.roots import open_root


def read_zip(file: Path) -> object:
    """Every member of an archive as a dataset's."""
    root = open_root(file.rename(file.with_suffix(".zip")))
    return [len(root.read_bytes(name)) for name in root.names()]


def read_tar(file: Path) -> object:
    """Unpack; what lies there afterwards must lie in the folder."""
    into = file.parent / "jail" / "out"
    try:
        return unpack_tar(file, into)
    finally:
        there = {p.name for p in file.parent.iterdir()} | {
            f"jail/{p.name}" for p in (file.parent / "jail").iterdir()
        }
        if there - {file.name, "jail", "jail/out"}:
            raise AssertionError(f"an archive left {sorted(there)}")


def odd_parquet(draw: random.Random) -> bytes:
    """A Parquet file whose columns hold other things than images, labels and boxes."""
    import pyarrow
    from pyarrow import parquet

    n = 3
    image = picture((8, 8))
    columns: dict[str, list[Any]] = {
        "image": [
            {"bytes": image, "path": draw.choice(("a/b.jpg", None, "../x", "x" * 300))} for _ in range(n)
        ],
        "label": draw.choice(
            (
                [0, 1, 9],
                ["a", "..", ""],
                [None] * n,
                [1.5] * n,
                [[1]] * n,
                [True] * n,
                [b"x"] * n,
                ["\0", "a/b", "x" * 300],
            )
        ),
        "bbox": draw.choice(
            (
                [[1.0, 2.0, 3.0, 4.0]] * n,
                [[[1, 2, 3, 4]]] * n,
                [[]] * n,
                [None] * n,
                [[1, 2]] * n,
                ["x"] * n,
                [[None] * 4] * n,
                [[float("nan")] * 4] * n,
                [{"x": 1}] * n,
            )
        ),
    }
    if draw.random() < 0.2:
        columns["image"] = draw.choice(
            (
                [image] * n,
                ["x"] * n,
                [1] * n,
                [{"path": "../x", "bytes": image}] * n,
                [{"bytes": "text", "path": 3}] * n,
            )
        )
    for name in draw.sample(sorted(columns), draw.choice((0, 0, 1))):
        columns[draw.choice(("labels", "x", "boxes", ""))] = columns.pop(name)
    feature: Any = draw.choice(({"names": ["cat", "dog"]}, {"names": 3}, {"names": [None, {}]}, [], "x"))
    text = (
        json.dumps({"info": {"features": {"label": feature}}})
        if draw.random() < 0.8
        else draw.choice(("[]", "{", "null", "[" * 9000, "\u00e9"))
    )
    stream = io.BytesIO()
    table = pyarrow.table(columns).replace_schema_metadata({"huggingface": text})
    parquet.write_table(table, stream, compression=draw.choice(("none", "snappy", "gzip", "zstd")))
    data = stream.getvalue()
    return PARQUET.mutate(data, draw) if draw.random() < 0.5 else data


def archives() -> list[Door]:
    """Zip, tar and Parquet."""
    tiny = tiny_files(1)
    tar = tarred(tiny)
    parquet = list(layouts.parquet().values())

    def compressed(data: bytes, draw: random.Random) -> bytes:
        whole = gzip.compress(mutate_tar(gzip.decompress(data), draw), 1, mtime=0)
        return mutate_bytes(whole, draw) if draw.random() < 0.3 else whole

    def unpacked(file: Path) -> object:
        return unpack_parquet(parquet_files(file.rename(file.with_suffix(".parquet"))), file.parent / "out")

    return [
        Door("archive: zip", [zipped(tiny)], partial(in_zip, mutate_bytes), read_zip, 3),
        Door("archive: tar", [tar], mutate_tar, read_tar, 2),
        Door("archive: tar of odd members", [b""], lambda _, draw: tar_with_odd_members(draw), read_tar, 2),
        Door("archive: tgz", [gzip.compress(tar, mtime=0)], compressed, read_tar),
        Door("parquet", parquet, PARQUET.mutate, unpacked),
        Door("parquet of odd content", [b""], lambda _, draw: odd_parquet(draw), unpacked),
    ]
