"""ImageNet (ILSVRC 2012) classification with its CLS-LOC boxes, in the layouts that people hold.

Under one folder (or zip), each found by itself or named by an option:

    train/<wnid>/*.JPEG              also ILSVRC/Data/CLS-LOC/train; tars and Parquet files are unpacked first
    val/*.JPEG, val/<wnid>/*.JPEG    flat or in class folders
    boxes of train and val           <wnid>/<name>.xml or <name>.xml, CLS-LOC's XML; or Kaggle's
                                     LOC_train_solution.csv and LOC_val_solution.csv, with boxes or without
    labels of a flat val             Kaggle's CSV, the XML, the devkit (meta.mat and the ground truth), or the
                                     wnid at the end of the names that Hugging Face's archives have
    ImageNetV2                       <0..999>/*.jpeg, with the reference metadata's boxes: train-fullsup

Labels follow the sorted wnids. ImageNetV2's folders are the labels as integers: they are compared as numbers, never
sorted as text. All boxes of an image are kept, corners inclusive, as the files have them.
"""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from wsol.datasets.boxes import Box, BoxRules
from wsol.datasets.holdout import hold_out_boxed
from wsol.datasets.options import Optional, Unpacked, progress_bars
from wsol.datasets.parquet import left_out, unpack_imagenet
from wsol.datasets.recognise import unknown_layout
from wsol.datasets.split_builder import SplitBuilder
from wsol.datasets.text_fields import at_line, numbered_lines, read_text, split_fields, to_box, to_int
from wsol.datasets.voc_xml import parse_annotation
from wsol.datasets.wsol_metadata import read_wsol_metadata
from wsol.errors import UserError
from wsol.files.archives import Progress, unpack_tar
from wsol.files.roots import FileRoot, open_root
from wsol.images import IMAGE_SUFFIXES
from wsol.manifest import Manifest, Split

WNID = ("n", 9)
"""A class folder's name: this letter, and this many characters in all."""
TRAIN_PLACES = ("train", "ILSVRC/Data/CLS-LOC/train", "Data/CLS-LOC/train", "ILSVRC2012_img_train")
VAL_PLACES = ("val", "ILSVRC/Data/CLS-LOC/val", "Data/CLS-LOC/val", "ILSVRC2012_img_val")
OTHER_VAL_NAMES = ("validation", "valid", "test", "eval")
"""Folders that are no known place of the val images, but may be meant as one."""
XML_PLACES = ("ILSVRC/Annotations/CLS-LOC/", "Annotations/CLS-LOC/", "bbox_val/", "bbox/", "bbox_")
DEVKIT_PLACES = ("ILSVRC2012_devkit_t12/data", "devkit/ILSVRC2012_devkit_t12/data", "devkit/data")
V2_PLACES = ("val2", "imagenetv2-threshold0.7", "val2/imagenetv2-threshold0.7")
ARCHIVES = {
    "ILSVRC2012_img_train.tar": "train",
    "ILSVRC2012_img_val.tar": "val",
    "ILSVRC2012_devkit_t12.tar.gz": "devkit",
    "ILSVRC2012_bbox_train_v2.tar.gz": "bbox_train",
    "ILSVRC2012_bbox_val_v3.tgz": "bbox_val",
    "imagenetv2-threshold0.7.tar.gz": "val2",
}
"""Known archives, and the folder that each is unpacked to."""
TABLES = ("LOC_train_solution.csv", "LOC_val_solution.csv", "LOC_synset_mapping.txt")


@dataclass(frozen=True)
class Truth:
    """What Kaggle's CSV says of one image."""

    wnid: str
    boxes: tuple[Box, ...]


def is_wnid(name: str) -> bool:
    """
    >>> is_wnid("n01440764"), is_wnid("0"), is_wnid("images")
    (True, False, False)
    """
    return len(name) == WNID[1] and name[0] == WNID[0] and name[1:].isascii() and name[1:].isdigit()


def parse_solution_row(row: str) -> tuple[str, Truth]:
    """One line of Kaggle's LOC_*_solution.csv: `name,wnid x0 y0 x1 y1 [wnid x0 y0 x1 y1 ...]`, or
    `name,wnid` without boxes.

    >>> parse_solution_row("ILSVRC2012_val_00048981,n03995372")[1].boxes
    ()
    >>> parse_solution_row("ILSVRC2012_val_00048981,n03995372 85 1 499 272 ")[1].boxes
    ((85.0, 1.0, 499.0, 272.0),)
    """
    name, prediction = split_fields(row, 2, ",", "ImageId,PredictionString")
    fields = prediction.split()
    if not name or not fields or (len(fields) % 5 and len(fields) != 1):
        raise ValueError(f"expected 'name,wnid x0 y0 x1 y1 ...' or 'name,wnid', got {row!r:.80}")
    wnids = fields[::5]
    if not all(is_wnid(w) for w in wnids):
        raise ValueError(f"{next(w for w in wnids if not is_wnid(w))!r:.40} is not a wnid")
    boxes = () if len(fields) == 1 else tuple(to_box(fields[i + 1 : i + 5]) for i in range(0, len(fields), 5))
    return name, Truth(wnids[0], boxes)


