"""`python -m eval.search`: ranges and draws, the command killed, continued and called again, and what it reads."""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from eval.localize import main as localize
from eval.search.__main__ import main
from eval.search.design import Search, read_search
from eval.search.ranges import Range, draws, read_range
from eval.study.jobs import Job
from eval.while_training import train_observed
from tests.helpers.oracles import oracle
from tests.helpers.tiny_dataset import make_tiny_dataset
from wsol.errors import UserError
from wsol.training.config import parse_config

SEARCHES = sorted((Path(__file__).resolve().parents[2] / "studies").glob("search-*.yaml"))
TRIALS = 3
PLAIN: dict[str, Any] = {
    "name": "tiny",
    "trials": TRIALS,
    "datasets": {"colours": {"manifest": "colours"}},
    "networks": {"small": {"arch": "resnet_small", "size": 32}},
    "methods": {"vanilla": {}, "cutmix": {"cutmix_prob": {"linear": [0, 1]}, "cutmix_alpha": 2}},
    "train": {
        "epochs": 1,
        "batch_size": 12,
        "device": "cpu",
        "precision": "fp32",
        "lr": {"log": [1e-3, 0.1]},
    },
}


def written(folder: Path, **changes: object) -> Path:
    file = folder / "search.yaml"
    file.write_text(yaml.safe_dump({**PLAIN, **changes}, sort_keys=False))
    return file


# --- ranges -------------------------------------------------------------------------------------------------


def test_draws_fill_their_range_uniformly() -> None:
    oracle("optuna")
    ranges = {
        "lr": Range("log", (1e-4, 1.0)),
        "cutmix_prob": Range("linear", (0.25, 0.75)),
        "epochs": Range("linear", (2, 4)),
        "batch_size": Range("choice", (16, 64)),
    }
    found = draws(ranges, 300, seed=0)
    logs = np.array([math.log10(d["lr"]) for d in found])
    assert -4 <= logs.min() < -3.9
    assert -0.1 < logs.max() <= 0
    assert abs(logs.mean() + 2) < 4 * (4 / math.sqrt(12)) / math.sqrt(300)
    probabilities = np.array([d["cutmix_prob"] for d in found])
    assert 0.25 <= probabilities.min() < 0.26 < 0.74 < probabilities.max() <= 0.75
    assert {d["epochs"] for d in found} == {2, 3, 4}
    assert {d["batch_size"] for d in found} == {16, 64}


def test_a_setting_has_the_same_draws_in_every_method_and_a_longer_search_begins_with_them() -> None:
    oracle("optuna")
    lr, prob = Range("log", (1e-3, 0.1)), Range("linear", (0.0, 1.0))
    alone, beside = draws({"lr": lr}, 3, 7), draws({"cutmix_prob": prob, "lr": lr}, 5, 7)
    assert [d["lr"] for d in alone] == [d["lr"] for d in beside[:3]]
    assert draws({"lr": lr}, 3, 8) != alone


@pytest.mark.parametrize(
    ("name", "stated", "said"),
    [
        ("lr", {"uniform": [0, 1]}, "expected {log: [low, high]}"),
        ("lr", {"log": [0, 1]}, "--lr must be a number above 0"),
        ("cutmix_prob", {"log": [0, 1]}, "two numbers above 0"),
        ("lr", {"linear": [1, 0.5]}, "the lower one first"),
        ("lr", {"log": [0.1]}, "expected log: [low, high]"),
        ("epochs", {"linear": [1, 2.5]}, "epochs"),
        ("arch", {"linear": ["resnet18", "resnet50"]}, "two numbers"),
        ("cutmix_prob", {"choice": [0.5, 7]}, "7"),
        ("cutmix_probe", {"choice": [0.5]}, "did you mean 'cutmix_prob'"),
    ],
    ids=str,
)
def test_a_range_that_is_none_is_refused(name: str, stated: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as error:
        read_range(name, stated, "train")
    assert "train" in str(error.value)
    assert said in str(error.value)


# --- the file -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", SEARCHES, ids=lambda f: f.stem)
def test_the_searches_of_this_repository_are_readable(file: Path) -> None:
    assert f"search-{read_search(file).name}" == file.stem


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"train": {}}, "methods.vanilla: nothing is searched"),
        ({"score": "maxboxacc_v2_transferred"}, "takes its threshold from train-fullsup"),
        ({"networks": {"small": {"lr": 0.1}}}, "networks.small: 'lr' is searched"),
        ({"trials": 0}, "at least 1"),
        ({"methods": {"cutmix": {"cutmix_prob": {"linear": [0, 2]}}}}, "cutmix"),
        ({"methods": {}}, "a method"),
        ({"networks": {"small": {"accumulate": 5}}}, "not a multiple"),
        ({"seeds": 3}, "seeds"),
    ],
    ids=str,
)
def test_refused_with_the_place(changes: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"search\.yaml") as error:
        read_search(written(tmp_path, **changes))
    assert said in str(error.value)


