"""Protocols of one's own with another frame or another threshold step are really scored as they say."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eval.boxes.frames import Frame
from eval.localize import main
from eval.maps.normalization import normalize, upsample
from eval.metrics.objects import PixelMetric
from eval.metrics.results_json import read_results
from eval.protocols import PROTOCOLS
from eval.records.truth import read_truth
from tests.eval.test_summarize import reference_numbers
from tests.helpers.builders_eval import Planted, PlantedMaps, build_dataset, evaluated_run
from tests.helpers.map_folders import boxed_manifest, smooth_maps, write_maps
from wsol.files.roots import open_root

HALF = "half: {based_on: maxboxacc, frame_size: 112}\n"


def test_maps_of_another_frames_size_are_not_resized(tmp_path: Path) -> None:
    """A protocol of 112 pixels took maps of 112 pixels for maps of the wrong size, and refused them when asked to."""
    manifest = boxed_manifest(tmp_path / "m")
    split = manifest.splits["test"]
    maps = smooth_maps(len(split), side=112)
    write_maps(tmp_path / "maps", split, maps)
    (tmp_path / "half.yaml").write_text(HALF)
    arguments = ["--score-maps", tmp_path / "maps", "--manifest", tmp_path / "m", "--bootstrap", 0]
    arguments += ["--protocols", "half", "--protocol-file", tmp_path / "half.yaml", "--out", tmp_path / "out"]
    assert main([str(a) for a in [*arguments, "--map-size", "refuse"]]) == 0
    results = read_results(tmp_path / "out")
    assert results["counts"]["resized_map"] == 0
    expected, _ = reference_numbers(split, maps, side=112)
    assert results["protocols"]["half"]["value"] == pytest.approx(expected, rel=1e-12)


def test_another_threshold_step_is_scored(tmp_path: Path) -> None:
    """PxAP with a step of 0.01 was refused: only histograms of the published step were recorded."""
    manifest = build_dataset(tmp_path, test=6, fullsup=2)
    (tmp_path / "own.yaml").write_text("coarse: {based_on: pxap, threshold_step: 0.01}\n")
    planted = Planted()
    run = evaluated_run(
        tmp_path / "run",
        manifest,
        planted,
        bootstrap=0,
        protocol_file=tmp_path / "own.yaml",
        protocols=("pxap",),
    )
    found = read_results(run / "eval")["protocols"]
    split = manifest.split("test")
    frame_maps = PlantedMaps(planted, split, "test")
    assert manifest.root is not None
    files = open_root(manifest.root)
    frame = Frame.of("resize", 224)
    (batch,) = frame_maps.batches(np.arange(len(split)))
    for name, step in (("pxap", 0.001), ("coarse", 0.01)):
        metric = PixelMetric(replace(PROTOCOLS["pxap"], threshold_step=step), resamples=0)
        for i, raw in enumerate(batch.maps["resize"]):
            score, _ = normalize(upsample(np.asarray(raw), (224, 224)), "minmax")
            mask = read_truth(split, i, files, frame).mask
            metric.update(score[None], np.asarray(mask)[None])
        assert found[name]["value"] == pytest.approx(metric.compute().value, rel=1e-12)
    assert found["pxap"]["value"] != found["coarse"]["value"]