def reference_stem(stem: str) -> str:
    """The name without the wnid that Hugging Face's archives append to it.

    >>> reference_stem("ILSVRC2012_val_00000001_n01440764"), reference_stem("n01440764_10026_n01440764")
    ('ILSVRC2012_val_00000001', 'n01440764_10026')
    >>> reference_stem("n01440764_10026")
    'n01440764_10026'
    """
    return re.sub(r"(?<=\d)_n\d{8}$", "", stem)


class Solutions(Mapping[str, Truth]):
    """Kaggle's CSV, kept as text lines and parsed on demand, so that half a million rows stay small."""

    def __init__(self, text: str, where: str) -> None:
        self._where = where
        self._lines: dict[str, tuple[int, str]] = {}
        for number, line in numbered_lines(text):
            if number == 1 and line.startswith("ImageId,"):
                continue
            with at_line(where, number):
                name = line.partition(",")[0].strip()
                if name in self._lines:
                    raise ValueError(f"image '{name}' is listed twice")
                self._lines[name] = (number, line)

    def __getitem__(self, name: str) -> Truth:
        number, line = self._lines[name]
        with at_line(self._where, number):
            return parse_solution_row(line)[1]

    def __iter__(self) -> Iterator[str]:
        return iter(self._lines)

    def __len__(self) -> int:
        return len(self._lines)


def parse_ground_truth(text: str, where: str) -> list[int]:
    """The devkit's validation ground truth: line i holds the ILSVRC id (from 1) of val image i."""
    ids: list[int] = []
    for number, line in numbered_lines(text):
        with at_line(where, number):
            ids.append(to_int(line, "ILSVRC id"))
    return ids


# scipy's reader can crash the whole interpreter on a broken file (seen in benchmarks/fuzz_inputs.py), so it works in a
# process of its own.
_READ_META = """
import io, json, sys
from scipy.io import loadmat
synsets = loadmat(io.BytesIO(sys.stdin.buffer.read()), squeeze_me=True)["synsets"]
print(json.dumps([(int(s[0]), str(s[1])) for s in synsets if int(s[4]) == 0]))
"""


def parse_meta_mat(data: bytes, where: str) -> dict[int, str]:
    """The devkit's meta.mat: ILSVRC id to wnid, of the 1,000 leaves."""
    try:
        command = [sys.executable, "-I", "-c", _READ_META]
        done = subprocess.run(command, input=data, capture_output=True, timeout=120, check=True)
        found = {int(number): str(wnid) for number, wnid in json.loads(done.stdout)}
    except (subprocess.SubprocessError, ValueError, TypeError) as error:
        raise UserError(f"{where}: not the devkit's meta.mat; unpack the devkit again") from error
    if not found or not all(is_wnid(w) for w in found.values()):
        raise UserError(f"{where}: not the devkit's meta.mat (no leaf has a wnid)")
    return found


def parse_synset_mapping(text: str, where: str) -> dict[str, str]:
    """Kaggle's LOC_synset_mapping.txt: `wnid names`."""
    found: dict[str, str] = {}
    for number, line in numbered_lines(text):
        with at_line(where, number):
            wnid, _, names = line.partition(" ")
            if not is_wnid(wnid):
                raise ValueError(f"expected 'wnid names', got {line!r:.60}")
            found[wnid] = names.strip()
    return found


# --- read ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Places:
    """Where things are under the root; None where they are not."""

    train: str | None
    val: str | None
    v2: str | None = None
    train_xml: str | None = None
    val_xml: str | None = None
    train_csv: str | None = None
    val_csv: str | None = None
    devkit: str | None = None
    synsets: str | None = None


