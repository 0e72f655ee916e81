"""`python -m eval.study` from nothing to a page: killed, continued, called again, and with a run lost."""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from eval.study.__main__ import main
from tests.helpers.oracles import oracle
from wsol.datasets.parts import PartsConfig, write_parts
from wsol.manifest import write_manifest
from wsol.runs.record import load_run

TINY = PartsConfig(num_classes=3, image_size=32, train_per_class=8, val_per_class=3, test_per_class=2)


def design(folder: Path) -> Path:
    images = folder / "data"
    write_manifest(write_parts(TINY, images, workers=1).with_root(images), folder / "manifest")
    content = {
        "name": "tiny",
        "question": "Does the command work?",
        "primary": "maxboxacc_v2_transferred",
        "margin": 50,
        "datasets": {"parts": {"manifest": str(folder / "manifest")}},
        "networks": {"small": {"arch": "resnet_small", "size": 32}},
        "methods": {"vanilla": {}, "cutmix": {"cutmix_prob": 0.5}},
        "seeds": 1,
        "aligned": True,
        "map_methods": ["cam", "layercam"],
        "train": {
            "epochs": 2,
            "batch_size": 8,
            "lr": 0.01,
            "device": "cpu",
            "precision": "fp32",
            "workers": 0,
        },
    }
    file = folder / "tiny.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    return file


def numbers(out: Path) -> Any:
    return json.loads((out / "study.json").read_text())["outcomes"]


def test_killed_continued_called_again_and_restored(tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    oracle("submitit")
    file, out = design(tmp_path), tmp_path / "out"
    command = [sys.executable, "-m", "eval.study", str(file), "--out", str(out), "--workers", "2"]
    with subprocess.Popen(command, start_new_session=True, stderr=subprocess.PIPE) as process:
        while not list(out.glob("runs/*/*/*/run.yaml")):
            assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGKILL)
    assert not (out / "study.html").exists()

    while (code := main([str(file), "--out", str(out), "--workers", "2"])) == 2:
        # a training that the killed command had begun goes on by itself
        assert "still running elsewhere" in capsys.readouterr().err
    assert code == 0
    assert not any(
        type(o).__name__ == "LocalJob" for o in gc.get_objects()
    )  # they print errors when Python ends
    printed = capsys.readouterr().out
    assert "centre Gaussian" in printed
    assert "By maxboxacc_v2_transferred, " in printed.splitlines()[-2]
    first = numbers(out)
    page = (out / "study.html").read_text()
    assert "cutmix" in page
    assert "<script" not in page
    content = json.loads((out / "study.json").read_text())
    names = {o["outcome"] for o in content["outcomes"]}
    assert {
        "top-1 accuracy",
        "maxboxacc",
        "maxboxacc@aligned",
        "maxboxacc_v2_transferred of layercam",
        "energy on head",
    } <= names
    assert {(c["method"], c["control"]) for c in content["controls"]} == {
        (method, control) for method in ("vanilla", "cutmix") for control in ("random", "center_gaussian")
    }
    assert "network with random weights" in page
    assert page.count('src="data:image/png') == 4
    assert page.count("<table") == 5  # outcomes, controls, maps, maps' controls, times; none by dataset
    by_layercam = next(o for o in content["outcomes"] if o["outcome"].endswith("_v2_transferred of layercam"))
    values = {"vanilla": by_layercam["baseline"], "cutmix": by_layercam["other"]}
    assert {(c["map"], c["control"]) for c in content["controls_by_map"]} == {
        ("layercam", "center_gaussian"),
        ("layercam", "random"),
    }
    assert {c["method"]: c["other"] for c in content["controls_by_map"]} == values
    row = (
        f"| layercam | parts | small | cutmix | vanilla | {values['vanilla']:.1f} | {values['cutmix']:.1f} |"
    )
    assert row in (out / "study.md").read_text()
    primary = next(o for o in content["outcomes"] if o["role"] == "primary")
    row = f"| all | all | cutmix | vanilla | {primary['baseline']:.1f} | {primary['other']:.1f} |"
    assert row in (out / "study.md").read_text()
    (times,) = content["times"]
    assert times["runs"] == 2
    assert times["minutes"] > 0
    assert times["planned_minutes"] is None  # --plan was not asked
    (machine,) = content["machines"]
    assert machine["runs"] == 2
    assert f"{machine['device']} (torch {machine['torch']}): 2 runs" in page

    stamp = (out / "study.html").stat().st_mtime_ns
    assert main([str(file), "--out", str(out)]) == 0
    assert (out / "study.html").stat().st_mtime_ns == stamp

    shutil.rmtree(out / "runs" / "parts" / "small" / "cutmix-0")
    assert main([str(file), "--out", str(out)]) == 0
    assert numbers(out) == first

    by_energy = tmp_path / "energy.yaml"
    by_energy.write_text(
        file.read_text().replace("primary: maxboxacc_v2_transferred", "primary: energy on head")
    )
    shutil.copytree(out / "runs", tmp_path / "second" / "runs")
    assert main([str(by_energy), "--out", str(tmp_path / "second")]) == 0
    assert "By energy on head, " in capsys.readouterr().out
    other = json.loads((tmp_path / "second" / "study.json").read_text())
    assert other["outcomes"][0]["role"] == "primary"
    as_before = next(o for o in first if o["outcome"] == "energy on head")
    for part in ("baseline", "other", "difference", "ci95"):
        assert other["outcomes"][0][part] == as_before[part]
    assert {(c["method"], c["control"]) for c in other["controls"]} == {
        ("vanilla", "random"),
        ("cutmix", "random"),
    }
    assert {(c["map"], c["method"], c["control"]) for c in other["controls_by_map"]} == {
        ("layercam", method, "random") for method in ("vanilla", "cutmix")
    }
    assert next(c for c in other["controls"] if c["method"] == "cutmix")["other"] == as_before["other"]

    (out / "design.yaml").unlink()
    file.write_text(file.read_text().replace("epochs: 2", "epochs: 3"))
    assert main([str(file), "--out", str(out)]) == 2
    assert "holds a run with epochs 2, and the study asks for 3" in capsys.readouterr().err


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_run_that_fails_is_named_with_its_reason(workers: str, tmp_path: Path, capsys: Any) -> None:
    """Through submitit the reason used to be the last line of its own text: the name of a log."""
    oracle("submitit")
    file, out = design(tmp_path), tmp_path / "out"
    for image in (tmp_path / "data").rglob("*.png"):
        image.write_bytes(b"no picture")
    assert main([str(file), "--out", str(out), "--workers", workers]) == 2
    said = capsys.readouterr().err
    assert "failed parts/small/vanilla-0: " in said
    assert said.count("ended with exit code 2: error: ") >= 2
    assert "-0.log) (and 1 more); the same command tries again" in said.splitlines()[-1]


