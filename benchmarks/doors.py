"""Every door of docs/security.md: valid files, how they are broken, and how the commands read them.

`doors(folder)` is the table; `benchmarks.fuzz_doors` runs it.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import random
import shutil
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import h5py
import numpy as np
import torch
import yaml
from PIL import Image
from safetensors.torch import save

from benchmarks.anatomies import (
    BMP,
    GIF,
    HDF5,
    JPEG,
    PARQUET,
    PNG,
    TIFF,
    WEBP,
    ZIP,
    Anatomy,
    mutate_npy,
    mutate_pickle,
    mutate_safetensors,
    mutate_tar,
    repacked,
    tar_with_odd_members,
)
from benchmarks.fuzz_inputs import tarred, zipped
from benchmarks.mutations import (
    mutate_bytes,
    mutate_csv,
    mutate_json,
    mutate_json_lines,
    mutate_tree,
    mutate_xml,
)
from eval.maps.map_stores import UnreadableMapError, open_store
from eval.maps.predictions import Predictions
from eval.maps.stored import StoredMaps
from eval.metrics.results_json import read_results
from eval.overview.table import print_overview
from eval.protocols.chosen import load_protocols
from eval.records.predicted_boxes import read_boxes
from eval.records.store import RecordStore
from eval.study.design import read_design
from tests.datasets.test_read_coco import coco
from tests.datasets.test_read_folder import box_lines
from tests.datasets.test_read_voc import voc_files
from tests.helpers import layouts
from tests.helpers.builders_eval import Planted, build_dataset, evaluated_run
from tests.helpers.dataset_trees import picture, tiny_files
from tests.helpers.dummy_network import TinyNet
from tests.helpers.evaluations import make_run
from wsol.class_map import output_names
from wsol.datasets import cards
from wsol.datasets.cards import parse_card
from wsol.datasets.coco_json import parse_coco
from wsol.datasets.folder import parse_box_csv
from wsol.datasets.imagenet_texts import Solutions
from wsol.datasets.parquet import parquet_files, unpack_parquet
from wsol.datasets.text_fields import decode_text
from wsol.datasets.voc_xml import parse_annotation
from wsol.errors import UserError
from wsol.files.archives import unpack_tar
from wsol.files.checked_safetensors import load_tensors, save_tensors
from wsol.files.roots import open_root
from wsol.files.seal import sealed
from wsol.files.strict_json import read_json
from wsol.files.strict_yaml import read_yaml
from wsol.images import decode_grey, decode_rgb, exif_orientation, image_size_wh
from wsol.manifest import load_manifest, split_hash
from wsol.models import load_external_classifier
from wsol.runs.record import load_run
from wsol.training.config import load_config_file
from wsol.training.log import trim_log

Reader = Callable[[Path], object]
Mutator = Callable[[bytes, random.Random], bytes]


@dataclass(frozen=True)
class Door:
    """One kind of file: its name, valid ones, how they are broken, how they are read, and how often."""

    name: str
    seeds: Sequence[bytes]
    mutate: Mutator
    read: Reader
    weight: float = 1.0


def seeded(write: Callable[[str], object], ending: str = "") -> bytes:
    """What a function writes to a path."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"x{ending}"
        write(str(file))
        return file.read_bytes()


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


def resealed(data: bytes, draw: random.Random) -> bytes:
    """A record of our own with values changed and its checksum made to fit."""
    if draw.random() < 0.2:
        return mutate_json(data, draw)
    try:
        found = mutate_tree(json.loads(data), draw)
        return json.dumps(sealed(found) if isinstance(found, dict) else found).encode()
    except (RecursionError, ValueError):
        return b"[" * 5000


def mutate_yaml(data: bytes, draw: random.Random, seal: bool = False) -> bytes:
    """A YAML text: its values (then resealed, where the file carries a checksum), or its characters."""
    if draw.random() < 0.4:
        return mutate_bytes(data, draw)
    try:
        found = mutate_tree(yaml.safe_load(data), draw)
        if seal and isinstance(found, dict):
            found = sealed(found)
        return yaml.safe_dump(found, sort_keys=False, allow_unicode=True).encode("utf-8", "surrogatepass")
    except (RecursionError, ValueError, yaml.YAMLError):
        return b"a: [" * 5000


def mutate_checkpoint(data: bytes, draw: random.Random) -> bytes:
    """A file of torch.save: its pickle's opcodes, its storages, or the zip around them."""
    if data[:2] != b"PK":
        return mutate_pickle(data, draw) if draw.random() < 0.8 else mutate_bytes(data, draw)
    if draw.random() < 0.2:
        return ZIP.mutate(data, draw)

    def change(name: str, content: bytes) -> bytes:
        return mutate_bytes(content, draw) if not name.endswith(".pkl") else mutate_pickle(content, draw)

    for _ in range(8):  # most of its members are storages; what is read is in the pickle
        found = repacked(data, change, draw)
        if found != data:
            return found
    return found


