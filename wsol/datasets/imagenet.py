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
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from wsol.datasets.boxes import Box, BoxRules
from wsol.datasets.holdout import hold_out_boxed
from wsol.datasets.imagenet_places import (
    OTHER_VAL_NAMES,
    TRAIN_PLACES,
    VAL_PLACES,
    Places,
    find_places,
    unpack_known,
)
from wsol.datasets.imagenet_texts import (
    Solutions,
    is_wnid,
    parse_ground_truth,
    parse_meta_mat,
    parse_synset_mapping,
    reference_stem,
)
from wsol.datasets.options import Optional, Unpacked, progress_bars
from wsol.datasets.parquet import left_out, unpack_imagenet
from wsol.datasets.recognise import unknown_layout
from wsol.datasets.split_builder import SplitBuilder
from wsol.datasets.text_fields import read_text
from wsol.datasets.voc_xml import parse_annotation
from wsol.datasets.wsol_metadata import read_wsol_metadata
from wsol.errors import UserError
from wsol.files.roots import FileRoot, open_root
from wsol.images import IMAGE_SUFFIXES
from wsol.manifest import Manifest, Split


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

    # --- this layout
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
