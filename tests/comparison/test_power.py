"""`eval.power`: a study planned from a pilot comparison."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from eval.analysis.paired_statistics import paired_difference
from eval.comparison.planning import pilot_of, planning
from eval.power.__main__ import main
from eval.statistics.components import Sampled
from eval.statistics.planning import Pilot, detectable, images_needed, power, runs_needed


def pilot_file(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    a, b = (Sampled.of(list(rng.normal(50, 1, 3)), list(rng.normal(50, 1.2, (3, 300)))) for _ in "ab")
    plan = planning(paired_difference(a, b, by_seed=True, units=500), "maxboxacc", None)
    file = folder / "compare.json"
    file.write_text(json.dumps({"comparisons": [{"name": "cutmix vs vanilla", "planning": plan}]}))
    return file


def test_the_pilot_survives_its_file(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    a, b = (Sampled.of(list(rng.normal(50, 1, 3)), list(rng.normal(50, 1.2, (3, 300)))) for _ in "ab")
    d = paired_difference(a, b, by_seed=False, units=500)
    plan = planning(d, "maxboxacc", None)
    assert plan is not None
    assert d.components is not None
    kept, there = pilot_of(json.loads(json.dumps(plan))), Pilot.of(d.components)
    assert kept.image == pytest.approx(there.image)
    assert [s.run for s in kept.sides] == pytest.approx([s.run for s in there.sides])
    assert [s.interaction for s in kept.sides] == pytest.approx([s.interaction for s in there.sides])


def test_both_directions_are_answered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = pilot_file(tmp_path)
    asked = [str(tmp_path), "--effect", "3", "--power", "0.9", "--seeds", "3", "6", "--images", "500", "4000"]
    assert main(asked) == 0
    said = " ".join(capsys.readouterr().out.split())
    plan = json.loads(file.read_text())["comparisons"][0]["planning"]
    pilot = pilot_of(plan)
    assert (
        f"{100 * power(pilot, 3, 6, 4000):.0f} %, {detectable(pilot, 6, 4000, wanted=0.9):.1f} points" in said
    )
    needed = runs_needed(pilot, 3, 4000, wanted=0.9)
    assert f"3 points on 4,000 images: {needed} seeds a side." in said
    fewest = images_needed(pilot, 3, 6, wanted=0.9)
    assert (f"3 points with 6 seeds a side: {fewest:,} images." if fewest else "differ too much") in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--seeds", "2"], "at least 3"),
        (["--power", "1"], "between 0 and 1"),
        (["--effect", "0"], "positive"),
        (["--images", "1"], "at least 2"),
    ],
)
def test_questions_without_an_answer(
    tmp_path: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(pilot_file(tmp_path)), *arguments]) == 2
    assert words in capsys.readouterr().err


def test_a_comparison_of_single_runs_is_no_pilot(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "compare.json").write_text(
        json.dumps({"comparisons": [{"name": "b vs a", "planning": None}]})
    )
    assert main([str(tmp_path)]) == 2
    assert "two or more training seeds" in " ".join(capsys.readouterr().err.split())
    assert main([str(tmp_path / "elsewhere")]) == 2
