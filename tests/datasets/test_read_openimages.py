"""OpenImages30k: masks, ignore masks, the blank ignore column, sizes from the files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.helpers.dataset_trees import mask, picture, write_tree
from wsol import prepare
from wsol.datasets.openimages import read_openimages
from wsol.datasets.wsol_metadata import write_wsol_metadata
from wsol.errors import UserError
from wsol.files.roots import open_root
from wsol.manifest import load_manifest

CLASSES = ("01226z", "0138tl")


def openimages_files() -> tuple[dict[str, bytes], dict[str, bytes]]:
    """(images and masks, metadata): two classes; the second image of each has two instances, one of the test images no
    ignore mask."""
    files: dict[str, bytes] = {}
    lines: dict[str, list[str]] = {}
    seed = 0
    for split in ("train", "val", "test"):
        for k, name in enumerate(CLASSES):
            for i in range(2):
                seed += 1
                base = f"{split}/{name}/{seed:016x}"
                files[f"{base}.jpg"] = picture((16, 12), seed=seed)
                lines.setdefault(f"{split}/image_ids.txt", []).append(f"{base}.jpg")
                lines.setdefault(f"{split}/class_labels.txt", []).append(f"{base}.jpg,{k}")
                if split == "train":
                    continue
                ignore = "" if split == "test" and k == i == 0 else f"{base}_ignore.png"
                if ignore:
                    files[ignore] = mask((16, 12), (0, 0, 1, 12))
                for m in range(i + 1):
                    path = f"{base}_m{name}_{m:08x}.png"
                    files[path] = mask((16, 12), (4 * m, 2, 4 * m + 4, 8))
                    line = f"{base}.jpg,{path},{ignore if m == 0 else ''}"
                    lines.setdefault(f"{split}/localization.txt", []).append(line)
    return files, {name: "\n".join(rows).encode() for name, rows in lines.items()}


@pytest.mark.parametrize("place", ["metadata", "elsewhere", "beside"])
def test_fixture(tmp_path: Path, place: str) -> None:
    files, texts = openimages_files()
    root = open_root(write_tree(tmp_path / "oi", files))
    if place == "elsewhere":
        metadata = open_root(write_tree(tmp_path / "meta", {f"OpenImages/{n}": d for n, d in texts.items()}))
        manifest = read_openimages(root, metadata)
    else:
        write_tree(
            tmp_path / "oi", {f"{'metadata/' if place == 'metadata' else ''}{n}": d for n, d in texts.items()}
        )
        manifest = read_openimages(root)
    assert manifest.classes == CLASSES
    assert {r: len(s) for r, s in manifest.splits.items()} == {
        "train-weaksup": 4,
        "train-fullsup": 4,
        "test": 4,
    }
    test = manifest.split("test")
    assert [len(s.masks) for s in test] == [1, 2, 1, 2]
    assert [s.ignore_mask is None for s in test] == [True, False, False, False]
    assert all(
        root.exists(p) for s in test for p in (s.path, *s.masks, *([s.ignore_mask] if s.ignore_mask else []))
    )
    assert not manifest.split("train-weaksup").masks


def test_prepared_with_sizes_and_written_back_to_the_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, texts = openimages_files()
    write_tree(tmp_path / "oi", {**files, **{f"metadata/{n}": d for n, d in texts.items()}})
    monkeypatch.chdir(tmp_path)
    prepare.main(["openimages30k", "--source", "oi", "--out", "m", "--verify", "pixels", "--force"])
    manifest = load_manifest("m")
    assert manifest.split("test")[0].size_wh == (16, 12)
    out = write_wsol_metadata(manifest, tmp_path / "out")
    for name, data in texts.items():
        assert (out / name).read_bytes() == data


def test_metadata_of_boxes_is_refused(tmp_path: Path) -> None:
    files, texts = openimages_files()
    del texts["test/localization.txt"]
    write_tree(tmp_path, {**files, **texts})
    with pytest.raises(UserError, match="test lists no masks; this is not OpenImages30k's metadata"):
        read_openimages(open_root(tmp_path))
