"""Files are read through their doors only: nothing else in the product parses a file that somebody may have written."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOORS = {
    r"\byaml\.(safe_load|load|full_load|unsafe_load)": ("wsol/files/strict_yaml.py",),
    r"\bjson\.loads?\(": (
        "wsol/files/strict_json.py",
        "wsol/datasets/parts_files.py",  # from a process of our own
        "wsol/datasets/imagenet_texts.py",  # from a process of our own
        "wsol/runs/made_by.py",  # of a text made in the same line
        "eval/metrics/results_json.py",  # of a text made in the same line
    ),
    r"\bnp\.(load|fromfile|memmap|genfromtxt|loadtxt)\(": (
        "wsol/datasets/parts_textures.py",
    ),  # photographs of an installed package
    r"\bImage\.open\(": ("wsol/images.py",),
    r"\bcv2\.imread\(": (),
    r"\btarfile\.open\(": ("wsol/files/archives.py",),
    r"\bzipfile\.ZipFile\(": ("wsol/files/roots.py", "wsol/files/arrays.py", "wsol/files/torch_files.py"),
    r"\bh5py\.File\(": ("eval/maps/map_stores.py",),
    r"\btorch\.load\(": (
        "wsol/files/torch_files.py",
        "wsol/models/checkpoint_files.py",  # in the text of an error
    ),
    r"\b(safe_open|load_file)\(": ("wsol/files/checked_safetensors.py", "wsol/models/checkpoint_files.py"),
    r"\bpickle\.loads?\(": (),
    r"\b(ElementTree|etree|minidom|expat)\b": ("wsol/datasets/voc_xml.py",),
}


def product() -> list[Path]:
    return [f for package in ("wsol", "eval") for f in sorted((ROOT / package).rglob("*.py"))]


def test_nothing_reads_a_file_another_way() -> None:
    found = []
    for file in product():
        name = file.relative_to(ROOT).as_posix()
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
            code = line.split("#")[0]
            if code.lstrip().startswith(("import ", "from ")):
                continue
            for pattern, doors in DOORS.items():
                if re.search(pattern, code) and name not in doors:
                    found.append(f"{name}:{number}: {code.strip()}")
    assert not found, "read through a door of wsol/files instead:\n" + "\n".join(found)


def test_every_exception_is_used() -> None:
    """One that nobody needs any more would hide the next."""
    for pattern, doors in DOORS.items():
        for name in doors:
            assert re.search(pattern, (ROOT / name).read_text(encoding="utf-8")), (
                f"{name} does not use {pattern}"
            )
