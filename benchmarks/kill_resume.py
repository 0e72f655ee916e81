"""Kill the real training command by SIGKILL at 20 random moments, resume it each time, compare the weights.

    python -m benchmarks.kill_resume [--what training] [--kills 20] [--seed 0]
    python -m benchmarks.kill_resume --what evaluation

Trains twice on the embedded dataset (600 images, 6 epochs, a checkpoint at every step): once left alone, once
killed again and again, at a random moment after its first words (in a step, in the middle of writing) or, one
time in four, at any moment since its start. Prints one line a kill and ends with exit code 1 when a single
bit of the final weights differs.

With `--what evaluation` the command is `python -m eval.localize` on a run of one epoch, killed at any moment since
its start, and what must not differ is results.json.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SETTINGS = (
    ("--classes", "3"),
    ("--epochs", "6"),
    ("--size", "32"),
    ("--device", "cpu"),
    ("--checkpoint-every-steps", "1"),
)


def training(folder: Path, out: str) -> list[str]:
    """The command of one run; it begins or continues, whichever is needed."""
    dataset = str(ROOT / "data_manifests" / "parts")
    settings = [word for pair in SETTINGS for word in pair]
    where_to = ["--resume", "--dataset", dataset, "--out", str(folder / out)]
    return [sys.executable, str(ROOT / "train_cutmix.py"), *settings, *where_to]


def evaluation(folder: Path, out: str) -> list[str]:
    """The command that scores the run `alone` of `folder` on 2,400 images, five blocks of records."""
    settings = ["--split", "train-weaksup", "--protocols", "maxboxacc", "maxboxacc_v2_transferred", "pxap"]
    settings += ["--pictures", "4", "--bootstrap", "100", "--device", "cpu"]
    return [
        sys.executable,
        "-m",
        "eval.localize",
        str(folder / "alone"),
        "--out",
        str(folder / out),
        *settings,
    ]


def main() -> int:
    """Run the comparison; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--what", choices=("training", "evaluation"), default="training")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    sys.path.insert(0, str(ROOT))
    from wsol.datasets.catalog import open_dataset

    open_dataset("parts")
    with tempfile.TemporaryDirectory() as name:
        compared = kill_evaluation if arguments.what == "evaluation" else kill_training
        return compared(Path(name), arguments.kills, rng)


def kill_training(folder: Path, kills: int, rng: random.Random) -> int:
    """Train undisturbed and with kills in `folder`; the exit code, 1 where the weights differ."""
    for attempt in range(2):  # the first decodes the images; the second is timed
        alone = timed(training(folder, f"alone{attempt}"), folder)
    killed = 0
    while True:
        process = subprocess.Popen(training(folder, "killed"), cwd=folder, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        early = rng.random() < 0.25
        for line in process.stdout if not early else ():
            if line.startswith("run directory"):
                break
        patience = rng.uniform(0, alone if early else 0.2 * alone)
        try:
            process.communicate(timeout=patience if killed < kills else None)
            code = process.returncode
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            killed += 1
            print(f"kill {killed:2d} after {patience:.2f} s: {where(folder / 'killed')}", flush=True)
            continue
        if code:
            print(f"the resumed run ended with exit code {code}")
            return 1
        if killed >= kills:
            break
        if different := differences(folder / "alone1", folder / "killed"):
            print(f"after {killed} kills these differ: {different}")
            return 1
        print("finished before the next kill, with the same bits; beginning again in a new directory")
        (folder / "killed").rename(folder / f"finished{killed}")
    different = differences(folder / "alone1", folder / "killed")
    print(f"{killed} kills; tensors that differ from the undisturbed run: {different or 'none'}")
    return 1 if different else 0


def kill_evaluation(folder: Path, kills: int, rng: random.Random) -> int:
    """Evaluate undisturbed and with kills in `folder`; the exit code, 1 where results.json differs."""
    timed([*training(folder, "alone"), "--classes", "12", "--epochs", "1"], folder)
    timed(evaluation(folder, "scored0"), folder)  # compiles the kernel where nobody has; the second is timed
    alone = timed(evaluation(folder, "scored1"), folder)
    print(f"undisturbed: {alone:.1f} s", flush=True)
    expected = numbers(folder / "scored1")
    killed = finished = 0
    while killed < kills:
        process = subprocess.Popen(
            evaluation(folder, f"killed{finished}"), cwd=folder, stdout=subprocess.DEVNULL, env=environment()
        )
        patience = rng.uniform(0, alone)
        try:
            code = process.wait(timeout=patience)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            killed += 1
            print(
                f"kill {killed:2d} after {patience:.2f} s: {scored(folder / f'killed{finished}')}", flush=True
            )
            continue
        if code or numbers(folder / f"killed{finished}") != expected:
            print(f"after {killed} kills: exit code {code}, results.json differs")
            return 1
        print("finished before the next kill, with the same results.json; beginning again in a new folder")
        finished += 1
    timed(evaluation(folder, f"killed{finished}"), folder)
    different = numbers(folder / f"killed{finished}") != expected
    print(f"{killed} kills; results.json {'differs from' if different else 'equals'} the undisturbed one")
    return 1 if different else 0


def environment() -> dict[str, str]:
    """The commands run in a scratch folder and find the project here."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def timed(command: list[str], folder: Path) -> float:
    """Run a command that must succeed; its wall time in seconds."""
    began = time.monotonic()
    subprocess.run(command, cwd=folder, check=True, stdout=subprocess.DEVNULL, env=environment())
    return time.monotonic() - began


def numbers(folder: Path) -> dict[str, Any]:
    """results.json without the command, the folder and the checkout's state."""
    results: dict[str, Any] = json.loads((folder / "results.json").read_text())
    for name in ("command", "git"):
        del results["provenance"][name]
    del results["provenance"]["config"]["out"], results["sha256"]
    return results


def scored(folder: Path) -> str:
    """How far a killed evaluation had come, from what it left."""
    blocks = len(list(folder.glob("records/*/block-*.npz")))
    half = sum(1 for _ in folder.rglob(".*.unfinished"))
    whole = ", results.json" if (folder / "results.json").exists() else ""
    return f"{blocks} blocks of records{whole}" + (", a file half written" if half else "")


def where(folder: Path) -> str:
    """How far a killed run had come, from what it left."""
    if not (folder / "run.yaml").is_file():
        return "before it began"
    files = sorted(folder.glob("checkpoints/step-*.safetensors"))
    half = sum(1 for _ in folder.rglob(".*.unfinished"))
    step = int(files[-1].stem.split("-")[1]) if files else 0
    return f"last checkpoint at step {step}" + (", a file half written" if half else "")


def differences(one: Path, other: Path) -> list[str]:
    """Names of the tensors that are not equal bit for bit."""
    import torch

    from wsol.files.checked_safetensors import load_tensors

    ours, theirs = (load_tensors(run / "model.safetensors")[0] for run in (one, other))
    return sorted(name for name in set(ours) | set(theirs) if not torch.equal(ours[name], theirs[name]))


if __name__ == "__main__":
    sys.exit(main())
