"""One, two and three processes give the same results.json from stored maps; a killed evaluation continues."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import eval.records.fill
from eval.evaluation.config import LocalizeConfig
from eval.evaluation.evaluate import localize
from eval.metrics.results_json import RESULTS
from tests.helpers.map_folders import boxed_split, smooth_maps
from wsol.manifest import Manifest, write_manifest


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(manifest, maps as one .npz) of 1,100 images: three blocks."""
    folder = tmp_path_factory.mktemp("many")
    split = boxed_split(1100)
    write_manifest(Manifest("many", ("a", "b", "c"), {"test": split}), folder / "m")
    maps = (smooth_maps(20, side=56) * 255).astype(np.uint8)
    np.savez(folder / "maps.npz", **{i: maps[k % 20] for k, i in enumerate(split.image_ids)})
    return folder / "m", folder / "maps.npz"


def config(many: tuple[Path, Path], out: Path) -> LocalizeConfig:
    return LocalizeConfig(
        score_maps=many[1],
        dataset=str(many[0]),
        out=out,
        protocols=("maxboxacc", "maxboxacc_v2"),
        bootstrap=30,
    )


def numbers(out: Path) -> dict[str, object]:
    """results.json without what names the run: command, folders, times."""
    results = json.loads((out / RESULTS).read_text())
    del results["provenance"], results["sha256"]
    return results


def arguments(many: tuple[Path, Path], out: Path) -> list[str]:
    return [
        *("-m", "eval.localize", "--score-maps", str(many[1]), "--manifest", str(many[0]), "--out", str(out)),
        *("--protocols", "maxboxacc", "maxboxacc_v2", "--bootstrap", "30", "--device", "cpu"),
    ]


def test_processes_do_not_change_a_bit(many: tuple[Path, Path], tmp_path: Path) -> None:
    localize(config(many, tmp_path / "1"))
    expected = numbers(tmp_path / "1")
    for world in (2, 3):
        out = tmp_path / str(world)
        done = subprocess.run(
            [
                *(sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={world}"),
                *arguments(many, out),
            ],
            capture_output=True,
            text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )
        assert done.returncode == 0, done.stderr
        assert done.stdout.count("results: ") == 1, "the first process alone speaks"
        assert numbers(out) == expected


def test_a_killed_evaluation_continues_and_never_looks_whole(
    many: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    localize(config(many, tmp_path / "whole"))
    out = tmp_path / "killed"
    scored: list[int] = []
    original = eval.records.fill.Scorer.score

    def failing(self: object, batch: object) -> object:
        scored.append(int(batch.rows[0]))  # type: ignore[attr-defined]
        if len(scored) == 40:  # the first block of 512 is 32 units of 16
            raise KeyboardInterrupt
        return original(self, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(eval.records.fill.Scorer, "score", failing)
    with pytest.raises(KeyboardInterrupt):
        localize(config(many, out))
    assert not (out / RESULTS).exists()
    assert len(list((out / "records" / "test").glob("block-*.npz"))) == 1
    monkeypatch.setattr(eval.records.fill.Scorer, "score", original)
    scored.clear()
    localize(config(many, out))
    assert numbers(out) == numbers(tmp_path / "whole")


def test_older_results_vanish_when_records_are_started_again(many: tuple[Path, Path], tmp_path: Path) -> None:
    localize(config(many, tmp_path))
    (tmp_path / "records" / "test" / "block-000001.npz").unlink()
    seen: list[bool] = []
    original = eval.records.fill._fill

    def watching(*rest: object) -> None:
        seen.append((tmp_path / RESULTS).exists())
        original(*rest)  # type: ignore[arg-type]

    eval.records.fill._fill = watching  # type: ignore[assignment]
    try:
        localize(config(many, tmp_path))
    finally:
        eval.records.fill._fill = original
    assert seen == [False]
    assert (tmp_path / RESULTS).exists()
