"""One, two and three processes measure the same from one network, up to the network's rounding."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from eval.metrics.results_json import read_results
from tests.helpers.evaluations import Evaluations, command, make_pictures, make_run

TEST = 2 * 512 + 40  # three blocks
CHANNEL = "resize32-minmax"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("processes")


@pytest.fixture(scope="module")
def scored(folder: Path) -> Iterator[dict[str, Path]]:
    """Output folders of one, two and three processes, each with one thread."""
    manifest = make_pictures(folder / "pictures", test=TEST, fullsup=20)
    run = [str(make_run(folder / "run", manifest)), "--pictures", "0", "--threads", "1"]
    found = {}
    with Evaluations(folder / "log") as evaluations:
        for processes in (1, 2, 3):
            out = found[str(processes)] = folder / str(processes)
            alone = processes == 1  # the forking process itself, so that the others find everything loaded
            codes = evaluations.run(command(run, manifest, out), processes=0 if alone else processes)
            assert codes == [0] * processes, (folder / "log").read_text()
        yield found


def blocks(out: Path, kind: str) -> dict[str, npt.NDArray[Any]]:
    """The arrays of the test split's blocks, joined."""
    files = sorted((out / kind / "test").glob("block-*.npz"))
    assert len(files) == 3
    parts = []
    for file in files:
        with np.load(file) as held:
            parts.append({name: held[name] for name in held.files if name != "seal.json"})
    assert all(set(part) == set(parts[0]) for part in parts)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


OTHERS = ["2", "3"]


@pytest.mark.parametrize("other", OTHERS)
def test_raw_maps_agree_to_float32s_rounding(scored: dict[str, Path], other: str) -> None:
    """A dozen layers of float32 sums: a hundred units in the last place of the largest value. (Batches are cut in the
    same places whoever makes them, so they were equal to the bit where this was written; no library promises it.)"""
    ours, theirs = blocks(scored["1"], "maps"), blocks(scored[other], "maps")
    assert set(ours) == set(theirs)
    scale = float(np.abs(ours["resize"]).max())
    np.testing.assert_allclose(theirs["resize"], ours["resize"], rtol=0, atol=1.2e-5 * scale)
    for name in ("predicted", "top1", "top5"):  # no two classes are that close here
        np.testing.assert_array_equal(theirs[name], ours[name], err_msg=name)


@pytest.mark.parametrize("other", OTHERS)
def test_records_agree_array_by_array(scored: dict[str, Path], other: str) -> None:
    """What does not depend on rounding is equal. An IoU is a quotient of whole pixels: where a map's value lies within
    rounding of one of 255 steps a pixel changes sides at one level, and the box may jump; everywhere else IoU and box
    are equal, whence at most one in a thousand may differ."""
    ours, theirs = blocks(scored["1"], "records"), blocks(scored[other], "records")
    assert set(ours) == set(theirs)
    assert list(ours["index"]) == list(range(TEST))
    curves = [name for name in ours if name.endswith(("_any", "_first", "largest_box"))]
    assert {f"{CHANNEL}.largest_any", f"{CHANNEL}.all_any", f"{CHANNEL}.largest_box"} <= set(curves)
    for name in set(ours) - set(curves):
        np.testing.assert_array_equal(theirs[name], ours[name], err_msg=name)
    for name in curves:
        same = np.isclose(theirs[name], ours[name], rtol=0, atol=1e-6)
        assert same.mean() >= 0.999, name


@pytest.mark.parametrize("other", OTHERS)
def test_protocol_values_agree(scored: dict[str, Path], other: str) -> None:
    """One image of 1,064 on the other side of an IoU threshold is 0.09 %."""
    ours, theirs = read_results(scored["1"]), read_results(scored[other])
    assert set(ours["protocols"]) == set(theirs["protocols"]) == {"transferred", "v2"}
    for name, entry in ours["protocols"].items():
        assert theirs["protocols"][name]["value"] == pytest.approx(entry["value"], abs=0.1), name
    for same in ("counts", "classification", "not_computed", "controls", "num_images"):
        assert theirs[same] == ours[same]
