"""The embedded dataset as files: what is written, by whom it may be replaced, and nothing left behind."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from wsol.datasets.parts import (
    PART_NAMES,
    PartsConfig,
    Rendered,
    load_textures,
    read_parts,
    render,
    write_parts,
)
from wsol.errors import UserError
from wsol.manifest import SPLIT_ROLES, load_manifest

SMALL = PartsConfig(num_classes=3, image_size=32, train_per_class=3, val_per_class=1, test_per_class=2)


def shown(index: int = 0, role: str = "test", **knobs: object) -> Rendered:
    return render(replace(PartsConfig(), **knobs), role, index, load_textures())  # type: ignore[arg-type]


def same(a: Rendered, b: Rendered) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(asdict(a).values(), asdict(b).values()))


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_written_files_hold_what_was_rendered(tmp_path: Path) -> None:
    out = tmp_path / "data" / "parts"
    told: list[tuple[int, int]] = []
    manifest = write_parts(SMALL, out, lambda done, total: told.append((done, total)), workers=1)
    assert told[-1] == (18, 18)
    assert [p.name for p in out.parent.iterdir()] == ["parts"]
    assert manifest.root == str(out)
    assert manifest.part_names == PART_NAMES
    for role in SPLIT_ROLES:
        split = manifest.split(role)
        assert set(Counter(split.labels.tolist()).values()) == {len(split) // 3}
        for index, sample in enumerate(split):
            picture = render(SMALL, role, index, load_textures())
            assert sample.label == picture.label
            np.testing.assert_array_equal(sample.boxes_xyxy, picture.boxes_xyxy)
            assert sample.parts is not None
            np.testing.assert_array_equal(sample.parts, picture.parts)
            image = cv2.imread(str(out / sample.path))
            np.testing.assert_array_equal(image[..., ::-1], picture.image)
            mask = cv2.imread(str(out / sample.masks[0]), cv2.IMREAD_UNCHANGED)
            np.testing.assert_array_equal(mask, picture.mask)
            assert sample.part_mask is not None
            part_mask = cv2.imread(str(out / sample.part_mask), cv2.IMREAD_UNCHANGED)
            np.testing.assert_array_equal(part_mask, picture.part_mask)


def test_processes_change_nothing(tmp_path: Path) -> None:
    alone = write_parts(SMALL, tmp_path / "alone", workers=1)
    told: list[tuple[int, int]] = []
    shared = write_parts(SMALL, tmp_path / "shared", lambda *step: told.append(step), workers=2)
    assert told[-1] == (18, 18)  # no picture was made twice
    assert tree(tmp_path / "alone") == tree(tmp_path / "shared")
    assert alone.hash() == shared.hash()


def test_a_second_call_makes_nothing(tmp_path: Path) -> None:
    first = write_parts(SMALL, tmp_path / "parts", workers=1)
    stamps = {p: p.stat().st_mtime_ns for p in (tmp_path / "parts").rglob("*")}
    again = write_parts(SMALL, tmp_path / "parts", lambda *_: pytest.fail("pictures were made again"))
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "parts").rglob("*")} == stamps
    assert first.hash() == again.hash()


def test_a_moved_folder_is_read_where_it_lies(tmp_path: Path) -> None:
    write_parts(SMALL, tmp_path / "here", workers=1)
    (tmp_path / "here").rename(tmp_path / "there")
    manifest = read_parts(tmp_path / "there")
    assert manifest.root == str(tmp_path / "there")
    assert str(tmp_path) not in (tmp_path / "there" / "manifest.yaml").read_text()
    assert load_manifest(tmp_path / "there").hash() == manifest.hash()


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    assert len(write_parts(SMALL, tmp_path, workers=1).split("test")) == 6


def _foreign(out: Path) -> None:
    (out / "thesis.txt").write_text("dear")


def _other_knobs(out: Path) -> None:
    write_parts(replace(SMALL, body_cue=0.1), out / "x", workers=1)
    for path in (out / "x").iterdir():
        path.rename(out / path.name)


def _other_renderer(out: Path) -> None:
    (out / "config.json").write_text(
        json.dumps({"config": asdict(SMALL), "renderer_version": 0, "sha256": ""})
    )


def _broken_config(out: Path) -> None:
    (out / "config.json").write_text("{")


def _list_config(out: Path) -> None:
    (out / "config.json").write_text("[1]")


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        pytest.param(_foreign, "holds no parts dataset", id="foreign-files"),
        pytest.param(_other_knobs, r"body_cue=0\.1 \(asked for 0\.6\)", id="other-knobs"),
        pytest.param(_other_renderer, "renderer version 0", id="other-renderer"),
        pytest.param(_broken_config, r"config\.json: not the config", id="broken-config"),
        pytest.param(_list_config, r"config\.json: not the config", id="list-config"),
    ],
)
def test_a_folder_in_use_is_left_alone(tmp_path: Path, prepare, message: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    prepare(out)
    before = tree(out)
    with pytest.raises(UserError, match=message):
        write_parts(SMALL, out, workers=1)
    assert tree(out) == before


def test_out_may_not_be_a_file(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("")
    with pytest.raises(UserError, match="out"):
        write_parts(SMALL, tmp_path / "out", workers=1)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failure_leaves_nothing_behind(tmp_path: Path, workers: int) -> None:
    def fail(*_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_parts(SMALL, tmp_path / "parts", fail, workers=workers)
    assert list(tmp_path.iterdir()) == []


def test_a_worker_that_fails_is_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from wsol.datasets import parts_files

    monkeypatch.setattr(parts_files, "asdict", lambda config: {**asdict(config), "num_classes": 99})
    with pytest.raises(UserError, match="num_classes must be"):
        write_parts(SMALL, tmp_path / "parts", workers=2)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_written_elsewhere(tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
home = sys.argv[1]
def watch(event, args):
    if event == "open" and isinstance(args[0], str) and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        assert Path(args[0]).resolve().is_relative_to(home), args[0]
    if event in ("os.mkdir", "os.rename"):
        assert Path(args[0]).resolve().is_relative_to(home), args[0]
sys.dont_write_bytecode = True
sys.addaudithook(watch)
from wsol.datasets.parts import PartsConfig, write_parts
write_parts(PartsConfig(num_classes=2, image_size=32, train_per_class=1, val_per_class=1, test_per_class=1),
            Path(home) / "parts", workers=1)
"""
    run = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path.resolve())], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["parts"]


def test_importing_the_reader_loads_nothing_heavy() -> None:
    code = "import sys, wsol.datasets.parts; print({'torch', 'skimage', 'matplotlib', 'numba'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