def test_a_trial_reads_train_fullsup_alone(tmp_path: Path) -> None:
    (job,) = read_search(written(tmp_path)).jobs("vanilla", 0, {"lr": 0.1}, tmp_path)
    _, localize = job.commands()
    assert localize[localize.index("--split") :][:4] == [
        "--split",
        "train-fullsup",
        "--threshold-split",
        "None",
    ]
    assert job.results()[0].parent.name == "eval-train-fullsup"


# --- the command --------------------------------------------------------------------------------------------


def trials(out: Path, method: str) -> list[dict[str, Any]]:
    found = json.loads((out / "search.json").read_text())["methods"][method]["trials"]
    assert isinstance(found, list)
    return found


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands of runs, carried out by this process, which has torch already. An entry "stop" ends the search
    before the next one, as a kill would."""
    ran: list[list[str]] = []

    def run(commands: list[list[str]], log: str) -> None:
        for command in commands:
            if ran and ran[-1] == ["stop"]:
                raise KeyboardInterrupt
            ran.append(command[2:])
            words = command[3:]
            training = command[2] == "train_cutmix"
            assert (train_observed(parse_config(words), words) if training else localize(words)) == 0
            if len(ran) == 1:
                ran.append(["stop"])

    monkeypatch.setattr("eval.search.trials.run_job", run)
    return ran


def test_stopped_continued_and_called_again(
    tmp_path: Path, inside: list[list[str]], capfd: pytest.CaptureFixture[str]
) -> None:
    oracle("optuna")
    data = make_tiny_dataset(tmp_path / "data")
    shutil.rmtree(tmp_path / "data" / "images" / "test")  # nobody may look at them
    methods = {"vanilla": {}, "cutmix": {"cutmix_prob": {"choice": [0.5, 1.0]}}}
    file = written(tmp_path, datasets={"colours": {"manifest": str(data)}}, methods=methods, trials=2)
    out = tmp_path / "out"
    command = [str(file), "--out", str(out)]
    assert main(command) == 130  # between the first training and its localization
    assert not (out / "search.json").exists()
    inside.append(["continued"])
    assert main(command) == 0
    assert [c[0] for c in inside].count("train_cutmix") == 4
    assert [c[0] for c in inside].count("eval.localize") == 4
    for method in methods:
        found = trials(out, method)
        assert [t["number"] for t in found] == [0, 1]
        best = max(found, key=lambda t: (t["maxboxacc_v2"], -t["number"]))
        config = parse_config(["--config", str(out / "chosen" / f"{method}.yaml")])
        assert config.method == method
        assert config.lr == best["settings"]["lr"]
        run = out / best["runs"] / "colours" / "small"
        results = json.loads((run / "eval-train-fullsup" / "results.json").read_text())
        assert results["protocols"]["maxboxacc_v2"]["value"] == best["maxboxacc_v2"]
        assert not (run / "eval").exists()

    def stamps() -> dict[str, int]:
        return {str(f): f.stat().st_mtime_ns for f in out.rglob("*") if f.is_file()}

    before, record = stamps(), (out / "search.json").read_text()
    assert main(command) == 0
    assert stamps() == before

    (out / "trials" / "cutmix" / "journal.log").write_text("torn\nagain\n")
    assert main(command) == 2
    assert "remove it" in capfd.readouterr().err
    (out / "trials" / "cutmix" / "journal.log").unlink()
    assert main(command) == 0
    assert (out / "search.json").read_text() == record
    assert len(inside) == 2 * 4 + 2


@pytest.fixture
def scored(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Job], float | str]], list[str]]:
    """Trials that are scored by a function instead of being trained; the names of those that ran."""

    def install(score: Callable[[Job], float | str]) -> list[str]:
        ran: list[str] = []

        def run(commands: object, log: str) -> None:
            ran.append("/".join(Path(log).parts[-4:-2]))
            value = score(by_log[log])
            if isinstance(value, str):
                raise RuntimeError(value)
            scores[log] = value

        by_log: dict[str, Job] = {}
        scores: dict[str, float] = {}
        plain = Search.jobs

        def jobs(self: Search, *given: Any) -> list[Job]:
            found = plain(self, *given)
            by_log.update({str(j.log): j for j in found})
            return found

        monkeypatch.setattr(Search, "jobs", jobs)
        monkeypatch.setattr("eval.search.trials.run_job", run)
        monkeypatch.setattr(
            "eval.search.trials.read_results",
            lambda file: {
                "protocols": {
                    "maxboxacc_v2": {
                        "value": next(scores[k] for k, j in by_log.items() if j.results() == [file])
                    }
                }
            },
        )
        return ran

    return install


def test_the_mean_over_datasets_is_chosen_and_diverged_trials_count(tmp_path: Path, scored: Any) -> None:
    oracle("optuna")
    data = str(make_tiny_dataset(tmp_path / "data"))
    file = written(tmp_path, datasets={"a": {"manifest": data}, "b": {"manifest": data}}, trials=4)

    def score(job: Job) -> float | str:
        number = int(job.folder.parents[1].name)
        if number == 3:
            return "error: the loss became nan by step 1 (epoch 1): training diverged. Start again"
        return {("a", 0): 90, ("b", 0): 10, ("a", 1): 60, ("b", 1): 60, ("a", 2): 60, ("b", 2): 60}[
            job.dataset, number
        ]

    ran = scored(score)
    assert main([str(file), "--out", str(tmp_path / "out")]) == 0
    found = trials(tmp_path / "out", "vanilla")
    assert [t.get("maxboxacc_v2") for t in found] == [50, 60, 60, None]
    assert found[3]["diverged"]
    assert json.loads((tmp_path / "out" / "search.json").read_text())["methods"]["vanilla"]["chosen"] == 1
    assert len(ran) == 2 * (3 * 2 + 1)
    assert ran[:4] == ["vanilla/000", "vanilla/000", "cutmix/000", "cutmix/000"]  # methods take turns


def test_a_failed_trial_is_tried_again(
    tmp_path: Path, scored: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    oracle("optuna")
    file = written(tmp_path, datasets={"a": {"manifest": str(make_tiny_dataset(tmp_path / "data"))}})
    broken = {"1"}
    ran = scored(lambda job: "the disk is full" if job.folder.parents[1].name[-1] in broken else 50.0)
    assert main([str(file), "--out", str(tmp_path / "out")]) == 2
    assert "2 trials failed: vanilla 1: the disk is full (and 1 more)" in capfd.readouterr().err
    assert len(ran) == 2 * TRIALS
    broken.clear()
    ran.clear()
    assert main([str(file), "--out", str(tmp_path / "out")]) == 0
    assert ran == ["vanilla/001", "cutmix/001"]


def test_where_every_trial_diverged_nothing_is_chosen(
    tmp_path: Path, scored: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    oracle("optuna")
    file = written(tmp_path, datasets={"a": {"manifest": str(make_tiny_dataset(tmp_path / "data"))}})
    scored(lambda job: "training diverged" if job.method == "cutmix" else 50.0)
    assert main([str(file), "--out", str(tmp_path / "out")]) == 2
    assert "every trial of a method diverged" in capfd.readouterr().err
    assert (tmp_path / "out" / "chosen" / "vanilla.yaml").is_file()
    assert not (tmp_path / "out" / "chosen" / "cutmix.yaml").exists()
