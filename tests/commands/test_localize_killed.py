"""An evaluation killed by SIGKILL again and again ends with the results.json of one that was left alone."""

from __future__ import annotations

import json
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from eval.metrics.results_json import RESULTS, read_results
from eval.records.store import RecordStore
from tests.helpers.evaluations import Evaluations, command, make_maps, make_pictures, make_run

BLOCK = 64  # images: many blocks of few images make many moments; the command's own 512 are a constant like any other
COUNTS = {"test": 10 * BLOCK + 20, "fullsup": BLOCK + 10}
KILLED = [-signal.SIGKILL]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("killed")


@pytest.fixture(scope="module")
def manifest(folder: Path) -> Path:
    return make_pictures(folder / "pictures", **COUNTS)


@pytest.fixture(scope="module")
def evaluations(folder: Path) -> Iterator[Evaluations]:
    with Evaluations(folder / "log", BLOCK) as process:
        yield process


@pytest.fixture(scope="module")
def subjects(folder: Path, manifest: Path) -> dict[str, list[str]]:
    """What is scored, as arguments: a network whose maps are kept, ready-made maps, and others to be replaced."""
    return {
        "network": [str(make_run(folder / "run", manifest)), "--pictures", "1"],
        "another network": [str(make_run(folder / "other", manifest, seed=1)), "--pictures", "0"],
        "maps": ["--score-maps", str(make_maps(folder / "maps.npz", **COUNTS)), "--pictures", "0"],
        "another maps": [
            "--score-maps",
            str(make_maps(folder / "other.npz", **COUNTS, seed=1)),
            "--pictures",
            "0",
        ],
    }


@pytest.fixture(scope="module")
def alone(
    folder: Path, manifest: Path, evaluations: Evaluations, subjects: dict[str, list[str]]
) -> Callable[[str], Path]:
    """The output folder of an evaluation that nothing happened to."""

    def evaluated(source: str) -> Path:
        out = folder / f"alone-{source}"
        if not out.exists():
            undisturbed = command(subjects[source], manifest, out, "--threads", "1")
            assert evaluations.run(undisturbed, processes=0) == [0]
        return out

    return evaluated


def numbers(out: Path) -> dict[str, Any]:
    """results.json without what names the run: the command, the output folder, the state of the checkout."""
    results = read_results(out)
    for name in ("command", "git"):
        del results["provenance"][name]
    for name in ("out", "threads"):
        del results["provenance"]["config"][name]
    return results


def assert_truthful(out: Path) -> None:
    """Where a results.json is, it is whole, and so are the records that it was made from."""
    if not (out / RESULTS).exists():
        return
    results = read_results(out)
    for role in (results["split"], results["threshold_split"]):
        index = RecordStore._read_index(out / "records" / role / "index.json")
        assert len(list((out / "records" / role).glob("block-*.npz"))) == -(-index.num_images // BLOCK), role
        if role == results["split"]:
            assert json.loads(json.dumps(index.maps)) == results["provenance"]["maps"]


FILE = ("begun", "half written", "before rename", "renamed")


def kills(source: str, chance: random.Random) -> list[tuple[str, int]]:
    """Twenty moments in an order in which all of them are still to come: at the start, on the way, at the end."""
    start = [(f"index.json: {chance.choice(FILE)}", 1)]
    end = [f"results.json: {what}" for what in FILE]
    kinds = ["scored", *(f"records: {what}" for what in FILE)]
    if source == "network":
        start.append((f"maps.json: {chance.choice(FILE)}", 1))
        kinds += [f"maps: {what}" for what in FILE]
        end += ["picture: half written", "picture: renamed"]
    middle = kinds + chance.choices(kinds, k=20 - len(start) - len(kinds) - len(end))
    chance.shuffle(middle)
    chance.shuffle(end)
    on_the_way = [(kind, chance.randint(1, 9 if kind == "scored" else 2)) for kind in middle]
    return [*start, *on_the_way, *((kind, 1) for kind in end)]


@pytest.mark.parametrize("source", ["network", "maps"])
def test_killed_twenty_times_at_random_moments(
    evaluations: Evaluations,
    manifest: Path,
    subjects: dict[str, list[str]],
    alone: Callable[[str], Path],
    tmp_path: Path,
    source: str,
) -> None:
    """While blocks, maps, index, results and pictures are written, and between; two scoring threads for the network."""
    undisturbed = alone(source)
    out = tmp_path / "killed"
    chosen = kills(source, random.Random(0))
    assert len(chosen) == 20
    for moment in chosen:
        ended = evaluations.run(command(subjects[source], manifest, out, "--threads", "2"), kill_at=moment)
        assert ended == KILLED, f"{moment} never came: the evaluation ended before"
        assert_truthful(out)
    assert evaluations.run(command(subjects[source], manifest, out, "--threads", "2")) == [0]
    assert numbers(out) == numbers(undisturbed)
    pictures = [sorted(f.name for f in (place / "pictures").glob("*")) for place in (out, undisturbed)]
    assert pictures[0] == pictures[1] == (["test.png"] if source == "network" else [])


def replaced(alone: Callable[[str], Path], source: str, out: Path) -> None:
    """An output folder that holds another source's whole evaluation."""
    shutil.copytree(alone(f"another {source}"), out)


@pytest.mark.parametrize("source", ["maps", "network"])
def test_another_evaluations_folder_is_refused_untouched(
    evaluations: Evaluations,
    manifest: Path,
    subjects: dict[str, list[str]],
    alone: Callable[[str], Path],
    tmp_path: Path,
    source: str,
) -> None:
    """It was cleared away block by block; a kill on the way mixed numbers of two networks in one result."""
    out = tmp_path / "out"
    replaced(alone, source, out)
    before = numbers(out)
    assert evaluations.run(command(subjects[source], manifest, out)) == [2]
    assert_truthful(out)
    assert numbers(out) == before
