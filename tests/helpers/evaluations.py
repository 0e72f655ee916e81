"""A process that forks evaluations: each is the whole command, but what it imports is there already.

    python -m tests.helpers.evaluations BLOCK

reads one JSON request a line and answers with the exit codes of its processes. Forking from a process that has done
nothing yet is safe, whereas pytest's has begun threads. `BLOCK` is the number of images in a block of records.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.helpers.moments import Fuse, lay
from wsol.manifest import Manifest, Sample, Split, load_manifest, write_manifest
from wsol.runs.record import Run, write_run

ROOT = Path(__file__).resolve().parents[2]
SIDE = 32  # pixels of images, maps and frames: everything small
PROTOCOLS = ("transferred", "v2")
PROTOCOL_FILE = f"""
transferred: {{based_on: maxboxacc_transferred, frame_size: {SIDE}}}
v2: {{based_on: maxboxacc_v2, frame_size: {SIDE}}}
"""


# --- what is evaluated --------------------------------------------------------------------------------------


def make_pictures(folder: Path, *, test: int, fullsup: int) -> Path:
    """Images of one bright rectangle on noise, their boxes, and the protocol file; the manifest's folder."""
    chance = np.random.default_rng(0)
    splits = {}
    for role, count in (("test", test), ("train-fullsup", fullsup)):
        (folder / role).mkdir(parents=True)
        rows = []
        for i in range(count):
            x, y = (int(v) for v in chance.integers(0, SIDE - 12, 2))
            pixels = chance.integers(0, 90, (SIDE, SIDE, 3), dtype=np.uint8)
            pixels[y : y + 11, x : x + 9] += np.uint8(120)
            path = f"{role}/{i}.png"
            Image.fromarray(pixels).save(folder / path, compress_level=1)
            rows.append(Sample(path, path, i % 3, (SIDE, SIDE), np.array([[x, y, x + 9, y + 11]], float)))
        splits[role] = Split.from_samples(rows)
    (folder / "protocols.yaml").write_text(PROTOCOL_FILE)
    return write_manifest(Manifest("pictures", ("a", "b", "c"), splits, str(folder)), folder / "manifest")


def make_run(folder: Path, manifest: Path, seed: int = 0, method: str = "cutmix") -> Path:
    """A finished run of an untrained `resnet_small`: its maps are as good as any to be scored."""
    from wsol.files.checked_safetensors import save_tensors
    from wsol.models import ClassifierSpec, build_classifier
    from wsol.training.config import TrainConfig

    data = load_manifest(manifest)
    spec = ClassifierSpec("resnet_small", len(data.classes), 8, SIDE)
    folder.mkdir(parents=True)
    save_tensors(folder / "model.safetensors", build_classifier(spec, seed=seed).state_dict(), {})
    record = {
        "status": "finished",
        "config": TrainConfig(method=method, seed=seed).to_dict(),
        "classifier": spec.to_dict(),
        "dataset": {
            "name": data.dataset,
            "manifest": str(manifest),
            "manifest_hash": "",
            "root": data.root,
            "classes": list(data.classes),
        },
    }
    write_run(Run(folder, record))
    return folder


def make_maps(file: Path, *, test: int, fullsup: int, seed: int = 0) -> Path:
    """Ready-made score maps of both splits in one .npz: blurred noise."""
    import cv2

    chance = np.random.default_rng(seed)
    maps = {}
    for role, count in (("test", test), ("train-fullsup", fullsup)):
        for i in range(count):
            m = cv2.resize(chance.random((5, 5)), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
            maps[f"{role}/{i}.png"] = np.clip(255 * m, 0, 255).astype(np.uint8)
    np.savez(file, **maps)  # type: ignore[arg-type]
    return file


def command(subject: list[str], manifest: Path, out: Path, *more: str) -> list[str]:
    """Arguments of `python -m eval.localize`."""
    return [
        *(*subject, "--dataset", str(manifest), "--out", str(out), "--device", "cpu"),
        *("--protocol-file", str(manifest.parent / "protocols.yaml"), "--protocols", *PROTOCOLS),
        *("--bootstrap", "20", *more),
    ]


# --- the process that forks ---------------------------------------------------------------------------------


class Evaluations:
    """The forking process; use as a context manager."""

    def __init__(self, log: Path, block: int = 512) -> None:
        self.log = log
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.helpers.evaluations", str(block)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "GOMP_SPINCOUNT": "1000"},
        )

    def __enter__(self) -> Evaluations:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.communicate()

    def run(
        self,
        arguments: list[str],
        *,
        kill_at: tuple[str, int] | None = None,
        processes: int = 1,
    ) -> list[int]:
        """Evaluate; exit codes by rank. `kill_at` names a kind of moment (see `kind_of`) and which of them, from 1.

        With no `processes` the forking one evaluates by itself, and later ones find everything loaded and compiled;
        nothing but `--threads 1` then, which leaves no threads behind.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        asked = {
            "arguments": arguments,
            "kill_at": kill_at,
            "processes": processes,
            "log": str(self.log),
        }
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        codes: list[int] = json.loads(self._process.stdout.readline())
        return codes


def kind_of(what: str, path: Path) -> str:
    """A moment's kind: `records: half written` for a block of records, `results.json: renamed`, and so on."""
    folder = path.parent.parent.name
    if path.suffix == ".npz" and folder in ("records", "maps"):
        return f"{folder}: {what}"
    return f"{'picture' if path.suffix == '.png' else path.name}: {what}"


@dataclass(frozen=True)
class _Request:
    arguments: list[str]
    kill_at: list[Any] | None
    processes: int
    log: str


def _evaluate(request: _Request) -> int:
    """The command, killed on its way if so asked."""
    import torch

    from eval.localize import main
    from eval.records.scorer import Scorer

    torch.set_num_threads(1)
    if request.kill_at is not None:
        kind, nth = request.kill_at
        fuse = Fuse(nth)

        def happened(what: str, path: Path) -> None:
            if kind_of(what, path) == kind:
                fuse.burn()

        score = Scorer.score

        def counted_score(scorer: Scorer, batch: Any) -> Any:
            found = score(scorer, batch)
            if kind == "scored":
                fuse.burn()
            return found

        Scorer.score = counted_score  # type: ignore[method-assign,assignment]
        lay(happened)
    return main(request.arguments)


def _fork(request: _Request, rank: int, port: int) -> int:
    child = os.fork()
    if child:
        return child
    code = 99
    try:
        if request.processes > 1:
            os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(request.processes))
            os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        with _output_to(request.log):
            code = _evaluate(request)
    finally:
        os._exit(code)


@contextmanager
def _output_to(log: str) -> Iterator[None]:
    before = [os.dup(stream) for stream in (1, 2)]
    handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(handle, stream)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for stream, held in zip((1, 2), before):
            os.dup2(held, stream)
            os.close(held)
        os.close(handle)


def _free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        return int(place.getsockname()[1])


def _serve(block: int) -> None:
    import eval.maps.blocks

    eval.maps.blocks.BLOCK = block  # before anything else reads it
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for line in sys.stdin:
        request = _Request(**json.loads(line))
        if not request.processes:
            with _output_to(request.log):
                code = _evaluate(request)
            print(json.dumps([code]), flush=True)
            continue
        port = _free_port()
        children = [_fork(request, rank, port) for rank in range(request.processes)]
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        print(json.dumps(codes), flush=True)


if __name__ == "__main__":
    _serve(int(sys.argv[1]))