def find_places(root: FileRoot) -> Places:
    """Look for the known layouts, in the order of this module's constants."""

    def folder(candidates: tuple[str, ...]) -> str | None:
        return next((c for c in candidates if next(root.names(c), None) is not None), None)

    def file(name: str) -> str | None:
        return next((p for p in (name, f"ILSVRC/{name}") if root.exists(p)), None)

    return Places(
        train=folder(TRAIN_PLACES),
        val=folder(VAL_PLACES),
        v2=folder(V2_PLACES),
        train_xml=folder(tuple(f"{p}train" for p in XML_PLACES)),
        val_xml=folder(tuple(f"{p}val" for p in XML_PLACES)),
        train_csv=file("LOC_train_solution.csv"),
        val_csv=file("LOC_val_solution.csv"),
        devkit=next((p for p in DEVKIT_PLACES if root.exists(f"{p}/meta.mat")), None),
        synsets=file("LOC_synset_mapping.txt"),
    )


def unpack_known(source: Path, into: Path, progress: Progress | None = None) -> Path:
    """Unpack the official archives of a folder (or one of them) below `into`; returns the folder to read. A
    folder without such archives is returned as it is."""
    folder = source if source.is_dir() else source.parent
    names = [n for n in ARCHIVES if (folder / n).is_file() and (source.is_dir() or source.name == n)]
    if not names:
        return source
    for name in names:
        nested = name == "ILSVRC2012_img_train.tar"
        unpack_tar(folder / name, into / ARCHIVES[name], nested=nested, progress=progress)
    for name in TABLES:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, into / name)
    return into


@dataclass(frozen=True)
class Found:
    """What a source of boxes says of one image, and the file that says it."""

    wnid: str | None = None
    boxes: tuple[Box, ...] = ()
    size_wh: tuple[int, int] = (0, 0)
    where: str = ""


class BoxSource:
    """Boxes (and for val, labels) of images by file stem: from Kaggle's CSV, else from XML files, else none.

    `matched` counts the images that the source knows; `missed` is the first that it does not.
    """

    def __init__(self, root: FileRoot, csv: str | None, xml: str | None) -> None:
        self._root = root
        self._xml = xml
        self._csv = Solutions(read_text(root, csv), f"{root.location}/{csv}") if csv is not None else None
        self.name = "LOC_*_solution.csv" if csv is not None else "XML files" if xml is not None else "no file"
        self.matched = 0
        self.missed = ""

    def look(self, stem: str, folder: str | None) -> Found:
        """What is known of an image; nothing is fine."""
        found = self._look(stem, folder)
        if found.where:
            self.matched += 1
        elif not self.missed:
            self.missed = stem
        return found

    def _look(self, stem: str, folder: str | None) -> Found:
        if self._csv is not None:
            truth = self._csv.get(stem)
            return Found(truth.wnid, truth.boxes, where=self.name) if truth is not None else Found()
        if self._xml is None:
            return Found()
        for path in (f"{self._xml}/{folder}/{stem}.xml" if folder else "", f"{self._xml}/{stem}.xml"):
            if path and self._root.exists(path):
                where = f"{self._root.location}/{path}"
                found = parse_annotation(self._root.read_bytes(path), where)
                wnid = found.objects[0].name if found.objects else None
                return Found(wnid, tuple(o.box for o in found.objects), found.size_wh or (0, 0), where)
        return Found()

    def check_matches(self, split: str) -> None:
        """Refuse a source of boxes of which nothing belongs to any image, by one name of each."""
        if self.matched or not self.missed or self.name == "no file":
            return
        one = (
            next(iter(self._csv), "nothing")
            if self._csv is not None
            else next(self._root.names(self._xml or ""), "nothing")
        )
        raise UserError(
            f"'{self._root.location}': {self.name} matches no image of the {split} split: the first image is called "
            f"'{self.missed}', the first entry '{one}'; move the file away, or rename what it names"
        )


