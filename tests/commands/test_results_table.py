"""`eval.results_table`: entries with all their fields, and the page; the entries of this repository among them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from eval.metrics.results_json import write_results
from eval.protocols import PROTOCOLS, short_hash
from eval.records.measures import MEASURES
from eval.results_table.__main__ import main
from eval.results_table.entries import read_entry
from tests.helpers.builders_eval import EVIL, Planted, build_dataset, evaluated_run
from wsol.errors import UserError

SEEDED = sorted((Path(__file__).parents[2] / "results").glob("*.json"))
GOOD: dict[str, Any] = {
    "schema": 1,
    "kind": "measured",
    "method": "cam",
    "network": "resnet50",
    "dataset": "CUB",
    "split": "test",
    "source": "here",
    "num_images": 5794,
    "maps_sha256": "0" * 64,
    "command": "python -m eval.localize RUN",
    "numbers": {
        "maxboxacc": {
            "value": 60.0,
            "ci95": [58.0, 62.0],
            "protocol_hash": short_hash(PROTOCOLS["maxboxacc"]),
        }
    },
}

GRID: dict[str, Any] = {
    "side": 2,
    "layout": "one",
    "chance": 25.0,
    "num_grids": 9,
    "definition_hash": "0" * 8,
    "energy": {"network": {"value": 60.0, "ci95": [50.0, 70.0]}},
}


@pytest.mark.parametrize("file", SEEDED, ids=lambda f: f.stem)
def test_every_entry_of_this_repository_has_all_its_fields(file: Path) -> None:
    entry = read_entry(file)
    assert entry.kind == "measured" or "arXiv" in entry.source
    assert not any(place in file.read_text() for place in ("/tmp/", "/work/", "/home/"))


def test_there_are_measured_and_published_entries() -> None:
    assert {read_entry(f).kind for f in SEEDED} == {"measured", "published"}


@pytest.mark.parametrize("field", [k for k in GOOD if k != "schema"])
def test_an_entry_without_a_field_is_refused(field: str, tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text(json.dumps(GOOD))
    assert read_entry(file).method == "cam"
    file.write_text(json.dumps({k: v for k, v in GOOD.items() if k != field}))
    with pytest.raises(UserError, match=field):
        read_entry(file)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"kind": "guessed"}, "expected one of measured, published"),
        ({"command": None}, "a measured result needs 'command'"),
        ({"maps_sha256": ""}, "needs 'maps_sha256'"),
        ({"extra": 1}, "'extra' is no field"),
        ({"numbers": {}}, "holds no number"),
        ({"numbers": {"nonsense": {}}}, "nonsense is no protocol or measure"),
        ({"number": {"ci95": None}}, "needs its interval"),
        ({"number": {"value": 160.0}}, "expected a percentage"),
        ({"number": {"protocol_hash": "00000000"}}, "was defined otherwise"),
        (
            {"error_costs": {"protocol": "maxboxacc", "gains": {"bad luck": {}}}},
            "expected a protocol and gains",
        ),
        (
            {"error_costs": {"protocol": "maxboxacc", "gains": {"part": {"value": 3.0}}}},
            "part: expected a percentage",
        ),
        ({"grid": {**GRID, "energy": {}}}, "expected energy by network, random weights"),
        ({"grid": {**GRID, "chance": "low"}}, "'chance' must be a number"),
    ],
)
def test_what_is_no_result_is_refused(change: dict[str, Any], words: str, tmp_path: Path) -> None:
    data = json.loads(json.dumps(GOOD))
    data["numbers"]["maxboxacc"].update(change.pop("number", {}))
    (tmp_path / "a.json").write_text(json.dumps({**data, **change}))
    with pytest.raises(UserError, match=words):
        read_entry(tmp_path / "a.json")


def test_published_numbers_may_lack_what_papers_do_not_say(tmp_path: Path) -> None:
    data = {**GOOD, "kind": "published", "num_images": None, "maps_sha256": None, "command": None}
    data["numbers"] = {"maxboxacc": {**GOOD["numbers"]["maxboxacc"], "ci95": None}}
    (tmp_path / "a.json").write_text(json.dumps(data))
    assert read_entry(tmp_path / "a.json").numbers["maxboxacc"]["ci95"] is None


def test_runs_become_entries_and_a_page(tmp_path: Path) -> None:
    manifest = build_dataset(tmp_path, test=12, fullsup=4)
    run = evaluated_run(
        tmp_path / "run", manifest, Planted(), method=EVIL, bootstrap=20, protocols=("maxboxacc",)
    )
    folder = tmp_path / "results"
    assert main([str(folder), "--add", str(run), "--network", "none"]) == 0
    (file,) = folder.glob("*.json")
    entry = read_entry(file)
    stated = json.loads((run / "eval" / "results.json").read_text())["protocols"]["maxboxacc"]
    assert entry.numbers["maxboxacc"]["value"] == stated["value"]
    page = (folder / "index.html").read_text()
    assert EVIL not in page
    assert f"{stated['value']:.1f}" in page
    costs = json.loads((run / "eval" / "results.json").read_text())["error_costs"]
    assert entry.error_costs is not None
    assert entry.error_costs["gains"]["part"]["value"] == costs["repairs"]["part"]["gain"]
    assert "a perfect repair" in page
    assert "grid game" not in page
    assert "<img" not in page


def test_grids_and_pictures_of_a_run_are_on_the_page(tmp_path: Path) -> None:
    """As `eval.grid_game --out RUN/grid-2` and `eval.localize --pictures` leave them beside the results."""
    manifest = build_dataset(tmp_path, test=12, fullsup=4)
    run = evaluated_run(tmp_path / "run", manifest, Planted(), bootstrap=20, protocols=("maxboxacc",))
    game = {
        "chance": 25.0,
        "num_grids": 9,
        "definition_hash": "0" * 8,
        "definition": {"side": 2, "layout": "one"},
        "rows": {"network": {"energy": {"value": 61.25, "ci95": [50.0, 70.0], "num_grids": 9}}},
    }
    (run / "eval" / "grid-2").mkdir()
    (run / "eval" / "grid-2" / "grid.json").write_text(json.dumps(game))
    (run / "eval" / "pictures").mkdir()
    Image.new("RGB", (4, 4)).save(run / "eval" / "pictures" / "test.png")
    folder = tmp_path / "results"
    assert main([str(folder), "--add", str(run)]) == 0
    (file,) = folder.glob("*.json")
    assert read_entry(file).grid == {**GRID, "energy": {"network": {"value": 61.25, "ci95": [50.0, 70.0]}}}
    page = (folder / "index.html").read_text()
    assert "9 grids of 2 x 2" in page
    assert "61.2" in page
    assert "src='data:image/png;base64," in page
    (run / "eval" / "grid-2" / "grid.json").write_text("{}")
    assert main([str(folder), "--add", str(run)]) == 2


def test_seeds_of_one_method_are_entries_of_their_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without names of their own the last would overwrite the others; a picture of an earlier entry does not stay."""
    manifest = build_dataset(tmp_path, test=12, fullsup=4)
    runs = [
        evaluated_run(
            tmp_path / f"run-{s}", manifest, Planted(seed=s), seed=s, bootstrap=20, protocols=("maxboxacc",)
        )
        for s in (0, 1)
    ]
    (runs[0] / "eval" / "pictures").mkdir()
    Image.new("RGB", (4, 4)).save(runs[0] / "eval" / "pictures" / "test.png")
    folder = tmp_path / "results"
    assert main([str(folder), "--add", *map(str, runs)]) == 0
    names = ["synthetic-vanilla-seed-0", "synthetic-vanilla-seed-1"]
    assert sorted(f.stem for f in folder.glob("*.json")) == names
    for name, run in zip(names, runs):
        stated = json.loads((run / "eval" / "results.json").read_text())["protocols"]["maxboxacc"]
        assert read_entry(folder / f"{name}.json").numbers["maxboxacc"]["value"] == stated["value"]
    assert main([str(folder), "--add", f"a={runs[0]}", f"a={runs[1]}"]) == 2
    assert "one would overwrite the other" in capsys.readouterr().err
    assert not (folder / "synthetic-a.json").exists()
    for run, pictures in ((runs[0], 1), (runs[1], 0)):
        assert main([str(folder), "--add", f"a={run}"]) == 0
        assert len(list(folder.glob("synthetic-a.png"))) == pictures