def in_zip(change: Mutator, data: bytes, draw: random.Random) -> bytes:
    """A zip around mutated members, or a mutated zip."""
    return (
        ZIP.mutate(data, draw) if draw.random() < 0.4 else repacked(data, lambda _, c: change(c, draw), draw)
    )


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


def weights(state: dict[str, torch.Tensor], **options: Any) -> bytes:
    stream = io.BytesIO()
    torch.save({"state_dict": state, "epoch": 3, "best": np.float64(1.5)}, stream, **options)
    return stream.getvalue()


def npz(**arrays: Any) -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    return stream.getvalue()


def own_records(folder: Path) -> list[Door]:
    """Files that this project wrote itself, read as its commands read them; `folder` keeps what they lie beside."""
    manifest = build_dataset(folder / "data", test=24, fullsup=8, files=False)
    scored = evaluated_run(folder / "scored", manifest, Planted(), bootstrap=20) / "eval"
    make_run(folder / "run", folder / "data" / "manifest")
    records, maps = scored / "records" / "test", scored / "maps" / "test"
    split = manifest.split("test")

    def beside(original: Path, read: Callable[[Path], object]) -> Reader:
        """Reads a copy of the folder in which one file is the mutated one."""

        def reader(file: Path) -> object:
            there = file.parent / "there"
            shutil.copytree(original.parent, there)
            file.replace(there / original.name)
            return read(there)

        return reader

    def stored(there: Path) -> object:
        store = RecordStore.open(there)
        return [[block._arrays[name].shape for name in block._arrays] for block in store.blocks()]

    def kept(there: Path) -> object:
        store = StoredMaps.open(there, split_hash(split), len(split))
        return [len(batch.maps["resize"]) for batch in store.batches(np.arange(len(split)))]

    def run(there: Path) -> object:
        found = load_run(there)
        return (
            found.spec,
            found.make_method(),
            found.classes,
            found.manifest_folder,
            found.status,
            found.weights,
        )

    def log(there: Path) -> object:
        trim_log(there / "log.jsonl", 3)
        return None

    head = maps / "maps.json"
    lines = b"".join(
        json.dumps({"epoch": k, "train_loss": 1.5, "seconds": 2.0}).encode() + b"\n" for k in range(4)
    )
    (folder / "log").mkdir()
    (folder / "log" / "log.jsonl").write_bytes(lines)
    index, results, record = records / "index.json", scored / "results.json", folder / "run" / "run.yaml"
    block, rows = records / "block-000000.npz", folder / "data" / "manifest"
    listed = partial(mutate_yaml, seal=True)
    return [
        Door(
            "own: results.json",
            [results.read_bytes()],
            resealed,
            lambda f: read_results(f.rename(f.with_name("results.json"))),
            2,
        ),
        Door("own: results.json, listed", [results.read_bytes()], resealed, overview, 0.2),
        Door("own: index.json", [index.read_bytes()], resealed, beside(index, stored)),
        Door("own: maps.json", [head.read_bytes()], resealed, beside(head, kept)),
        Door("own: blocks", [block.read_bytes()], partial(in_zip, mutate_npy), beside(block, stored), 2),
        Door("own: run.yaml", [record.read_bytes()], listed, beside(record, run), 2),
        Door("own: log.jsonl", [lines], mutate_json_lines, beside(folder / "log" / "log.jsonl", log)),
        Door(
            "own: manifest.yaml",
            [(rows / "manifest.yaml").read_bytes()],
            listed,
            beside(rows / "manifest.yaml", load_manifest),
        ),
        Door(
            "own: manifest rows",
            [(rows / "test.csv").read_bytes()],
            mutate_csv,
            beside(rows / "test.csv", edited),
        ),
        Door(
            "own: weights",
            [seeded(lambda f: save_tensors(f, TinyNet().state_dict(), {"a": 1}))],
            mutate_safetensors,
            load_tensors,
            2,
        ),
    ]


def edited(there: Path) -> object:
    """A manifest whose rows may differ from its checksum, as `prepare --check` reads it."""
    return load_manifest(there, edited=True).hash()


def overview(file: Path) -> object:
    """The table of scored runs, without its text."""
    file.rename(file.with_name("results.json"))
    with contextlib.redirect_stdout(io.StringIO()):
        print_overview([file.parent])
    return None


