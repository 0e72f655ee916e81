"""ImageNet-sized manifests: prepare and load 1,281,167 training rows from names alone; time and peak memory.

    python benchmarks/manifest_scale.py [--rows 1281167] [--boxes]

Writes a zip whose members are empty files with ImageNet's names (a tree listing without pixels), runs
`python -m wsol.prepare imagenet --verify names` on it and loads the result, each in a process of its own. Seconds of
CPU say what an idle machine would take. With
`--boxes`, a Kaggle CSV names a box for 42 % of the images, as ImageNet has.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

PREPARE = """
import json, resource, sys, time
from wsol import prepare
start = time.perf_counter()
prepare.main(["imagenet", "--source", sys.argv[1], "--out", sys.argv[2], "--verify", "names", "--force"])
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
seconds = time.perf_counter() - start
print(json.dumps({"seconds": seconds, "cpu": time.process_time(), "peak_mib": peak}))
"""
LOAD = """
import json, resource, sys, time
from wsol.manifest import load_manifest
start = time.perf_counter()
manifest = load_manifest(sys.argv[1])
seconds = time.perf_counter() - start
rows = sum(len(s) for s in manifest.splits.values())
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps({"seconds": seconds, "cpu": time.process_time(), "rows": rows, "peak_mib": peak}))
"""


def write_listing(folder: Path, rows: int, boxes: bool) -> Path:
    """A folder of empty files: `rows` in train/<wnid>/, and a Kaggle CSV where boxes are asked for."""
    per_class = -(-rows // 1000)
    csv = ["ImageId,PredictionString"]
    with zipfile.ZipFile(folder / "imagenet.zip", "w") as archive:
        for i in range(rows):
            wnid = f"n{1440764 + 7 * (i // per_class):08d}"
            stem = f"{wnid}_{i % per_class * 9 + 3}"
            archive.writestr(f"train/{wnid}/{stem}.JPEG", b"")
            if boxes and i % 100 < 42:
                csv.append(f"{stem},{wnid} {i % 200} {i % 150} {i % 200 + 150} {i % 150 + 200} ")
        if boxes:
            archive.writestr("LOC_train_solution.csv", "\n".join(csv))
    return folder / "imagenet.zip"


def run(code: str, *arguments: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def report(found: dict[str, float]) -> str:
    return f"{found['seconds']:.1f} s ({found['cpu']:.1f} s of CPU), peak {found['peak_mib']:,.0f} MiB"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, default=1_281_167)
    parser.add_argument("--boxes", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        start = time.perf_counter()
        listing = write_listing(Path(scratch), options.rows, options.boxes)
        print(f"listing: {options.rows:,} names in {time.perf_counter() - start:.1f} s")
        prepared = run(PREPARE, str(listing), f"{scratch}/m")
        print(f"prepare: {report(prepared)}")
        loaded = run(LOAD, f"{scratch}/m")
        print(f"load: {loaded['rows']:,} rows, {report(loaded)}")


if __name__ == "__main__":
    main()
