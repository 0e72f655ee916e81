"""`python -m eval.localize` as a user runs it, without a network."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from eval.compare import main as compare
from eval.export.__main__ import main as export
from eval.localize import main
from eval.metrics.results_json import read_results
from eval.report.__main__ import main as report
from eval.report.measures_sections import measured_section
from tests.eval.test_summarize import reference_numbers
from tests.helpers.map_folders import boxed_manifest, smooth_maps, write_maps
from wsol.errors import UserError
from wsol.manifest import Split, load_manifest, write_manifest


@pytest.fixture
def scored(tmp_path: Path) -> tuple[Path, Path]:
    """(manifest folder, folder of maps for both of its splits)."""
    manifest = boxed_manifest(tmp_path / "m")
    for i, split in enumerate(manifest.splits.values()):
        write_maps(tmp_path / "maps", split, smooth_maps(len(split), seed=i))
    return tmp_path / "m", tmp_path / "maps"


def run(*arguments: object) -> int:
    return main([str(a) for a in arguments])


def test_score_maps_end_to_end(
    scored: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, maps = scored
    assert run("--score-maps", maps, "--manifest", manifest, "--bootstrap", 50) == 0
    out = capsys.readouterr().out
    assert "maxboxacc_v2" in out
    path = tmp_path / "maps-eval" / "results.json"
    assert str(path) in out, "the last line says where the results are"
    results = json.loads(path.read_text())
    split = boxed_manifest(tmp_path / "again").splits["test"]
    v1, v2 = reference_numbers(split, smooth_maps(len(split), seed=0))
    np.testing.assert_allclose(results["protocols"]["maxboxacc"]["value"], v1, rtol=1e-12)
    np.testing.assert_allclose(results["protocols"]["maxboxacc_v2"]["value"], v2, rtol=1e-12)
    assert results["schema"] == 1
    assert results["counts"]["scored"] == results["num_images"] == 20
    assert results["threshold_split"] == "train-fullsup"
    for entry in results["protocols"].values():
        assert (
            entry["ci95"][0] <= entry["value"] <= entry["ci95"][1]
            or entry["definition"]["threshold"] == "oracle"
        )
        assert entry["definition"]["box_convention"] == "reference"
    assert set(results["not_computed"]) == {
        "top1_loc",
        "top5_loc",
        "cam2016",
        "cutmix2019",
        "pxap",
        "mask_iou",
    }
    assert "raw maps" in results["not_computed"]["cam2016"]
    assert set(results["controls"]) == {"center_gaussian", "full_image"}


def test_bad_maps_are_counted_and_the_denominator_stays(
    scored: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, maps = scored
    files = sorted((maps / "c0").glob("im_*.npy"))
    files[0].unlink()
    np.save(files[1], np.full((224, 224), np.nan))
    np.save(files[2], smooth_maps(1, side=50)[0])
    np.save(files[3], np.full((224, 224), 0.5))
    np.save(maps / "unknown.npy", np.zeros((224, 224)))
    assert run("--score-maps", maps, "--manifest", manifest, "--bootstrap", 0) == 0
    out = capsys.readouterr().out
    for line in (
        "1 image had no map and was scored",
        "1 map held NaN",
        "1 map had another size",
        "1 map was constant and was scored",
        "1 map belongs to no image",
    ):
        assert line in out
    counts = read_results(maps.with_name("maps-eval"))["counts"]
    assert counts["scored"] == 20


def test_measures_and_their_controls_are_of_the_images_that_have_a_map(
    scored: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Chance and centre Gaussian beside a measure are those of a dataset without the images that lack a map."""
    folder, maps = scored
    whole = load_manifest(folder)
    test = whole.splits["test"]
    lacking = np.arange(0, 20, 4)
    for row in lacking:
        (maps / f"{test.image_ids[row]}.npy").unlink()
    kept = test.take(np.setdiff1d(np.arange(20), lacking))
    write_manifest(dataclasses.replace(whole, splits={"test": kept}), tmp_path / "kept")
    arguments = ("--score-maps", maps, "--bootstrap", 20, "--protocols", "maxboxacc")
    assert run(*arguments, "--manifest", folder, "--out", tmp_path / "all") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert run(*arguments, "--manifest", tmp_path / "kept", "--out", tmp_path / "fewer") == 0
    assert "where it is defined" not in capsys.readouterr().out
    measures = [read_results(tmp_path / name)["measures"] for name in ("all", "fewer")]
    for name, entry in measures[0].items():
        assert (entry["num_images"], entry["undefined"]) == (15, 5), name
        for key in ("value", "chance", "quartiles"):
            assert entry.get(key) == pytest.approx(measures[1][name].get(key)), (name, key)
        control = measures[1][name]["center_gaussian"]["value"]
        assert entry["center_gaussian"]["value"] == pytest.approx(control), name
    assert said.count("on the 15 of 20 images where it is defined") == len(measures[0])
    section = measured_section(measures[0])
    assert all("on the 15 of 20 images" in row[0] for row in section["table"]["rows"])


