"""FiftyOne's samples: what its own `Sample.from_dict(...).to_dict()` makes of ours, recorded."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from eval.analysis.evaluated import open_evaluated, open_manifest
from eval.export.__main__ import main
from tests.helpers.builders_eval import Planted, build_dataset, evaluated_run

RECORDED = Path(__file__).parent / "recorded" / "fiftyone_samples.json"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(run, its samples)."""
    root = tmp_path_factory.mktemp("fiftyone")
    manifest = build_dataset(root / "data", test=6, fullsup=2, files=False)
    run = evaluated_run(root / "run", manifest, Planted(), bootstrap=0, protocols=("maxboxacc",))
    assert main([str(run), "--fiftyone", str(root / "samples.json")]) == 0
    return run, root / "samples.json"


def plain(value: Any) -> Any:
    """Without what FiftyOne adds of its own: ids, dates, empty fields."""
    if isinstance(value, dict):
        own = {k: plain(v) for k, v in value.items() if not k.startswith("_") or k == "_cls"}
        return {k: v for k, v in own.items() if v not in (None, [], {})}
    return [plain(v) for v in value] if isinstance(value, list) else value


def test_fiftyone_reads_them_whole(exported: tuple[Path, Path]) -> None:
    """The file names the version and the call; nothing that we write is lost or changed."""
    samples = json.loads(exported[1].read_text())
    for sample in samples:
        sample["filepath"] = Path(sample["filepath"]).name
    recorded = json.loads(RECORDED.read_text())["samples"]
    assert len(samples) == len(recorded) == 6
    for own, theirs in zip(samples, recorded):
        theirs = plain(theirs)
        theirs.pop("metadata", None)
        assert theirs == plain(own)


def test_boxes_are_shares_of_the_image(exported: tuple[Path, Path]) -> None:
    run = open_evaluated(exported[0])
    opened = open_manifest(run)
    assert isinstance(opened, tuple)
    split = opened[1]
    for row, sample in enumerate(json.loads(exported[1].read_text())):
        (w, h), boxes = split.sizes_wh[row], split.boxes(row)
        assert len(sample["ground_truth"]["detections"]) == len(boxes)
        x, y, across, down = sample["ground_truth"]["detections"][0]["bounding_box"]
        assert [x * w, y * h, (x + across) * w, (y + down) * h] == pytest.approx(boxes[0].tolist())
        assert sample["right"] == (sample["iou"] >= 0.5)


def test_images_in_an_archive_are_refused(
    exported: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data.zip").write_bytes(b"PK\x05\x06" + bytes(18))
    arguments = [str(exported[0]), "--fiftyone", str(tmp_path / "s.json")]
    assert main([*arguments, "--data-root", str(tmp_path / "data.zip")]) == 2
    assert "unpack it" in " ".join(capsys.readouterr().err.split())