def read_imagenet(
    root: FileRoot,
    *,
    places: Places | None = None,
    v2_metadata: FileRoot | None = None,
    holdout_per_class: int = 10,
    seed: int = 0,
    rules: BoxRules | None = None,
) -> Manifest:
    """Read ImageNet. Image ids are the reference's: `val/<file>`, `val2/<label>/<file>`, and `train/<wnid>/<file>`.

    train-fullsup is ImageNetV2 where its folder and the reference metadata are given, else a seeded hold-out of those
    training images that have boxes, else absent.
    """
    rules = rules or BoxRules()
    at = places or find_places(root)
    if at.train is None and at.val is None:
        raise unknown_layout(
            root, "ImageNet", f"a folder with files called one of {', '.join((*TRAIN_PLACES, *VAL_PLACES))}"
        )
    train_files = _train_files(root, at.train) if at.train is not None else {}
    wnids = sorted(train_files) or _val_wnids(root, at)
    label_of = {wnid: k for k, wnid in enumerate(wnids)}
    notes: list[str] = []
    splits: dict[str, Split] = {}
    if at.train is not None:
        boxes = BoxSource(root, at.train_csv, at.train_xml)
        splits["train-weaksup"] = _read_train(at.train, train_files, boxes, rules, notes)
        notes.append(f"boxes of the training images from {boxes.name}")
    if at.v2 is not None and v2_metadata is not None:
        splits["train-fullsup"] = _read_v2(root, at.v2, v2_metadata, len(wnids))
        notes.append("train-fullsup is ImageNetV2, with the reference metadata's boxes")
    elif "train-weaksup" in splits and len(splits["train-weaksup"].boxes_xyxy):
        notes.extend(hold_out_boxed(splits, wnids, holdout_per_class, seed))
    else:
        notes.append(
            "no train-fullsup: neither ImageNetV2 with its metadata nor boxes of training images were there"
        )
    if at.val is not None:
        splits["test"] = _read_val(root, at, label_of, rules, notes)
    else:
        others = [n for n in OTHER_VAL_NAMES if next(root.names(n), None) is not None]
        instead = f"; there is '{others[0]}': rename it to val if it holds the val images" if others else ""
        notes.append(f"no test split: no folder is called one of {', '.join(VAL_PLACES)}{instead}")
    names = parse_synset_mapping(read_text(root, at.synsets), at.synsets) if at.synsets else {}
    return Manifest(
        dataset="imagenet",
        classes=tuple(f"{w} {names[w]}" if w in names else w for w in wnids),
        splits=splits,
        root=root.location,
        corners="inclusive",
        notes=tuple(notes),
    )


def _train_files(root: FileRoot, place: str) -> dict[str, list[str]]:
    """Image files by class folder, in one walk."""
    cut = len(place) + 1
    found: dict[str, list[str]] = {}
    for name in root.names(place):
        wnid, _, file = name[cut:].partition("/")
        if file and is_wnid(wnid) and _is_image(file):
            found.setdefault(wnid, []).append(name)
    if not found:
        raise unknown_layout(root, "ImageNet", f"a class folder ({place}/n01440764, ...) with images")
    return found


def _val_wnids(root: FileRoot, at: Places) -> list[str]:
    place = at.val or ""
    folders = {n[len(place) + 1 :].split("/", 1)[0] for n in root.names(place)}
    if wnids := sorted(f for f in folders if is_wnid(f)):
        return wnids
    if at.val_csv is not None:
        solutions = Solutions(read_text(root, at.val_csv), f"{root.location}/{at.val_csv}")
        return sorted({truth.wnid for truth in solutions.values()})
    if at.devkit is not None:
        return sorted(set(_devkit_wnids(root, at.devkit).values()))
    if at.val_xml is not None:
        boxes = BoxSource(root, None, at.val_xml)
        stems = (n.rpartition("/")[2].rpartition(".")[0] for n in root.names(at.val or ""))
        return sorted({w for w in (boxes.look(reference_stem(s), None).wnid for s in stems) if w is not None})
    names = (n.rpartition("/")[2].rpartition(".")[0] for n in root.names(place))
    if wnids := sorted({n[-9:] for n in names if reference_stem(n) != n}):
        return wnids
    raise UserError(
        f"'{root.location}': the classes are not known: no class folders (n01440764, ...), no LOC_val_solution.csv, no "
        "devkit (meta.mat), no XML"
    )


def _devkit_wnids(root: FileRoot, place: str) -> dict[int, str]:
    return parse_meta_mat(root.read_bytes(f"{place}/meta.mat"), f"{root.location}/{place}/meta.mat")


def _is_image(name: str) -> bool:
    return name.lower().endswith(IMAGE_SUFFIXES) and not name.rpartition("/")[2].startswith(".")


def _read_train(
    place: str, files: dict[str, list[str]], boxes: BoxSource, rules: BoxRules, notes: list[str]
) -> Split:
    builder = SplitBuilder(rules)
    cut = len(place) + 1
    for label, wnid in enumerate(sorted(files)):
        for name in sorted(files.pop(wnid)):
            stem, _, ending = name[cut:].partition("/")[2].rpartition(".")
            found = boxes.look(reference_stem(stem), wnid)
            _add(builder, f"train/{wnid}/{reference_stem(stem)}.{ending}", label, name, found)
    if boxes.name.startswith("LOC"):  # XML files of training images cover a part of the classes
        boxes.check_matches("train-weaksup")
    notes.extend(builder.notes("train-weaksup"))
    return builder.build()


