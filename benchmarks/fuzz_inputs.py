"""Broken inputs by the thousand: each gives a manifest that holds, or one clear error; never anything else.

    python benchmarks/fuzz_inputs.py [--cases 100000] [--seed 0] [--kinds voc,coco]
    python benchmarks/fuzz_inputs.py --kinds prepare --cases 10000      # whole commands, on every layout
    python benchmarks/fuzz_inputs.py --kinds own --own 'voc --source FOLDER --zero-based' --own 'coco --source ...'

Each case takes a small valid dataset (texts, XML, JSON, CSV, YAML, zip and tar archives), breaks one of its files in
one to four places, and reads it. Accepted outcomes:

- a manifest: it is audited, and a share of them is written and read back with the same hash;
- one `UserError` that names the broken file, the root, or an image of it; for text files mostly with its line.

Anything else is a defect and ends the run with the case's seed. Archives must leave nothing behind when they are
refused, and never a file outside their folder; a share of the cases runs the whole command, which must leave a whole
manifest or none.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import gzip
import io
import json
import random
import re
import shlex
import shutil
import sys
import tarfile
import tempfile
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.mutations import mutate_bytes
from tests.datasets.test_read_coco import coco
from tests.datasets.test_read_cub import cub_files
from tests.datasets.test_read_folder import box_lines, own_files
from tests.datasets.test_read_imagenet import LAYOUTS, devkit, train_files, val_files
from tests.datasets.test_read_openimages import openimages_files
from tests.datasets.test_read_voc import voc_files
from tests.datasets.test_read_wsol_metadata import BOXES
from tests.helpers import layouts
from tests.helpers.dataset_trees import tiny_files, write_tree
from tests.helpers.layouts import Layout
from wsol import preparation, prepare
from wsol.audit import audit_manifest
from wsol.datasets import cards
from wsol.datasets.cards import parse_card
from wsol.datasets.coco import read_coco
from wsol.datasets.cub import read_cub
from wsol.datasets.folder import read_folder
from wsol.datasets.imagenet import read_imagenet
from wsol.datasets.openimages import read_openimages
from wsol.datasets.tiny_imagenet import read_tiny_imagenet
from wsol.datasets.voc import read_voc
from wsol.datasets.wsol_metadata import read_wsol_metadata
from wsol.errors import UserError
from wsol.files.archives import unpack_tar
from wsol.files.roots import FileRoot, open_root, safe_relative
from wsol.images import IMAGE_SUFFIXES
from wsol.manifest import Manifest, Sample, Split, load_manifest, write_manifest

Files = dict[str, bytes]


class MemoryRoot(FileRoot):
    """A dataset held in memory, so that a hundred thousand of them cost no disk."""

    def __init__(self, files: Files, location: str = "/memory", prefix: str = "") -> None:
        self.location = f"{location}/{prefix}".rstrip("/")
        self._files = files
        self._prefix = f"{prefix}/" if prefix else ""

    def read_bytes(self, path: str) -> bytes:
        if not safe_relative(path) or self._prefix + path not in self._files:
            raise UserError(f"file '{path}' is missing under '{self.location}'")
        return self._files[self._prefix + path]

    def exists(self, path: str) -> bool:
        return safe_relative(path) and self._prefix + path in self._files

    def names(self, under: str = "") -> Iterator[str]:
        prefix = self._prefix + (f"{under.strip('/')}/" if under else "")
        return (n[len(self._prefix) :] for n in sorted(self._files) if n.startswith(prefix))

    def names_in(self, folders: Set[str]) -> Iterator[str]:
        return (n for n in self.names() if n.rpartition("/")[0] in folders)

    def stamp(self, path: str) -> tuple[int, int] | None:
        return (len(self._files[path]), 0) if self.exists(path) else None

    def subfolder(self, path: str) -> FileRoot:
        return MemoryRoot(self._files, "/memory", self._prefix + path) if path else self


@dataclass(frozen=True)
class Kind:
    """A valid dataset, which of its files are broken, and how it is read."""

    files: Files
    broken: tuple[str, ...]
    read: Callable[[Files], Manifest | None]


def metadata_tree() -> Files:
    return {f"test/{name}": text.encode() for name, text in BOXES.items()}


def manifest_files(scratch: Path) -> Files:
    rows = [Sample(f"d/{i}.jpg", f"d/{i}.jpg", i % 2, (20, 10)) for i in range(4)]
    write_manifest(
        Manifest("toy", ("cat", "dog"), {"test": Split.from_samples(rows)}), scratch / "valid", source="x"
    )
    return {p.name: p.read_bytes() for p in (scratch / "valid").iterdir()}


def read_manifest_files(files: Files, scratch: Path) -> Manifest:
    return load_manifest(write_tree(scratch / "m", files))


def read_card_file(files: Files) -> None:
    try:
        text = files["dataset.yaml"].decode()
    except UnicodeDecodeError as error:
        raise UserError("dataset.yaml: not UTF-8 text") from error
    parse_card(text, "dataset.yaml")


def read_coco_masks(files: Files, scratch: Path) -> Manifest:
    """Segmentations decoded by pycocotools, whose C code trusts its input."""
    root = open_root(write_tree(scratch / "in", files))
    return read_coco(root, {"test": "ann.json=pics"}, masks_into=scratch / "out", several_classes="largest")


def zipped(files: Files) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(
                zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED
            )  # no clock: a seed means one case
    return stream.getvalue()


def tarred(files: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return stream.getvalue()


def read_zip(files: Files, scratch: Path) -> Manifest:
    (scratch / "data.zip").write_bytes(files["data.zip"])
    root = open_root(scratch / "data.zip")
    manifest = read_tiny_imagenet(root, holdout_per_class=1)
    for sample in manifest.split("test"):
        with contextlib.suppress(UserError):
            root.read_bytes(sample.path)
    return manifest


def read_tar(files: Files, scratch: Path) -> Manifest:
    (name,) = files
    (scratch / name).write_bytes(files[name])
    try:
        unpack_tar(scratch / name, scratch / "jail" / "out")
    except UserError:
        left = list((scratch / "jail").iterdir()) if (scratch / "jail").exists() else []
        if left:
            raise AssertionError(f"a refused archive left {left}") from None
        raise
    finally:
        outside = [p.name for p in scratch.iterdir() if p.name not in (name, "jail", "valid")]
        if outside:
            raise AssertionError(f"an archive wrote outside its folder: {outside}")
    return read_tiny_imagenet(open_root(scratch / "jail" / "out"), holdout_per_class=1)


def run_command(files: Files, scratch: Path) -> Manifest:
    """The whole command, from disk to disk."""
    write_tree(scratch / "own", files)
    out = scratch / "made"
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            prepare.main(["folder", "--source", str(scratch / "own"), "--out", str(out)])
    except UserError:
        if out.exists():
            raise AssertionError("a refused dataset left a manifest folder") from None
        raise
    return load_manifest(out)


def run_prepare(layout: Layout, scratch: Path, files: Files) -> Manifest:
    """`prepare` on a layout of tests/helpers/layouts.py; every image of the source must be in a split or be counted."""
    source = write_tree(scratch / "source", files)
    name, *options = layout.command
    options = [f"{source}{o.removeprefix('SOURCE')}" if o.startswith("SOURCE") else o for o in options]
    out = scratch / "made"
    sheets = (
        contextlib.nullcontext()
        if random.random() < SHEETS
        else mock.patch.object(preparation, "write_sheet")
    )
    with contextlib.redirect_stdout(io.StringIO()), sheets:
        prepare.main([name, *options, "--source", str(source), "--out", str(out)])
    manifest = load_manifest(out)
    named = {split.path(row) for split in manifest.splits.values() for row in range(len(split))}
    named |= {mask for split in manifest.splits.values() for masks in split.masks.values() for mask in masks}
    named |= {mask for split in manifest.splits.values() for mask in split.ignore_masks.values()}
    below = source.as_posix()[len(manifest.root or "") :].strip("/") if manifest.root else ""
    there = {
        f"{below}/{n}".strip("/") for n in open_root(source).names() if n.lower().endswith(IMAGE_SUFFIXES)
    }
    findings = json.loads((out / "audit.json").read_text(encoding="utf-8"))["findings"]
    counted = sum(f["count"] for f in findings if f["check"] == "surplus")
    if manifest.root is not None and len(there - named) > counted:
        raise AssertionError(f"{len(there - named)} images are in no split, but {counted} are counted")
    return manifest


def own_layout(command: str) -> Layout:
    """A dataset on disk and its command, which names it with --source."""
    name, *options = shlex.split(command)
    at = options.index("--source")
    source = options[at + 1]
    del options[at : at + 2]
    options = [f"SOURCE{o.removeprefix(source)}" if o.startswith(source) else o for o in options]
    files = {p.relative_to(source).as_posix(): p.read_bytes() for p in Path(source).rglob("*") if p.is_file()}
    return Layout((name, *options), files, 0)


def prepare_kinds(scratch: Path, owned: Sequence[str] = ()) -> dict[str, Kind]:
    """The layouts that lie in folders, and those of `owned` commands, each read by the whole command."""
    found = {}
    every = {f"prepare: {n}": layout for n, layout in layouts.LAYOUTS.items() if "zip" not in n}
    every |= {f"own: {k + 1} {c.split()[0]}": own_layout(c) for k, c in enumerate(owned)}
    for name, layout in every.items():
        texts = [n for n in layout.files if not n.lower().endswith(IMAGE_SUFFIXES)]
        pictures = [n for n in layout.files if n not in texts][:2]
        run = functools.partial(run_prepare, layout, scratch)
        found[name] = Kind(layout.files, (*texts, *pictures), run)
    return found


def kinds(scratch: Path, owned: Sequence[str] = ()) -> dict[str, Kind]:
    """Every kind of input, with the datasets of `owned` commands."""
    images, texts = openimages_files()
    photographs = {**own_files(2), "boxes.csv": box_lines(2)}
    tiny = tiny_files(2)
    nothing = dict.fromkeys(train_files() | val_files(), b"")
    coco_file = {"ann.json": json.dumps(coco(), indent=0).encode()}
    csv_layout = {**LAYOUTS["folders, kaggle csv"], **nothing}
    xml_layout = {**LAYOUTS["flat val, xml"], **nothing}
    kit = {**nothing, **devkit()}
    names = tuple(n for n in tiny if n.endswith(".txt"))
    return {
        "tiny-imagenet": Kind(tiny, names, lambda f: read_tiny_imagenet(MemoryRoot(f), holdout_per_class=1)),
        "wsol-metadata": Kind(
            metadata_tree(), tuple(metadata_tree()), lambda f: read_wsol_metadata(MemoryRoot(f))
        ),
        "openimages": Kind({**images, **texts}, tuple(texts), lambda f: read_openimages(MemoryRoot(f))),
        "cub": Kind(
            cub_files(2),
            tuple(n for n in cub_files(2) if n.endswith(".txt")),
            lambda f: read_cub(MemoryRoot(f), holdout_per_class=1),
        ),
        "imagenet-csv": Kind(csv_layout, ("LOC_val_solution.csv",), lambda f: read_imagenet(MemoryRoot(f))),
        "imagenet-xml": Kind(
            xml_layout,
            tuple(n for n in xml_layout if n.endswith(".xml")),
            lambda f: read_imagenet(MemoryRoot(f)),
        ),
        "imagenet-devkit": Kind(kit, tuple(devkit()), lambda f: read_imagenet(MemoryRoot(f))),
        "voc": Kind(
            voc_files(),
            tuple(n for n in voc_files() if n.endswith((".xml", ".txt"))),
            lambda f: read_voc(MemoryRoot(f), several_classes="largest"),
        ),
        "coco": Kind(coco_file, ("ann.json",), lambda f: read_coco(MemoryRoot(f), {"test": "ann.json=pics"})),
        "coco-masks": Kind(coco_file, ("ann.json",), lambda f: read_coco_masks(f, scratch)),
        "folder": Kind(
            photographs,
            ("boxes.csv",),
            lambda f: read_folder(MemoryRoot(f), f["boxes.csv"], "/memory/boxes.csv"),
        ),
        "card": Kind(
            {"dataset.yaml": (Path(cards.__file__).parent / "card_files" / "cub200.yaml").read_bytes()},
            ("dataset.yaml",),
            read_card_file,
        ),
        "manifest": Kind(
            manifest_files(scratch), ("manifest.yaml", "test.csv"), lambda f: read_manifest_files(f, scratch)
        ),
        "zip": Kind({"data.zip": zipped(tiny)}, ("data.zip",), lambda f: read_zip(f, scratch)),
        "tar": Kind({"data.tar": tarred(tiny)}, ("data.tar",), lambda f: read_tar(f, scratch)),
        "tgz": Kind(
            {"data.tgz": gzip.compress(tarred(tiny), mtime=0)}, ("data.tgz",), lambda f: read_tar(f, scratch)
        ),
        "command": Kind(photographs, tuple(photographs), lambda f: run_command(f, scratch)),
        **prepare_kinds(scratch, owned),
    }


SHEETS = 0.1
"""Share of whole commands that draw their contact sheet too."""
WEIGHTS = {
    "zip": 0.3,
    "tar": 0.15,
    "tgz": 0.15,
    "manifest": 0.7,
    "command": 0.02,
    "imagenet-devkit": 0.01,
    "coco-masks": 0.5,
}


def clear(scratch: Path) -> None:
    """Remove what the case before left."""
    for leftover in scratch.iterdir():
        if leftover.name != "valid":
            shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


def run_case(kind: Kind, seed: int, scratch: Path) -> str:
    """One case; returns 'manifest', 'error' or 'error with line', and raises AssertionError on anything else."""
    draw = random.Random(seed)
    name = draw.choice(kind.broken)
    files = {**kind.files, name: mutate_bytes(kind.files[name], draw)}
    clear(scratch)
    try:
        manifest = kind.read(files)
        if manifest is not None:
            audit_manifest(manifest)
            if seed % 25 == 0:
                write_manifest(manifest, scratch / "back")
                if load_manifest(scratch / "back").hash() != manifest.hash():
                    raise AssertionError("written and read back, the manifest differs")
        return "manifest"
    except UserError as error:
        message = str(error)
        if "\n" in message.replace("\\n", "") and "Traceback" in message:
            raise AssertionError(f"not one line: {message!r}") from error
        places = (name.rpartition("/")[2], "/memory", str(scratch), "image", "'--", "errors", "error,")
        if not any(place in message for place in places):
            raise AssertionError(f"the error names no place: {message!r}") from error
        return "error with line" if re.search(r"\.\w+:\d+: ", message) else "error"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kinds", default="", help="comma-separated; default: all")
    parser.add_argument(
        "--own", action="append", default=[], help="a command of wsol.prepare with --source FOLDER"
    )
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    place = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(dir=place) as folder:
        scratch = Path(folder)
        every = kinds(scratch, options.own)
        wanted = options.kinds.split(",")
        chosen = [n for n in every if not options.kinds or n in wanted or n.partition(":")[0] in wanted]
        if options.kinds in ("prepare", "own"):
            WEIGHTS.update(dict.fromkeys(chosen, 1.0))
        outcomes: dict[str, Counter[str]] = {name: Counter() for name in chosen}
        shares = [WEIGHTS.get(name, 0.005 if name.startswith("prepare:") else 1.0) for name in chosen]
        start, cpu = time.perf_counter(), time.process_time()
        for case in range(options.cases):
            seed = options.seed * 1_000_000_000 + case
            name = random.Random(seed ^ 0xA5A5).choices(chosen, shares)[0]
            try:
                outcomes[name][run_case(every[name], seed, scratch)] += 1
            except Exception as error:
                print(f"DEFECT in {name}, seed {seed}: {type(error).__name__}: {error}", file=sys.stderr)
                raise
        print(f"{'kind':<52}{'cases':>8}{'manifest':>10}{'error':>8}{'of these with line':>20}")
        for name, found in outcomes.items():
            lined = found["error with line"]
            print(
                f"{name:<52}{found.total():>8}{found['manifest']:>10}{found['error'] + lined:>8}{lined:>20}"
            )
        seconds = f"{time.perf_counter() - start:.0f} s ({time.process_time() - cpu:.0f} s of CPU)"
        print(f"{options.cases} cases, seed {options.seed}, no defect, {seconds}")


if __name__ == "__main__":
    main()
