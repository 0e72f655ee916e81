"""`python -m eval.compare`: pairing, refusals, and every output file."""

from __future__ import annotations

import csv
import dataclasses
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from eval.analysis.evaluated import Evaluated, Unavailable, open_evaluated, relabelled
from eval.compare import main
from eval.comparison.build import compare_runs
from eval.comparison.csv_latex import latex_escape
from eval.comparison.decomposition import decompose
from eval.comparison.run_pairs import comparable_protocols, group, pair, require_same_images
from eval.comparison.terminal import multiverse_text
from eval.metrics.bootstrap import NO_BOOTSTRAP, Bootstrap
from eval.protocols import PROTOCOLS
from eval.records.measures import MEASURES
from eval.records.store import RecordStore
from eval.report.comparison_page import write_comparison_page
from eval.report.parts_of_page import curve_protocols
from eval.write_comparison import _provenance, _tell_replaced
from tests.helpers.builders_eval import Planted, build_dataset, evaluated_run
from wsol.errors import UserError
from wsol.files.arrays import SealedArrays
from wsol.manifest import Manifest

FEW = ("maxboxacc", "maxboxacc_transferred", "gt_known_fixed", "top1_loc")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compare")


@pytest.fixture(scope="module")
def dataset(root: Path) -> Manifest:
    return build_dataset(root / "data", test=40, fullsup=6)


@pytest.fixture(scope="module")
def runs(root: Path, dataset: Manifest) -> list[Path]:
    """Two seeds of each of two methods."""
    return [
        evaluated_run(
            root / f"{method}-{seed}",
            dataset,
            Planted(extent=extent, jitter=0.25, seed=seed),
            method=method,
            seed=seed,
            protocols=FEW,
            bootstrap=50,
        )
        for method, extent in (("cutmix", 0.9), ("vanilla", 0.55))
        for seed in (0, 1)
    ]


@pytest.fixture(scope="module")
def finished(runs: list[Path], root: Path) -> Path:
    out = root / "out"
    arguments = [
        *map(str, runs),
        "--out",
        str(out),
        "--bootstrap",
        "100",
        "--pictures",
        "6",
    ]
    assert main(arguments) == 0
    return out


def test_every_output_is_written(finished: Path) -> None:
    names = {p.relative_to(finished).as_posix() for p in finished.rglob("*") if p.is_file()}
    figures = {
        f"figures/{n}.{s}" for n in ("differences", "curves", "curve-difference") for s in ("png", "pdf")
    }
    assert names == {"compare.json", "compare.csv", "compare.tex", "compare.html", *figures}


def test_a_comparison_only_reads(runs: list[Path], tmp_path: Path) -> None:
    """It scored maps and wrote records into the runs' folders; every normalisation is recorded by eval.localize now."""
    before = {p: p.stat().st_mtime_ns for run in runs for p in run.rglob("*")}
    assert main([*map(str, runs), "--out", str(tmp_path / "out"), "--bootstrap", "0", "--pictures", "0"]) == 0
    assert {p: p.stat().st_mtime_ns for run in runs for p in run.rglob("*")} == before
    entry = json.loads((tmp_path / "out" / "compare.json").read_text())["comparisons"][0]
    assert any("2 training seeds a side, and no images drawn anew" in c for c in entry["caveats"])
    drivers = entry["drivers"]
    assert set(drivers["normalization"]["maxboxacc"]["rules"]) == {"minmax", "max", "pas", "ivr"}
    assert set(drivers["parts"]) == {"inside_box", "map_value"}


def test_records_of_an_earlier_version_say_what_to_do(runs: list[Path], tmp_path: Path) -> None:
    """They hold one normalisation and no values on parts; what they hold is compared."""
    old = []
    for number, run in enumerate(runs):
        copy = tmp_path / f"run{number}"
        shutil.copytree(run, copy)
        whole = RecordStore.open(copy / "eval" / "records" / "test")
        blocks = [
            dict(SealedArrays(whole.path(b), whole.index.fingerprint()))
            for b in range(whole.index.num_blocks)
        ]
        kept = tuple(c for c in whole.index.channels if "pas" not in c and "ivr" not in c)
        store = RecordStore.create(whole.folder, dataclasses.replace(whole.index, channels=kept, measures=()))
        for b, arrays in enumerate(blocks):
            store.write(b, {k: v for k, v in arrays.items() if k != "part_value"})
        old.append(open_evaluated(copy))
    entry = compare_runs(old, bootstrap=NO_BOOTSTRAP).content["comparisons"][0]
    for name in ("normalization ivr", "normalization pas", "map value on parts"):
        assert "run eval.localize on it again" in entry["not_analysed"][name], name
    assert set(entry["drivers"]["parts"]) == {"inside_box"}