def _add(builder: SplitBuilder, image_id: str, label: int, path: str, found: Found) -> None:
    builder.add(image_id, label, path=path, size_wh=found.size_wh, boxes_xyxy=found.boxes, where=found.where)


def _read_val(
    root: FileRoot, at: Places, label_of: Mapping[str, int], rules: BoxRules, notes: list[str]
) -> Split:
    place = at.val or ""
    boxes = BoxSource(root, at.val_csv, at.val_xml)
    notes.append(f"boxes of the test images from {boxes.name}")
    names = sorted((n for n in root.names(place) if _is_image(n)), key=lambda n: n.rpartition("/")[2])
    devkit = _devkit_labels(root, at.devkit, names) if at.devkit is not None else {}
    builder = SplitBuilder(rules)
    for name in names:
        folder, _, file = name[len(place) + 1 :].rpartition("/")
        above = folder.rpartition("/")[2]
        written, _, ending = file.rpartition(".")
        stem = reference_stem(written)
        found = boxes.look(stem, folder or None)
        stated = found.wnid
        appended = written[-9:] if stem != written else None
        wnid = above if is_wnid(above) else stated or devkit.get(stem) or appended
        if wnid is None:
            raise UserError(
                f"image '{name}' has no label: it lies in no class folder, and neither {boxes.name} nor the devkit "
                "names it; pass LOC_val_solution.csv, the XML files or the devkit"
            )
        if stated is not None and stated != wnid:
            raise UserError(f"image '{name}' lies in class folder {wnid}, but {boxes.name} says {stated}")
        if wnid not in label_of:
            raise UserError(f"image '{name}' is of class {wnid}, which no training folder has")
        _add(builder, f"val/{stem}.{ending}", label_of[wnid], name, found)
    boxes.check_matches("test")
    notes.extend(builder.notes("test"))
    return builder.build()


def _devkit_labels(root: FileRoot, place: str, names: list[str]) -> dict[str, str]:
    """Stem of each val image to its wnid, by the number in its name."""
    wnid_of = _devkit_wnids(root, place)
    where = f"{place}/ILSVRC2012_validation_ground_truth.txt"
    truth = parse_ground_truth(read_text(root, where), f"{root.location}/{where}")
    found: dict[str, str] = {}
    for name in names:
        stem = reference_stem(name.rpartition("/")[2].rpartition(".")[0])
        number = stem.rpartition("_")[2]
        if number.isascii() and number.isdigit() and 1 <= int(number) <= len(truth):
            wnid = wnid_of.get(truth[int(number) - 1])
            if wnid is None:
                raise UserError(
                    f"{root.location}/{where}:{int(number)}: id {truth[int(number) - 1]} is not in meta.mat"
                )
            found[stem] = wnid
    return found


def _read_v2(root: FileRoot, place: str, metadata: FileRoot, num_classes: int) -> Split:
    reference = read_wsol_metadata(
        metadata, dataset_folder=None if metadata.exists("val/image_ids.txt") else "ILSVRC"
    ).split("train-fullsup")
    for image_id, label in zip(reference.image_ids, reference.labels.tolist()):
        folder = image_id.split("/")[-2] if image_id.count("/") else ""
        if folder != str(label) or label >= num_classes:
            raise UserError(
                f"'{metadata.location}': image '{image_id}' has label {label}, but its folder is '{folder}'"
            )
    return reference.replace(paths=[f"{place}/{i.partition('/')[2]}" for i in reference.image_ids])


@dataclass(frozen=True)
class ImageNet(Unpacked):
    """ImageNet (ILSVRC 2012): official tars or folders, or Hugging Face's Parquet files; boxes from XML or Kaggle's
    CSV, ImageNetV2 as train-fullsup."""

    v2_metadata: Optional[Path] = None
    """Reference metadata (folder or zip) with ImageNetV2's boxes; its images lie in SOURCE/val2."""
    holdout: int = 10
    """Boxed training images a class that become train-fullsup where there is no ImageNetV2."""
    seed: int = 0
    """Seed of the hold-out."""

    @property
    def held_out(self) -> bool:
        return self.v2_metadata is None

    def read(self, source: Path) -> Manifest:
        into = self.unpack_folder("imagenet")
        with progress_bars() as progress:
            folder = unpack_imagenet(source, into, progress) or unpack_known(source, into, progress)
        manifest = read_imagenet(
            open_root(folder),
            v2_metadata=open_root(self.v2_metadata) if self.v2_metadata else None,
            holdout_per_class=self.holdout,
            seed=self.seed,
            rules=self.rules,
        )
        return dataclasses.replace(manifest, notes=(*manifest.notes, *left_out(folder)))