def texts() -> list[Door]:
    """Annotations and settings."""
    classes = ("cat", "dog")
    voc = next(d for n, d in voc_files().items() if n.endswith(".xml"))
    results = json.dumps(
        [{"image_id": "a.jpg", "bbox": [1, 2, 3, 4], "score": 0.5, "category_id": 1}] * 3
    ).encode()
    solution = b"ImageId,PredictionString\nILSVRC2012_val_48981,n03995372 85 1 499 272 \nILSVRC2012_val_2,n03995372\n"
    parts = (Path(__file__).parents[1] / "studies" / "parts-cues.yaml").read_bytes()
    card = (Path(cards.__file__).parent / "card_files" / "cub200.yaml").read_bytes()
    protocols = b"a:\n  based_on: maxboxacc_v2\n  iou_thresholds: [0.9]\nb:\n  based_on: maxboxacc\n  frame_size: 112\n"
    config = b"method: cutmix\nepochs: 3\nlr: 0.1\nmilestones: [1, 2]\nschedule: step\n"
    instances = json.dumps(coco()).encode()
    boxes = box_lines(3)
    ranks, scores = b"image_id,rank\na.jpg,1\nb.jpg,2\n", b"image_id,cat,dog\na.jpg,1,0.5\nb.jpg,2,3e4\n"
    predicted = b"image_id,x0,y0,x1,y1,score,class\na.jpg,1,2,3,4,0.5,cat\nb.jpg,1,2,3,4,0.25,1\n"

    def decoded(parse: Callable[[str, str], object]) -> Reader:
        return lambda f: parse(decode_text(f.read_bytes(), f.name), f.name)

    def renamed(ending: str, read: Callable[[Path], object]) -> Reader:
        return lambda f: read(f.rename(f.with_suffix(ending)))

    return [
        Door("json: any", [instances, b'{"a": [1, 2, {"b": null}]}'], mutate_json, read_json),
        Door("json: COCO", [instances], mutate_json, decoded(parse_coco), 3),
        Door(
            "json: COCO results",
            [results],
            mutate_json,
            renamed(".json", lambda f: read_boxes(f, classes)),
            2,
        ),
        Door(
            "json: class map",
            [b'{"0": ["n01", "cat"], "1": "dog"}'],
            mutate_json,
            renamed(".json", lambda f: output_names(f, 2, "it")),
        ),
        Door("yaml: any", [card, b"a: [1, {b: c}]\n"], mutate_yaml, read_yaml),
        Door("yaml: card", [card], mutate_yaml, decoded(parse_card)),
        Door("yaml: protocols", [protocols], mutate_yaml, load_protocols, 2),
        Door("yaml: settings", [config], mutate_yaml, load_config_file, 2),
        Door("yaml: study", [parts], mutate_yaml, read_design),
        Door("xml: VOC", [voc], mutate_xml, lambda f: parse_annotation(f.read_bytes(), f.name), 4),
        Door(
            "csv: boxes",
            [boxes, box_lines(2, "image;x;y;width;height", "{c}/{c}{i}.png;{i};1;{j};9")],
            mutate_csv,
            decoded(parse_box_csv),
            3,
        ),
        Door("csv: predicted boxes", [predicted], mutate_csv, lambda f: read_boxes(f, classes), 2),
        Door("csv: predictions", [ranks, scores], mutate_csv, lambda f: Predictions.read(f, classes), 2),
        Door(
            "csv: Kaggle's solution",
            [solution],
            mutate_csv,
            decoded(lambda t, w: list(Solutions(t, w).items())),
        ),
        Door(
            "csv: class map",
            [b"n01440764 tench\nn01443537 goldfish (dog)\n"],
            mutate_bytes,
            lambda f: output_names(f, 2, "it"),
        ),
    ]


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


def archives_and_images() -> list[Door]:
    """Archives, Parquet and images."""
    tiny = tiny_files(1)
    tar = tarred(tiny)
    parquet = list(layouts.parquet().values())
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
    images = [
        Door(f"image: {name}", seeds, form.mutate, read_image, 3 if name in ("png", "jpeg", "tiff") else 2)
        for name, (form, seeds) in forms.items()
    ]

    def compressed(data: bytes, draw: random.Random) -> bytes:
        whole = gzip.compress(mutate_tar(gzip.decompress(data), draw), 1, mtime=0)
        return mutate_bytes(whole, draw) if draw.random() < 0.3 else whole

    def unpacked(file: Path) -> object:
        return unpack_parquet(parquet_files(file.rename(file.with_suffix(".parquet"))), file.parent / "out")

    return [
        *images,
        Door("archive: zip", [zipped(tiny)], partial(in_zip, mutate_bytes), read_zip, 3),
        Door("archive: tar", [tar], mutate_tar, read_tar, 2),
        Door("archive: tar of odd members", [b""], lambda _, draw: tar_with_odd_members(draw), read_tar, 2),
        Door("archive: tgz", [gzip.compress(tar, mtime=0)], compressed, read_tar),
        Door("parquet", parquet, PARQUET.mutate, unpacked),
        Door("parquet of odd content", [b""], lambda _, draw: odd_parquet(draw), unpacked),
    ]


def doors(folder: Path) -> list[Door]:
    """Every door."""
    return [*texts(), *own_records(folder), *arrays_and_weights(), *archives_and_images()]
