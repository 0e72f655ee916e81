"""Every layout that people hold, on a small fixture: read, prepared, audited, scored, and no image unaccounted for."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from eval import localize
from eval.metrics.results_json import read_results
from tests.helpers import layouts
from tests.helpers.dataset_trees import write_tree
from tests.helpers.layouts import BOX, LAYOUTS, SIZE, Layout
from tests.helpers.oracles import oracle
from wsol import prepare
from wsol.files.roots import open_root
from wsol.images import IMAGE_SUFFIXES
from wsol.manifest import Manifest, load_manifest


def prepared(layout: Layout, folder: Path) -> Manifest:
    source = write_tree(folder / "source", layout.files)
    if set(layout.files) == {"data.zip"}:
        source = source / "data.zip"
    name, *options = layout.command
    options = [str(source) if o == "SOURCE" else o for o in options]
    prepare.main([name, *options, "--source", str(source), "--out", str(folder / "m")])
    return load_manifest(folder / "m")


def check(layout: Layout, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    manifest = prepared(layout, folder)
    test = manifest.split("test")
    assert len(test) == layout.test_images
    findings = json.loads((folder / "m" / "audit.json").read_text())["findings"]
    kinds = {f["check"] for f in findings if f["severity"] == "error"}
    assert kinds <= {"counts", "classes"}, (
        findings
    )  # a small copy of a published dataset lacks images, nothing else
    if layout.box is not None:
        np.testing.assert_allclose(test.boxes_xyxy, [layout.box] * len(test), atol=1e-6)
        assert (test.sizes_wh == SIZE).all()
    _every_image_is_accounted_for(manifest, findings, layout)
    if layout.command[0] == "openimages30k":  # masks: a map of the right box scores perfectly
        protocol, scored = "pxap", ["--score-maps", str(_maps(manifest, folder / "maps"))]
    else:
        protocol, scored = "maxboxacc", ["--control", "center_gaussian"]
    options = ["--protocols", protocol, "--bootstrap", "0", "--pictures", "0"]
    localize.main([*scored, "--manifest", "m", "--out", "e", *options])
    results = read_results(folder / "e")
    assert results["protocols"][protocol]["value"] > 0
    assert results["counts"]["images"] == layout.test_images


def _maps(manifest: Manifest, folder: Path) -> Path:
    """For each test image a score map that is 1 inside its box."""
    x0, y0, x1, y1 = BOX
    m = np.zeros((30, 40), np.float32)
    m[y0:y1, x0:x1] = 1
    for image_id in manifest.split("test").image_ids:
        file = folder / f"{image_id}.npy"
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, m)
    return folder


def _every_image_is_accounted_for(
    manifest: Manifest, findings: list[dict[str, object]], layout: Layout
) -> None:
    assert manifest.root is not None
    if layout.command[0] in ("parquet", "imagenet") and any(n.endswith(".parquet") for n in layout.files):
        return  # rows of tables, not files
    named = {s.path(i) for s in manifest.splits.values() for i in range(len(s))}
    named |= {m for s in manifest.splits.values() for masks in s.masks.values() for m in masks}
    every = {
        n
        for n in open_root(manifest.root).names()
        if n.lower().endswith(IMAGE_SUFFIXES) and "/m/" not in f"/{n}"
    }
    surplus = sum(int(str(f["count"])) for f in findings if f["check"] == "surplus")
    assert len(every - named) == surplus


@pytest.mark.parametrize("name", list(LAYOUTS))
def test_read_prepared_audited_scored(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if "masks" in name:
        oracle("pycocotools")
    check(LAYOUTS[name], tmp_path, monkeypatch)


@pytest.mark.parametrize("name", ["parquet with boxes", "imagenet"])
def test_parquet(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pyarrow")
    if name == "imagenet":
        layout = Layout(
            ("imagenet", "--force", "--unpack-to", "unpacked"), layouts.imagenet_parquet(), 4, (11, 7, 30, 24)
        )
    else:
        layout = Layout(("parquet", "--unpack-to", "unpacked"), layouts.parquet(), 4)
    check(layout, tmp_path, monkeypatch)


def test_at_least_sixteen_layouts() -> None:
    assert len({layout.command[0] for layout in LAYOUTS.values()}) >= 9
    assert len(LAYOUTS) >= 16
