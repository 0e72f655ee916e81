"""ImageNet's own files of labels and boxes: Kaggle's CSV, the devkit, the names of classes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from wsol.datasets.boxes import Box
from wsol.datasets.text_fields import at_line, numbered_lines, split_fields, to_box, to_int
from wsol.errors import UserError

WNID = ("n", 9)
"""A class folder's name: this letter, and this many characters in all."""


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
