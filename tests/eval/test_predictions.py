"""Predictions beside score maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from eval.localize import main as localize
from eval.maps.predictions import Predictions
from eval.metrics.results_json import read_results
from tests.helpers.map_folders import boxed_manifest, boxed_split, write_maps
from wsol.errors import UserError

CLASSES = ("a", "b", "c")


def test_ranks_and_scores_give_the_same_flags(tmp_path: Path) -> None:
    split = boxed_split(4)  # labels 0, 1, 2, 0
    i = split.image_ids
    (tmp_path / "r.csv").write_text(f"image_id,rank\n{i[0]},1\n{i[1]},2\n{i[2]},6\n{i[3]},3\n")
    ranks = Predictions.read(tmp_path / "r.csv", CLASSES).ranks(split, np.arange(4))
    assert ranks.top1.tolist() == [1, 0, 0, 0]
    assert ranks.top5.tolist() == [1, 1, 0, 1]
    assert ranks.predicted.tolist() == [0, -1, -1, -1]
    rows = "".join(f"{n},{values}\n" for n, values in zip(i, ("9,1,0", "3,2,1", "0,1,2", "0,0,1")))
    for head in ("image_id,a,b,c", "image_id,0,1,2"):
        (tmp_path / "s.csv").write_text(f"{head}\n{rows}")
        found = Predictions.read(tmp_path / "s.csv", CLASSES).ranks(split, np.arange(4))
        assert found.predicted.tolist() == [0, 0, 2, 2]
        assert found.top1.tolist() == [1, 0, 1, 0]
    swapped = "image_id,c,a,b\n" + "".join(f"{n},0,9,1\n" for n in i)
    (tmp_path / "s.csv").write_text(swapped)
    found = Predictions.read(tmp_path / "s.csv", CLASSES).ranks(split, np.arange(4))
    assert found.predicted.tolist() == [0, 0, 0, 0], "columns named by classes go by their names"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("", r"p\.csv:1: found the columns \(none\)", id="empty"),
        pytest.param("id,rank\nx,1\n", "expected a first line 'image_id,rank'", id="another head"),
        pytest.param(
            "image_id,a,b\nx,1,2\n", "2 behind the first; the dataset has 3 classes", id="too few classes"
        ),
        pytest.param(
            "image_id,rank\nx,0\n", r"p\.csv:2: expected an image id and a whole rank from 1", id="rank 0"
        ),
        pytest.param(
            "image_id,a,b,c\nx,1,2\n", r"p\.csv:2: expected an image id and 3 numbers", id="a short row"
        ),
        pytest.param("image_id,rank\nx,1\n\nx,1\n", r"p\.csv:4: image 'x' is named twice", id="twice"),
    ],
)
def test_what_is_no_table_of_predictions_is_refused(tmp_path: Path, text: str, says: str) -> None:
    (tmp_path / "p.csv").write_text(text)
    with pytest.raises(UserError, match=says):
        Predictions.read(tmp_path / "p.csv", CLASSES)


def test_top1_loc_of_other_peoples_maps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With every class right, Top-1 Loc is GT-known Loc; with none, 0; a split that is not covered is refused."""
    manifest = boxed_manifest(tmp_path / "m")
    split = manifest.splits["test"]
    maps = np.zeros((len(split), 50, 50), bool)  # a mask over half of each image: it hits some boxes
    maps[:, 10:, :40] = True
    write_maps(tmp_path / "maps", split, maps)
    arguments = ["--score-maps", str(tmp_path / "maps"), "--dataset", str(tmp_path / "m"), "--bootstrap", "0"]
    arguments += ["--out", str(tmp_path / "o"), "--predictions", str(tmp_path / "p.csv")]

    def write(rank: int, ids: tuple[str, ...]) -> None:
        (tmp_path / "p.csv").write_text("image_id,rank\n" + "".join(f"{i},{rank}\n" for i in ids))

    for rank in (1, 2, 6):
        write(rank, split.image_ids)
        assert localize(arguments) == 0
        results = read_results(tmp_path / "o")
        values = {k: v["value"] for k, v in results["protocols"].items()}
        assert values["gt_known_fixed"] > 0
        assert values["top1_loc"] == (values["gt_known_fixed"] if rank == 1 else 0)
        # others' ranks may be among more classes than the dataset's, so that few classes make no value absent
        assert values["top5_loc"] == (0 if rank == 6 else values["gt_known_fixed"])
        assert results["classification"]["top5"]["value"] == (0 if rank == 6 else 100)
    write(1, split.image_ids[1:])
    assert localize(arguments) == 2
    assert "has no prediction for 1 of 20 images" in capsys.readouterr().err
