"""Kill the real training command by SIGKILL at 20 random moments, resume it each time, compare the weights.

    python -m benchmarks.kill_resume [--kills 20] [--seed 0]

Trains twice on the embedded dataset (600 images, 6 epochs, a checkpoint at every step): once left alone, once
killed again and again, at a random moment after its first words (in a step, in the middle of writing) or, one
time in four, at any moment since its start. Prints one line a kill and ends with exit code 1 when a single
bit of the final weights differs.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

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


def main() -> int:
    """Run the comparison; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    sys.path.insert(0, str(ROOT))
    from wsol.datasets.catalog import open_dataset

    open_dataset("parts")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for attempt in range(2):  # the first decodes the images; the second is timed
            began = time.monotonic()
            subprocess.run(
                training(folder, f"alone{attempt}"), cwd=folder, check=True, stdout=subprocess.DEVNULL
            )
            alone = time.monotonic() - began
        killed = 0
        while True:
            process = subprocess.Popen(
                training(folder, "killed"), cwd=folder, stdout=subprocess.PIPE, text=True
            )
            assert process.stdout is not None
            early = chance.random() < 0.25
            for line in process.stdout if not early else ():
                if line.startswith("run directory"):
                    break
            patience = chance.uniform(0, alone if early else 0.2 * alone)
            try:
                process.communicate(timeout=patience if killed < arguments.kills else None)
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
            if killed >= arguments.kills:
                break
            if different := differences(folder / "alone1", folder / "killed"):
                print(f"after {killed} kills these differ: {different}")
                return 1
            print("finished before the next kill, with the same bits; beginning again in a new directory")
            (folder / "killed").rename(folder / f"finished{killed}")
        different = differences(folder / "alone1", folder / "killed")
        print(f"{killed} kills; tensors that differ from the undisturbed run: {different or 'none'}")
        return 1 if different else 0


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

    from wsol.tensorfile import load_tensors

    ours, theirs = (load_tensors(run / "model.safetensors")[0] for run in (one, other))
    return sorted(name for name in set(ours) | set(theirs) if not torch.equal(ours[name], theirs[name]))


if __name__ == "__main__":
    sys.exit(main())
