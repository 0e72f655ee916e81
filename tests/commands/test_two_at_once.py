"""One folder belongs to one subject, and to one process at a time."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eval.evaluation.config import LocalizeConfig
from eval.evaluation.evaluate import localize
from eval.metrics.results_json import read_results
from eval.records.store import RecordStore
from tests.helpers.map_folders import boxed_split, smooth_maps, write_maps
from wsol.errors import UserError
from wsol.files.lock import locked
from wsol.manifest import Manifest, write_manifest


@pytest.fixture
def two(tmp_path: Path) -> list[LocalizeConfig]:
    """Two folders of maps that share a stem, so that their default place of results is the same."""
    split = boxed_split(8)
    write_manifest(Manifest("d", ("a", "b", "c"), {"test": split}), tmp_path / "m")
    found = []
    for i, name in enumerate(("cam.v1", "cam.v2")):
        write_maps(tmp_path / name, split, smooth_maps(8, seed=i))
        config = LocalizeConfig(
            score_maps=tmp_path / name, dataset=str(tmp_path / "m"), bootstrap=0, pictures=0
        )
        found.append(config)
    return found


def test_results_of_another_subject_are_not_replaced(two: list[LocalizeConfig], tmp_path: Path) -> None:
    path, _ = localize(two[0]) or (Path(), {})
    before = path.read_bytes()
    with pytest.raises(
        UserError, match=r"holds the results of another score maps, '.*cam\.v1' .* choose another --out"
    ):
        localize(two[1])
    assert path.read_bytes() == before
    localize(two[0])
    moved = tmp_path / "elsewhere"
    path.parent.rename(moved)
    assert read_results(moved)["num_images"] == 8


def test_a_folder_that_another_process_scores_into_is_refused(
    two: list[LocalizeConfig], tmp_path: Path
) -> None:
    """Two commands at once were wrong in 17 of 19 tries, and one said 100.00 for a true 0.00 for good."""
    out = tmp_path / "cam-eval"
    out.mkdir()
    with (
        locked(out, "scoring"),
        pytest.raises(
            UserError,
            match=r"another process is scoring in .*cam-eval'; wait for it, or choose another --out",
        ),
    ):
        localize(two[0])
    localize(two[0])


def test_a_block_of_another_evaluation_is_made_anew(two: list[LocalizeConfig], tmp_path: Path) -> None:
    places = [tmp_path / "a", tmp_path / "b"]
    values = []
    for config, place in zip(two, places):
        _, results = localize(_to(config, place)) or (Path(), {})
        values.append(results["protocols"]["maxboxacc"]["value"])
    block = RecordStore.open(places[1] / "records" / "test").path(0)
    block.write_bytes(RecordStore.open(places[0] / "records" / "test").path(0).read_bytes())
    with pytest.raises(UserError, match="1 of 1 blocks of records are missing or damaged"):
        RecordStore.open(places[1] / "records" / "test")
    _, results = localize(_to(two[1], places[1])) or (Path(), {})
    assert results["protocols"]["maxboxacc"]["value"] == values[1]


def test_a_number_in_results_json_that_was_edited_is_refused(two: list[LocalizeConfig]) -> None:
    path, results = localize(two[0]) or (Path(), {})
    results = json.loads(path.read_text())
    results["protocols"]["maxboxacc"]["value"] = 99.99
    path.write_text(json.dumps(results))
    with pytest.raises(UserError, match="was changed after it was written"):
        read_results(path)


def test_thresholds_are_not_chosen_on_scored_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Identical lists once gave a 'transferred' 100.00 without a note."""
    split = boxed_split(8)
    manifest = Manifest("d", ("a", "b", "c"), {"test": split, "train-fullsup": split})
    write_manifest(manifest, tmp_path / "m")
    write_maps(tmp_path / "maps", split, smooth_maps(8))
    config = LocalizeConfig(
        score_maps=tmp_path / "maps", dataset=str(tmp_path / "m"), bootstrap=0, pictures=0
    )
    _, results = localize(config) or (Path(), {})
    assert results["threshold_split"] is None
    assert "8 of 8 images of the other split" in capsys.readouterr().err
    assert not [n for n, p in results["protocols"].items() if p["definition"]["threshold"] == "transferred"]


def _to(config: LocalizeConfig, out: Path) -> LocalizeConfig:
    from dataclasses import replace

    return replace(config, out=out)
