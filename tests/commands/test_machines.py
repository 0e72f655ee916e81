"""Machines as they are: output that cannot spell a name, pictures whose font lacks its characters."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from tests.helpers.dataset_trees import picture, write_tree
from wsol.manifest import load_manifest
from wsol.pictures import fit_text

ROOT = Path(__file__).resolve().parents[2]


def run(arguments: list[str], cwd: Path, **environment: str) -> subprocess.CompletedProcess[bytes]:
    env = {**os.environ, "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=cwd, env=env, capture_output=True, check=False
    )


@pytest.mark.parametrize("encoding", ["cp1252", "ascii"])
def test_names_that_the_output_cannot_spell_are_escaped(tmp_path: Path, encoding: str) -> None:
    files = {
        f"{c}/{i}.png": picture((20, 10), "PNG", seed=10 * k + i)
        for k, c in enumerate("桃梨")
        for i in range(4)
    }
    files["boxes.csv"] = "\n".join(["image,x0,y0,x1,y1", *(f"{n},1,1,9.5,20" for n in files)]).encode()
    write_tree(tmp_path / "src", files)
    done = run(
        ["wsol.prepare", "folder", "--source", "src", "--out", "m"],
        tmp_path,
        PYTHONIOENCODING=f"{encoding}:strict",
    )
    assert done.returncode == 2
    assert b"\\u68" in done.stderr
    assert b"Traceback" not in done.stderr
    done = run(
        ["wsol.prepare", "folder", "--source", "src", "--out", "m", "--clip-boxes"],
        tmp_path,
        PYTHONIOENCODING=f"{encoding}:strict",
    )
    assert done.returncode == 0, done.stderr
    assert load_manifest(tmp_path / "m").classes == ("桃", "梨")


@pytest.mark.parametrize(
    ("text", "drawn"),
    [("Größe", "Größe"), ("Кот λ", "Кот λ"), ("桃", "U+6843 "), ("a\nb", "a?b")],
)
def test_pictures_hold_no_empty_squares(text: str, drawn: str) -> None:
    pen = ImageDraw.Draw(Image.new("RGB", (9, 9)))
    assert fit_text(pen, text, 500) == drawn