def test_a_part_of_a_dataset_and_random_weights_are_said_to_be_so(tmp_path: Path) -> None:
    manifest = build_dataset(tmp_path, test=12, fullsup=4)
    run = evaluated_run(tmp_path / "run", manifest, Planted(), bootstrap=20, protocols=("maxboxacc",))
    file = run / "eval" / "results.json"
    results = {k: v for k, v in json.loads(file.read_text()).items() if k != "checksum"}
    results["provenance"] |= {"notes": ["only 2 of 4 classes, said here", "odd"], "control": "random"}
    write_results(file.parent, results)
    folder = tmp_path / "results"
    assert main([str(folder), "--add", str(run)]) == 0
    (entry,) = folder.glob("*.json")
    assert read_entry(entry).notes == ["only 2 of 4 classes, said here", "random weights"]
    assert "12 images; only 2 of 4 classes, said here; random weights" in (folder / "index.html").read_text()


def test_a_run_without_intervals_leaves_the_folder_as_it_was(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = build_dataset(tmp_path, test=12, fullsup=4, files=False)
    run = evaluated_run(tmp_path / "run", manifest, Planted(), bootstrap=0, protocols=("maxboxacc",))
    folder = tmp_path / "results"
    folder.mkdir()
    (folder / "a.json").write_text(json.dumps(GOOD))
    assert main([str(folder), "--add", str(run)]) == 2
    assert "without intervals (--bootstrap 0)" in capsys.readouterr().err
    assert [f.name for f in folder.iterdir()] == ["a.json"]
    assert main([str(folder)]) == 0


def test_protocols_of_ones_own_are_left_out_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest = build_dataset(tmp_path, test=12, fullsup=4, files=False)
    (tmp_path / "own.yaml").write_text("mine: {based_on: maxboxacc, frame_size: 32}\n")
    run = evaluated_run(
        tmp_path / "run",
        manifest,
        Planted(),
        bootstrap=20,
        protocols=("mine",),
        protocol_file=tmp_path / "own.yaml",
    )
    assert main([str(tmp_path / "results"), "--add", f"a={run}"]) == 0
    assert "mine: not published as defined there, left out" in capsys.readouterr().err
    entry = read_entry(tmp_path / "results" / "synthetic-a.json")
    assert set(entry.numbers) <= set(MEASURES)
    assert entry.error_costs is None, "under a protocol of one's own"


def test_a_folder_that_lacks_a_field_is_refused(tmp_path: Path) -> None:
    folder = tmp_path
    (folder / "a.json").write_text(json.dumps(GOOD))
    assert main([str(folder)]) == 0
    (folder / "b.json").write_text("{}")
    assert main([str(folder)]) == 2