def test_vanilla_is_the_baseline_and_seeds_are_paired(finished: Path) -> None:
    content = json.loads((finished / "compare.json").read_text(encoding="utf-8"))
    (entry,) = content["comparisons"]
    assert (entry["baseline"], entry["other"], entry["by_seed"], entry["seeds"]) == (
        "vanilla",
        "cutmix",
        True,
        [0, 1],
    )
    for name, p in entry["protocols"].items():
        assert p["difference"] == pytest.approx(np.mean(p["per_seed"])), name
        assert p["definition"]["name"] == name
        assert len(p["disagreements"]) == 2
        assert p["verdict"] == "no verdict"
        assert "new trainings" in p["population"]
    assert any("2 training seeds a side give an interval and no verdict" in c for c in entry["caveats"])
    assert "no verdict" in entry["headline"]
    gaussian = [c for c in entry["controls"] if c["control"] == "center_gaussian"]
    assert [c["method"] for c in gaussian] == ["cutmix", "vanilla"]
    for c in gaussian:
        for name, p in c["protocols"].items():
            assert entry["protocols"][name]["controls"]["center_gaussian"] == pytest.approx(p["baseline"])
    assert set(gaussian[0]["protocols"]) == {"maxboxacc", "maxboxacc_transferred", "gt_known_fixed"}


def test_values_are_the_means_of_the_runs_results(finished: Path, runs: list[Path]) -> None:
    content = json.loads((finished / "compare.json").read_text(encoding="utf-8"))
    stated = [json.loads((r / "eval" / "results.json").read_text())["protocols"] for r in runs]
    for name, p in content["comparisons"][0]["protocols"].items():
        assert p["other"] == pytest.approx((stated[0][name]["value"] + stated[1][name]["value"]) / 2)
        assert p["baseline"] == pytest.approx((stated[2][name]["value"] + stated[3][name]["value"]) / 2)


def test_mcnemar_counts_the_images_that_differ(finished: Path, runs: list[Path]) -> None:
    content = json.loads((finished / "compare.json").read_text(encoding="utf-8"))
    p = content["comparisons"][0]["protocols"]["gt_known_fixed"]
    for test, difference in zip(p["disagreements"], p["per_seed"]):
        assert 100 * (test["only_other"] - test["only_baseline"]) / 40 == pytest.approx(difference)