def test_odd_maps_of_the_threshold_split_are_told_and_surplus_ones_stay_counted(
    scored: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, maps = scored
    np.save(maps / "unknown.npy", np.zeros((224, 224)))
    one = next((maps / "c0").glob("val_*.npy"))
    one.unlink()
    arguments = ["--score-maps", maps, "--manifest", manifest, "--bootstrap", 0]
    assert run(*arguments) == 0
    assert "note: 1 of 8 images of train-fullsup have no map" in capsys.readouterr().err
    out = maps.with_name("maps-eval")
    assert "maxboxacc_transferred" in read_results(out)["not_computed"]
    (tmp_path / "others").mkdir()
    for split in ("c0", "c1", "c2"):
        (tmp_path / "others" / split).mkdir()
        for file in (maps / split).glob("val_*.npy"):
            file.rename(tmp_path / "others" / split / file.name)
    assert run(*arguments, "--threshold-maps", tmp_path / "others") == 0
    assert "train-fullsup, where thresholds are chosen: 1 image had no map" in capsys.readouterr().err
    assert "maxboxacc_transferred" in read_results(out)["protocols"]
    assert read_results(out)["counts"]["surplus_map"] == 1


def test_maps_are_scored_where_the_images_are_not(
    scored: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Their dataset says where its images were; only the pictures are left out."""
    manifest, maps = scored
    (tmp_path / "elsewhere").mkdir()
    arguments = ["--score-maps", maps, "--manifest", manifest, "--bootstrap", 0]
    assert run(*arguments, "--data-root", tmp_path / "elsewhere") == 0
    printed = capsys.readouterr()
    assert "maxboxacc_v2" in printed.out
    assert printed.err.startswith("note: no pictures: ")


def test_native_size_maps_are_resized_instead_of_scoring_four_percent(
    scored: tuple[Path, Path], tmp_path: Path
) -> None:
    """Perfect maps at each image's own size: 100 %, and the record says that they were resized."""
    manifest, _ = scored
    split = boxed_manifest(tmp_path / "again").splits["test"]
    for i, image_id in enumerate(split.image_ids):
        w, h = split.size_wh(i)  # type: ignore[misc]
        m = np.zeros((h, w), np.float32)
        x0, y0, x1, y1 = (int(v) for v in split.boxes(i)[0])
        m[y0:y1, x0:x1] = 1
        path = tmp_path / "native" / f"{image_id}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        np.save(path, m)
    assert (
        run(
            "--score-maps",
            tmp_path / "native",
            "--manifest",
            manifest,
            "--bootstrap",
            0,
            "--out",
            tmp_path / "o",
        )
        == 0
    )
    results = read_results(tmp_path / "o")
    assert results["protocols"]["maxboxacc"]["value"] == 100.0
    assert results["counts"]["resized_map"] == 20


def test_a_smoke_run_scores_few_images_in_a_folder_of_its_own(
    scored: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, maps = scored
    assert run("--score-maps", maps, "--manifest", manifest, "--bootstrap", 0, "--limit", 3) == 0
    out = capsys.readouterr().out
    assert "note: only 3 images of each split (--limit)" in out
    results = read_results(tmp_path / "maps-eval-limit-3")
    assert results["num_images"] == 3
    assert not (tmp_path / "maps-eval").exists()


def test_a_smoke_run_and_its_control_are_reported_and_compared(
    scored: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A control keeps no records: they are computed anew, from the same few images. A comparison says that it is of a
    part."""
    manifest, maps = scored
    few = (
        "--manifest",
        manifest,
        "--bootstrap",
        100,
        "--limit",
        5,
        "--threshold-split",
        "None",
        "--pictures",
        0,
    )
    assert run("--score-maps", maps, *few, "--out", tmp_path / "maps5") == 0
    assert run("--control", "center_gaussian", *few, "--out", tmp_path / "gauss") == 0
    report([str(tmp_path / "gauss")])
    compare([f"a={tmp_path / 'maps5'}", f"b={tmp_path / 'gauss'}", "--out", str(tmp_path / "compared")])
    words = " ".join(capsys.readouterr().out.split())
    assert (
        "Only 5 images of each split (--limit); no result about the dataset; published differences" in words
    )
    (entry,) = json.loads((tmp_path / "compared" / "compare.json").read_text())["comparisons"]
    assert entry["caveats"][0].startswith("Only 5 images of each split")
    assert not {"size", "instances", "class", "errors"} & set(entry["not_analysed"])
    export([str(tmp_path / "maps5"), "--coco", str(tmp_path / "boxes.json")])
    report([str(tmp_path / "maps5")])
    assert "is not the one scored" not in capsys.readouterr().err


def test_without_predictions_nothing_is_said_of_classes(
    scored: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, maps = scored
    assert run("--score-maps", maps, "--manifest", manifest, "--bootstrap", 0, "--out", tmp_path / "o") == 0
    out = " ".join(capsys.readouterr().out.split())
    assert ", box right " in out
    assert "class and box right" not in out
    assert "images with boxes of 20; percent " in out  # no intervals, so none is announced
    assert "[95 % interval]" not in out
    report([str(tmp_path / "o")])
    page = (tmp_path / "o" / "report.html").read_text()
    assert "% of images whose box is right" in page
    assert "classification: nothing predicts a class" in page
    assert "these trained weights" not in page


def test_every_variant_and_a_protocol_of_ones_own(scored: tuple[Path, Path], tmp_path: Path) -> None:
    manifest, maps = scored
    own = tmp_path / "own.yaml"
    own.write_text("lenient: {based_on: maxboxacc, iou_thresholds: [0.1]}\n")
    code = run(
        *("--score-maps", maps, "--manifest", manifest, "--bootstrap", 0, "--out", tmp_path / "o"),
        *("--protocols", "maxboxacc", "--protocol-file", own, "--normalizations", "ivr", "pas", "--first-gt"),
    )
    assert code == 0
    values = {k: v["value"] for k, v in read_results(tmp_path / "o")["protocols"].items()}
    assert set(values) >= {"maxboxacc", "maxboxacc@ivr", "maxboxacc@pas@first_gt", "lenient"}
    assert values["lenient"] >= values["maxboxacc"] >= values["maxboxacc@first_gt"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--split", "tset"], "did you mean 'test'"),
        (["--protocols", "maxboxac"], "did you mean 'maxboxacc'"),
        (["--score-maps", "nowhere"], "no score maps at 'nowhere'"),
        (["--control", "full_image", "--score-maps", "x"], "exclude each other"),
        (["--manifest", "nowhere"], "unknown dataset 'nowhere'"),
    ],
)
def test_mistakes_end_in_one_line_and_exit_code_two(
    scored: tuple[Path, Path], capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    manifest, maps = scored
    given = {"--manifest": manifest, "--score-maps": maps}
    rest = [x for key, value in given.items() if key not in arguments for x in (key, value)]
    if "--control" in arguments:
        rest = ["--manifest", manifest]
    assert run(*rest, *arguments) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: ")
    assert words in err
    assert "Traceback" not in err


@pytest.mark.parametrize("command", ["localize", "show"])
def test_help_loads_no_heavy_library(command: str) -> None:
    code = (
        f"import sys, eval.{command} as command\n"
        "try: command.main(['--help'])\n"
        "except SystemExit: pass\n"
        "print('heavy:', sorted({'torch', 'cv2', 'numba', 'matplotlib', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "heavy: []" in done.stdout


def test_centre_gaussian_on_cub_from_its_boxes_alone(wsol_data: Path, tmp_path: Path) -> None:
    """PROTOCOLS section 3: 59.72 and 56.97; 56.78 and 54.63 with the threshold chosen on CUBV2."""
    from wsol.prepare import main as prepare

    prepare(
        [
            "wsol-metadata",
            "--source",
            str(wsol_data / "wsol_metadata.zip"),
            "--dataset-folder",
            "CUB",
            "--out",
            str(tmp_path / "cub"),
        ]
    )
    assert (
        run(
            "--control",
            "center_gaussian",
            "--manifest",
            tmp_path / "cub",
            "--bootstrap",
            0,
            "--out",
            tmp_path,
        )
        == 0
    )
    results = read_results(tmp_path)
    values = {k: round(v["value"], 2) for k, v in results["protocols"].items()}
    assert values["maxboxacc"] == 59.72
    assert values["maxboxacc_v2"] == 56.97
    assert values["maxboxacc_transferred"] == 56.78
    assert values["maxboxacc_v2_transferred"] == 54.63
    full = results["controls"]["full_image"]["maxboxacc_v2"]["per_iou"]
    assert {k: round(v, 2) for k, v in full.items()} == {"30": 53.95, "50": 18.95, "70": 4.56}


def test_an_overview_is_of_one_list_of_images(
    scored: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two datasets of one name and size, such as `parts` from two seeds, are no two rows of a table; nor is one list of
    images with other boxes, whatever splits were read to choose thresholds."""
    from eval.overview.__main__ import main as overview

    manifest, _ = scored
    other = boxed_manifest(tmp_path / "other")
    moved = {role: split.take(np.arange(len(split))[::-1]) for role, split in other.splits.items()}
    write_manifest(dataclasses.replace(other, splits=moved), tmp_path / "other")
    for name, data in (("a", manifest), ("b", manifest), ("c", tmp_path / "other")):
        control = ("--control", "center_gaussian", "--manifest", data, "--bootstrap", 0)
        assert run(*control, "--out", tmp_path / name) == 0
    a, b, c = (str(tmp_path / name) for name in "abc")
    assert overview([a, b]) == 0
    assert overview([a, c]) == 2
    assert "their lists of images and boxes differ" in capsys.readouterr().err
    data = load_manifest(manifest)
    halved = {
        role: Split.from_samples(dataclasses.replace(s, boxes_xyxy=s.boxes_xyxy / 2) for s in split)
        for role, split in data.splits.items()
    }
    write_manifest(dataclasses.replace(data, splits=halved), tmp_path / "boxes")
    for name, scored_on in (("whole", manifest), ("halved", tmp_path / "boxes")):
        control = ("--control", "center_gaussian", "--manifest", scored_on, "--bootstrap", 0)
        assert run(*control, "--threshold-split", "None", "--out", tmp_path / name) == 0
    assert overview([a, str(tmp_path / "whole")]) == 0
    for first in (a, str(tmp_path / "whole")):
        capsys.readouterr()
        assert overview([first, str(tmp_path / "halved")]) == 2
        assert "their lists of images and boxes differ" in capsys.readouterr().err


def test_results_that_are_none_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has not been evaluated"):
        read_results(tmp_path)
    (tmp_path / "results.json").write_text('{"schema": 7}')
    with pytest.raises(UserError, match="schema 1"):
        read_results(tmp_path)


def test_changed_and_added_maps_are_scored_again(scored: tuple[Path, Path]) -> None:
    """Records of the maps that lay there before are not taken over; of unchanged maps they are."""
    manifest, maps = scored
    arguments = ("--score-maps", maps, "--manifest", manifest, "--bootstrap", 0)
    split = boxed_manifest(maps.with_name("again")).splits["test"]
    file = maps / f"{split.image_ids[0]}.npy"
    kept = np.load(file)
    file.unlink()

    def measured() -> tuple[int, int, float]:
        assert run(*arguments) == 0
        out = maps.with_name("maps-eval")
        results = read_results(out)
        when = (out / "records" / "test" / "block-000000.npz").stat().st_mtime_ns
        return when, results["counts"]["missing_map"], results["protocols"]["maxboxacc"]["value"]

    first, missing, before = measured()
    assert missing == 1
    assert measured()[0] == first
    np.save(file, kept)
    second, missing, _ = measured()
    assert (second > first, missing) == (True, 0)
    perfect = np.zeros((len(split), 224, 224))
    for i, (w, h) in enumerate(split.sizes_wh):
        x0, y0, x1, y1 = (split.boxes(i)[0] * 224 / np.array([w, h, w, h])).astype(int)
        perfect[i, y0:y1, x0:x1] = 1
    write_maps(maps, split, perfect)
    assert measured()[2] == 100.0 > before


def test_what_a_run_takes_from_an_earlier_results_json_is_said(
    scored: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    manifest, maps = scored

    def said(bootstrap: int, *protocols: str) -> list[str]:
        options = ("--bootstrap", bootstrap, "--pictures", 0, "--protocols", *protocols)
        assert run("--score-maps", maps, "--manifest", manifest, *options) == 0
        return [n for n in capsys.readouterr().err.splitlines() if "replaced" in n]

    file = maps.with_name("maps-eval") / "results.json"
    assert said(20, "maxboxacc", "maxboxacc_v2") == []
    assert said(20, "maxboxacc_v2", "maxboxacc", "gt_known_fixed") == [], "nothing is lost"
    assert said(0, "maxboxacc") == [
        f"note: '{file}' will be replaced, with --bootstrap 0 instead of 20, without maxboxacc_v2, gt_known_fixed; "
        "another --out keeps the earlier file too"
    ]
    assert list(read_results(file)["protocols"]) == ["maxboxacc"]
    assert "with --ivr-fraction 0.3 instead of None" in said(0, "maxboxacc", "--ivr-fraction", "0.3")[0]
    file.write_text("{")
    assert said(20, "maxboxacc") == []
