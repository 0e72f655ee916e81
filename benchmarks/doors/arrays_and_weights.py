"""Score maps and other people's checkpoints."""

from __future__ import annotations

import io
import random
from functools import partial
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from safetensors.torch import save

from benchmarks.anatomies import (
    HDF5,
    PNG,
    mutate_npy,
    mutate_safetensors,
)
from benchmarks.doors.door import Door, Reader, in_zip, mutate_checkpoint
from benchmarks.doors.images import encoded
from eval.maps.map_stores import UnreadableMapError, open_store
from tests.helpers.dummy_network import TinyNet
from wsol.errors import UserError
from wsol.models import load_external_classifier


def read_maps(name: str, file: Path) -> object:
    """Every map of a store, `file` placed where a store of its kind has it."""
    if name.startswith("folder"):
        (file.parent / "maps").mkdir()
        file.rename(file.parent / "maps" / f"a.{name.rpartition(' ')[2]}")
        file = file.parent / "maps"
    store = open_store(file)
    try:
        return [(n, store.stamp(n), None if (a := store.read(n)) is None else a.shape) for n in store.names()]
    except UnreadableMapError as error:
        raise UserError(str(error)) from error


def plain_hdf5(version: str, compression: str | None) -> bytes:
    """Maps as people keep them: in groups, perhaps in compressed chunks."""
    stream = io.BytesIO()
    with h5py.File(stream, "w", libver=version) as file:
        for name in ("a", "b/c", "b/d"):
            chunks = (3, 5) if compression else None
            file.create_dataset(name, data=np.ones((6, 5), "f4"), compression=compression, chunks=chunks)
    return stream.getvalue()


def odd_hdf5(draw: random.Random) -> bytes:
    """An HDF5 file of what the format allows: types, shapes, filters, links, other files' values."""
    stream = io.BytesIO()
    with h5py.File(stream, "w", libver=draw.choice(("earliest", "latest"))) as file:
        for k in range(draw.randint(1, 4)):
            name = draw.choice(("a", "b/c", "d", "e")) + str(k)
            what = draw.randrange(8)
            shape = tuple(draw.choice((0, 1, 3, 7, 5000, 60000)) for _ in range(draw.randint(0, 4)))
            if what == 0:
                file[name] = draw.choice(
                    (h5py.SoftLink("/a0"), h5py.SoftLink("/"), h5py.ExternalLink("/etc/passwd", "/"))
                )
            elif what == 1:
                layout = h5py.VirtualLayout((4, 4), "f4")
                layout[:] = h5py.VirtualSource("/etc/passwd", "x", (4, 4))
                file.create_virtual_dataset(name, layout)
            elif what == 2:
                file.create_dataset(name, (8,), "u1", external=[("/etc/passwd", 0, 8)])
            elif what == 3:
                file[name] = draw.choice(
                    ("text", b"bytes", np.array(["x"], "S3"), np.zeros(3, "c8"), np.zeros(2, [("x", "f4")]))
                )
            elif what == 4:
                file.create_group(name)["x"] = h5py.SoftLink("..")
            elif what == 5:
                file.create_dataset(
                    name,
                    shape,
                    draw.choice(("f4", "f8", "u1", "i8", "?", "f2")),
                    chunks=True if shape and 0 not in shape else None,
                )
            else:
                file.create_dataset(
                    name,
                    data=np.zeros((6, 5), "f4"),
                    compression=draw.choice((None, "gzip", "lzf")),
                    chunks=(3, 5),
                )
    data = stream.getvalue()
    return HDF5.mutate(data, draw) if draw.random() < 0.5 else data


def weights(state: dict[str, torch.Tensor], **options: Any) -> bytes:
    stream = io.BytesIO()
    torch.save({"state_dict": state, "epoch": 3, "best": np.float64(1.5)}, stream, **options)
    return stream.getvalue()


def npz(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def arrays_and_weights() -> list[Door]:
    """Score maps and other people's checkpoints."""
    a = np.random.default_rng(0).random((6, 5)).astype(np.float32)
    state = TinyNet().state_dict()
    tensors = {"a": torch.rand(6, 5), "b/c": torch.rand(1, 7, 7)}
    stream = io.BytesIO()
    np.save(stream, a)
    npy = stream.getvalue()
    hdf5 = [plain_hdf5(v, c) for v in ("earliest", "latest") for c in (None, "gzip")]
    one, many = io.BytesIO(), io.BytesIO()
    torch.save(tensors["a"], one)
    torch.save(tensors, many)

    def external(ending: str) -> Reader:
        return lambda f: load_external_classifier(f.rename(f.with_suffix(ending)), "tiny", input_size=32)

    def stored(ending: str) -> Reader:
        return lambda f: read_maps(ending, f.rename(f.with_suffix(f".{ending}")))

    legacy = weights(state, _use_new_zipfile_serialization=False)
    compressed = npz(a=a, b=a)
    return [
        Door("maps: folder npy", [npy], mutate_npy, lambda f: read_maps("folder npy", f), 3),
        Door(
            "maps: folder png",
            [encoded("PNG", "L"), encoded("PNG")],
            PNG.mutate,
            lambda f: read_maps("folder png", f),
        ),
        Door("maps: folder pt", [one.getvalue()], mutate_checkpoint, lambda f: read_maps("folder pt", f)),
        Door("maps: npz", [compressed], partial(in_zip, mutate_npy), stored("npz"), 3),
        Door("maps: HDF5", hdf5, HDF5.mutate, stored("h5"), 2),
        Door("maps: HDF5 of odd content", [b""], lambda _, draw: odd_hdf5(draw), stored("h5"), 2),
        Door("maps: pt", [many.getvalue()], mutate_checkpoint, stored("pt"), 2),
        Door("checkpoint: safetensors", [save(state)], mutate_safetensors, external(".safetensors"), 4),
        Door("checkpoint: torch", [weights(state)], mutate_checkpoint, external(".pth"), 4),
        Door("checkpoint: torch before 1.6", [legacy], mutate_checkpoint, external(".pth"), 2),
    ]