def test_the_csv_holds_one_line_a_protocol(finished: Path) -> None:
    with (finished / "compare.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [r["protocol"] for r in rows if r["role"] in ("primary", "secondary")] == list(FEW)
    assert [r["protocol"] for r in rows if r["role"] == "measure"] == list(MEASURES)
    assert {r["comparison"] for r in rows if r["role"] == "control"} == {
        "cutmix vs center_gaussian",
        "vanilla vs center_gaussian",
    }
    for r in rows:
        assert float(r["difference"]) == pytest.approx(float(r["other"]) - float(r["baseline"]))
        assert float(r["ci95_low"]) <= float(r["ci95_high"])


def test_measures_without_a_threshold_are_compared(runs: list[Path], finished: Path) -> None:
    """The difference is that of the means in results.json, and a sentence says whether they agree with the rest."""
    (entry,) = json.loads((finished / "compare.json").read_text(encoding="utf-8"))["comparisons"]
    stated = [json.loads((r / "eval" / "results.json").read_text())["measures"] for r in runs]
    for name, m in entry["measures"].items():
        assert m["images"] == 40, name
        other, baseline = (np.mean([s[name]["value"] for s in pair]) for pair in (stated[:2], stated[2:]))
        assert m["difference"] == pytest.approx(other - baseline, abs=1e-4), name
        assert m["ci95"][0] <= m["centre"] <= m["ci95"][1]
        assert m["center_gaussian"] == pytest.approx(stated[0][name]["center_gaussian"]["value"], abs=1e-4)
    said = f"Without a threshold, none of {len(MEASURES)} measures gets a verdict, which needs three training seeds"
    assert f"{said} of each method (here 2 and 2)." == entry["agreement"]
    assert "Without a threshold" in (finished / "compare.html").read_text(encoding="utf-8")


def test_verdicts_of_measures_follow_the_maps(dataset: Manifest, tmp_path: Path) -> None:
    """Maps that differ by a monotone curve alone rank pixels equally: misplaced ones do not."""
    plain, bent, displaced = (
        open_evaluated(
            evaluated_run(
                tmp_path / name, dataset, planted, method=name, bootstrap=0, protocols=("maxboxacc",)
            )
        )
        for name, planted in (
            ("vanilla", Planted()),
            ("bent", Planted(gamma=4.0)),
            ("displaced", Planted(jitter=0.8)),
        )
    )
    same, worse = compare_runs([plain, bent, displaced], bootstrap=Bootstrap(100)).content["comparisons"]
    ranks = ("pointing_box", "pointing_15_box", "near_peak_box")
    assert all(same["measures"][n]["difference"] == 0 for n in ranks)
    assert {worse["measures"][n]["verdict"] for n in ranks} == {"lower"}
    assert "they agree with maxboxacc (lower)" in worse["agreement"]


def test_the_latex_table_escapes_names(finished: Path) -> None:
    text = (finished / "compare.tex").read_text(encoding="utf-8")
    assert r"maxboxacc\_transferred" in text
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1
    assert latex_escape("50 % of a_b & {c} \\ ~^#$") == (
        r"50 \% of a\_b \& \{c\} \textbackslash{} \textasciitilde{}\textasciicircum{}\#\$"
    )


def test_comparing_twice_gives_the_same_json(finished: Path, runs: list[Path], tmp_path: Path) -> None:
    arguments = [
        *map(str, runs),
        "--out",
        str(tmp_path),
        "--bootstrap",
        "100",
        "--pictures",
        "0",
    ]
    assert main(arguments) == 0
    first, second = (json.loads((f / "compare.json").read_text()) for f in (finished, tmp_path))
    assert first["comparisons"] == second["comparisons"]


def test_the_terminal_names_verdict_and_page(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        f"wide={runs[0]}",
        f"x={runs[2]}",
        "--out",
        str(tmp_path),
        "--bootstrap",
        "50",
        "--pictures",
        "0",
    ]
    assert main(arguments) == 0
    said = capsys.readouterr().out
    for expected in (
        "wide",
        "maxboxacc",
        "95 % interval",
        "compare.html",
        "max-t",
        "this run of x",
        "these trainings",
        "centre Gaussian",
    ):
        assert expected in said


def test_replacing_a_comparison_of_other_runs_is_said(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The default folder is named by the methods alone, so that other seeds of them come to the same one."""
    copies = [Path(shutil.copytree(run, tmp_path / run.name)) for run in runs]

    def said(*compared: Path) -> str:
        assert main([*map(str, compared), "--bootstrap", "0", "--pictures", "0"]) == 0
        return capsys.readouterr().err

    file = tmp_path / "compare-vanilla-cutmix" / "compare.json"
    assert "note" not in said(copies[0], copies[2])
    same = json.loads(file.read_text())
    (line,) = [line for line in said(copies[1], copies[3]).splitlines() if line.startswith("note")]
    assert (
        f"'{file}' held a comparison of {copies[2]}/eval, {copies[0]}/eval, which this one replaces" in line
    )
    for there in (json.dumps(same), '{"comparisons": [1]}', "[", None):
        file.unlink() if there is None else file.write_text(there)
        _tell_replaced(file, same)
    assert "note" not in capsys.readouterr().err, "the same runs, or no comparison"


# --- refusals -----------------------------------------------------------------------------------------------


def test_other_images_are_refused(root: Path, runs: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    other = build_dataset(root / "other", test=40, fullsup=6, seed=9, files=False)
    run = evaluated_run(root / "elsewhere", other, Planted(), method="mixup", protocols=FEW, bootstrap=0)
    assert main([str(runs[0]), str(run)]) == 2
    said = capsys.readouterr().err
    assert "cannot be compared: split hash" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "at least two"),
        (["{0}"], "at least two"),
        (["{0}", "{0}"], "named twice"),
        (["{0}", "a={0}/nowhere"], "not a directory"),
        (["{0}", "{root}/data"], "has not been evaluated"),
        (["{0}", "{2}", "--baseline", "vanila"], "did you mean 'vanilla'"),
    ],
)
def test_user_errors(
    arguments: list[str], said: str, runs: list[Path], root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled = [a.format(*runs, root=root) for a in arguments]
    assert main(filled) == 2
    assert said in capsys.readouterr().err


@pytest.fixture(scope="module")
def opened(runs: list[Path]) -> list[Evaluated]:
    return [open_evaluated(r) for r in runs]


def test_a_protocol_defined_otherwise_is_not_compared(opened: list[Evaluated]) -> None:
    changed = dict(opened[1].protocols)
    changed["maxboxacc"] = dataclasses.replace(PROTOCOLS["maxboxacc"], iou_comparison=">")
    del changed["gt_known_fixed"]
    common, refused = comparable_protocols([opened[0], dataclasses.replace(opened[1], protocols=changed)])
    assert {p.name for p in common} == {"maxboxacc_transferred", "top1_loc"}
    assert "iou_comparison: '>=' / '>'" in refused["maxboxacc"]
    assert "not scored" in refused["gt_known_fixed"]


def _with_other_images(run: Evaluated) -> RecordStore:
    assert run.threshold_store is not None
    index = dataclasses.replace(run.threshold_store.index, split_hash="0" * 64)
    return RecordStore(run.threshold_store.folder, index)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ("another split", "chosen on train-fullsup / train-weaksup"),
        ("other images", "on other images of train-fullsup"),
    ],
)
def test_thresholds_chosen_on_other_images_are_not_compared(
    changed: str, said: str, opened: list[Evaluated]
) -> None:
    """Two hold-outs of one dataset share the test split, not the images that transferred thresholds come from."""
    a, b = opened[0], opened[2]
    assert a.threshold_hash is not None
    assert "maxboxacc_transferred" in {p.name for p in comparable_protocols([a, b])[0]}
    other = (
        dataclasses.replace(b, results={**b.results, "threshold_split": "train-weaksup"})
        if changed == "another split"
        else dataclasses.replace(b, threshold_store=_with_other_images(b))
    )
    common, refused = comparable_protocols([a, other])
    assert {p.name for p in common} == set(FEW) - {"maxboxacc_transferred"}
    assert said in refused["maxboxacc_transferred"]


def test_runs_of_two_networks_are_told_apart(opened: list[Evaluated]) -> None:
    def with_network(run: Evaluated, arch: str) -> Evaluated:
        provenance = {**run.results["provenance"], "classifier": {"arch": arch}}
        return dataclasses.replace(run, results={**run.results, "provenance": provenance})

    def caveats(baseline: str, other: str) -> str:
        runs = [with_network(opened[0], other), with_network(opened[2], baseline)]
        entry = compare_runs(runs, bootstrap=Bootstrap(0)).content["comparisons"][0]
        return " ".join([entry["headline"], *entry["caveats"]])

    assert "Trained unequally (network vgg16 / resnet50)" in caveats("vgg16", "resnet50")
    assert "differ in" not in caveats("vgg16", "vgg16")


def test_the_page_says_when_it_draws_one_of_several_baseline_runs(
    opened: list[Evaluated], tmp_path: Path
) -> None:
    """Two baseline seeds against one unpaired run: only several seeds of the other method were mentioned."""
    runs = [dataclasses.replace(opened[0], seed=7), opened[2], opened[3]]
    page = write_comparison_page(
        compare_runs(runs, bootstrap=Bootstrap(0)), tmp_path / "page.html", pictures=0
    )
    said = "Of several seeds these charts and images show one run each: vanilla-0, cutmix-0."
    assert said in page.read_text(encoding="utf-8")


def test_folders_of_one_name_keep_their_provenance_apart(opened: list[Evaluated]) -> None:
    """vanilla/seed0 and cutmix/seed0: once the second one's entry took the first one's place."""
    twins = [dataclasses.replace(opened[k], name="seed0") for k in (0, 2)]
    found = _provenance([*twins, opened[3]])["runs"]
    assert set(found) == {str(opened[0].folder), str(opened[2].folder), opened[3].name}


def test_without_resamples_nothing_speaks_of_intervals_and_p(
    runs: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Neither page, LaTeX table nor terminal: there were columns of dashes, and '0 bootstrap resamples'."""
    sides = [str(runs[0]), str(runs[2]), "--out", str(tmp_path)]
    assert main([*sides, "--bootstrap", "0", "--pictures", "0"]) == 0
    (entry,) = json.loads((tmp_path / "compare.json").read_text(encoding="utf-8"))["comparisons"]
    assert entry["drivers"]["class"]["groups"], "the sections are there"
    page, _, _ = (tmp_path / "compare.html").read_text(encoding="utf-8").partition('<section id="provenance"')
    said = {
        "page": re.sub(r"<style>.*?</style>|<[^>]+>", " ", page, flags=re.DOTALL),
        "table": (tmp_path / "compare.tex").read_text(encoding="utf-8"),
        "terminal": capsys.readouterr().out,
    }
    words = r"interval|95.{0,2} ?%|\bp\b|[0-9] (bootstrap )?resamples|adjusted|[Cc]ould show|–, | – \("
    for place, text in said.items():
        assert "nothing was tested" in text, place
        for known in ("no intervals, and nothing was tested", "single runs without intervals"):
            text = text.replace(known, "")
        assert [text[m.start() - 30 : m.end() + 30] for m in re.finditer(words, text)] == [], place


def test_without_a_bootstrap_no_part_is_said_to_be_undetectable(opened: list[Evaluated]) -> None:
    found = decompose([opened[2]], [opened[0]], PROTOCOLS["top1_loc"], by_seed=True, bootstrap=NO_BOOTSTRAP)
    assert found.as_json()["in_words"] == "not tested"


def test_curves_of_two_definitions_are_not_drawn_together(opened: list[Evaluated]) -> None:
    """They may even be at other IoU thresholds: the page then ended in a KeyError."""
    other = {
        **opened[2].protocols,
        "maxboxacc": dataclasses.replace(PROTOCOLS["maxboxacc"], iou_thresholds=(0.6,)),
    }
    assert [p.name for p in curve_protocols([opened[0], opened[2]])] == ["maxboxacc"]
    assert curve_protocols([opened[0], dataclasses.replace(opened[2], protocols=other)]) == []


def test_two_runs_of_one_method_and_seed_need_names(opened: list[Evaluated]) -> None:
    twin = dataclasses.replace(opened[1], seed=0)
    with pytest.raises(UserError, match="both method 'cutmix' with seed 0"):
        group([opened[0], twin])


def test_runs_of_one_method_become_groups_of_their_own(opened: list[Evaluated]) -> None:
    assert [r.method for r in relabelled(opened[:2])] == ["cutmix-0", "cutmix-1"]
    assert [r.method for r in relabelled(opened)] == ["cutmix", "cutmix", "vanilla", "vanilla"]


def test_unequal_seeds_lose_no_run(opened: list[Evaluated]) -> None:
    (pairing,) = pair(group([opened[0], opened[2], opened[3]]))
    assert not pairing.by_seed
    assert [r.name for r in pairing.baseline] == ["vanilla-0", "vanilla-1"]


def test_sentences_without_a_verdict_name_the_seeds_that_are_there(
    opened: list[Evaluated], runs: list[Path], tmp_path: Path
) -> None:
    """Three of one method against two of the other were 'two training seeds a side'."""
    third = dataclasses.replace(open_evaluated(shutil.copytree(runs[2], tmp_path / "vanilla-7")), seed=7)
    (entry,) = compare_runs([*opened, third], bootstrap=Bootstrap(50)).content["comparisons"]
    for sentence in (entry["agreement"], multiverse_text(entry["multiverse"], entry)):
        assert "which needs three training seeds of each method (here 3 and 2)" in sentence


def test_without_common_seeds_all_runs_take_part_unpaired(opened: list[Evaluated]) -> None:
    (pairing,) = pair(group([opened[0], opened[3]]))
    assert not pairing.by_seed
    assert (len(pairing.baseline), len(pairing.other)) == (1, 1)


def test_records_that_disagree_with_the_results_are_refused(opened: list[Evaluated]) -> None:
    results = json.loads(json.dumps(opened[0].results))
    results["protocols"]["maxboxacc"]["value"] += 1
    tampered = dataclasses.replace(opened[0], results=results)
    with pytest.raises(UserError, match="belong to different evaluations"):
        tampered.summaries([PROTOCOLS["maxboxacc"]], NO_BOOTSTRAP)


def test_a_name_that_the_user_gave_another_meaning_is_not_held_against_it(opened: list[Evaluated]) -> None:
    """A protocol file may define its own 'maxboxacc': the usual one, re-scored for the normalisations, then differs."""
    results = json.loads(json.dumps(opened[0].results))
    entry = results["protocols"]["maxboxacc"]
    entry["definition"]["iou_thresholds"], entry["value"] = [0.3], 99.0
    own = dataclasses.replace(opened[0], results=results)
    usual = opened[0].results["protocols"]["maxboxacc"]["value"]
    found = own.summaries([PROTOCOLS["maxboxacc"]], NO_BOOTSTRAP)
    assert found["maxboxacc"].value == pytest.approx(usual)


def test_kept_maps_of_more_frames_are_still_those_that_were_scored(
    runs: list[Path], dataset: Manifest
) -> None:
    run = open_evaluated(runs[0])
    split = dataset.split("test")
    index = run.store.index
    fewer = dataclasses.replace(index, maps={**index.maps, "frames": []})
    other = dataclasses.replace(index, maps={**index.maps, "recipe": "another"})
    for changed, there in ((index, True), (fewer, True), (other, False)):
        store = RecordStore(run.store.folder, changed)
        found = dataclasses.replace(run, store=store).maps(split)
        assert isinstance(found, Unavailable) != there, found


def test_same_images_pass(opened: list[Evaluated]) -> None:
    require_same_images(opened)