def test_ctrl_c_ends_the_jobs_too_after_they_have_saved(tmp_path: Path) -> None:
    """A terminal sends it to every process of its own; the jobs used to go on without their command."""
    oracle("submitit")
    file, out = design(tmp_path), tmp_path / "out"
    file.write_text(file.read_text().replace("epochs: 2", "epochs: 2000"))
    command = [sys.executable, "-m", "eval.study", str(file), "--out", str(out), "--workers", "2"]
    listening = {
        "preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    }  # a suite in the background is deaf
    with subprocess.Popen(  # type: ignore[call-overload]
        command, start_new_session=True, stderr=subprocess.PIPE, text=True, **listening
    ) as process:
        while len(list(out.glob("runs/*/*/*/log.jsonl"))) < 2:
            assert process.poll() is None
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
        said = process.communicate()[1]
    assert process.returncode == 130
    assert said.splitlines()[-2:] == [
        "stopped; the same command continues where this one ended",
        "interrupted",
    ]
    assert {load_run(folder).status for folder in out.glob("runs/*/*/*-0")} == {"interrupted"}


def test_a_plan_fixes_nothing(tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    """What it says may change the design."""
    file, out = design(tmp_path), tmp_path / "out"
    assert main([str(file), "--out", str(out), "--plan"]) == 0
    assert not (out / "design.yaml").exists()
    file.write_text(file.read_text().replace("epochs: 2", "epochs: 3"))
    assert main([str(file), "--out", str(out), "--plan"]) == 0


def test_a_changed_design_is_refused(tmp_path: Path, capsys) -> None:  # type: ignore[no-untyped-def]
    file, out = design(tmp_path), tmp_path / "out"
    out.mkdir()
    (out / "design.yaml").write_text("name: another\n")
    assert main([str(file), "--out", str(out)]) == 2
    assert "is the design that" in capsys.readouterr().err
