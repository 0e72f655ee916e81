"""Writes the pictures of a `parts` dataset, on every core.

Python's lock makes threads slower than one core here, so the work goes to processes. They are started by
`python -m wsol.datasets.parts_files` rather than by multiprocessing: that neither forks a process with
running threads nor imports the caller's own script again.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Generator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from wsol.datasets.parts_config import PartsConfig
from wsol.datasets.parts_paint import Rendered, paint
from wsol.datasets.parts_scene import draw_scene
from wsol.datasets.parts_textures import Textures, load_textures
from wsol.errors import EXIT_OK, EXIT_USER_ERROR, UserError, describe_os_error
from wsol.manifest import SPLIT_ROLES, Sample, Split

Progress = Callable[[int, int], None]
KINDS = ("images", "masks", "part_masks")
# Starting a process costs about as much as this many small pictures.
_PICTURES_WORTH_A_PROCESS = 300
_REPORT_EVERY = 32


@dataclass(frozen=True)
class _Row:
    """What a manifest needs of one finished picture."""

    role: str
    index: int
    boxes: list[list[float]]
    parts: list[list[float]]


_Batches = Generator[list[_Row], None, None]


def render(config: PartsConfig, role: str, index: int, textures: Textures) -> Rendered:
    """Make picture `index` of a split; depends on its arguments alone, so order and
    parallelism do not matter.

    The label is `index` modulo the number of classes. Raises `UserError` for an unknown role, IndexError for
    an index outside the split."""
    return paint(draw_scene(config, role, index), textures)


def write_pictures(
    config: PartsConfig, root: Path, progress: Progress | None = None, workers: int | None = None
) -> dict[str, Split]:
    """Write every picture, mask and part mask under `root`, which must be empty; returns the splits by role.

    `workers` is the number of processes (default: by cores and work; 1 stays in this process)."""
    total = sum(config.num_images(role) for role in SPLIT_ROLES)
    for folder in (
        root / kind / role / name for kind in KINDS for role in SPLIT_ROLES for name in config.classes
    ):
        folder.mkdir(parents=True)
    if workers is None:
        workers = max(1, min(_cores(), total // _PICTURES_WORTH_A_PROCESS))
    rows: dict[str, list[_Row | None]] = {role: [None] * config.num_images(role) for role in SPLIT_ROLES}
    batches = _write_share(config, root, 0, 1) if workers == 1 else _from_workers(config, root, workers)
    done = 0
    with contextlib.closing(batches):
        for batch in batches:
            for row in batch:
                rows[row.role][row.index] = row
            done += len(batch)
            if progress is not None:
                progress(done, total)
    return {
        role: Split.from_samples(_sample(config, row) for row in found if row is not None)
        for role, found in rows.items()
    }


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _name(config: PartsConfig, role: str, index: int) -> str:
    number, label = divmod(index, config.num_classes)
    return f"{role}/{config.classes[label]}/{number:05d}"


def _sample(config: PartsConfig, row: _Row) -> Sample:
    name = _name(config, row.role, row.index)
    return Sample(
        image_id=name,
        path=f"images/{name}.png",
        label=row.index % config.num_classes,
        size_wh=(config.image_size, config.image_size),
        boxes_xyxy=np.array(row.boxes, np.float64),
        masks=(f"masks/{name}.png",),
        part_mask=f"part_masks/{name}.png",
        parts=np.array(row.parts, np.float64),
    )


def _write_share(config: PartsConfig, root: Path, worker: int, workers: int) -> _Batches:
    """Write every `workers`-th picture, beginning with number `worker`; yields what
    is finished in batches."""
    textures = load_textures()
    everything = [(role, index) for role in SPLIT_ROLES for index in range(config.num_images(role))]
    batch: list[_Row] = []
    for role, index in everything[worker::workers]:
        shown = render(config, role, index, textures)
        _write_one(shown, root, _name(config, role, index))
        batch.append(_Row(role, index, shown.boxes_xyxy.tolist(), shown.parts.tolist()))
        if len(batch) == _REPORT_EVERY:
            yield batch
            batch = []
    if batch:
        yield batch


def _write_one(shown: Rendered, root: Path, name: str) -> None:
    # OpenCV writes BGR.
    planes = (np.ascontiguousarray(shown.image[..., ::-1]), shown.mask, shown.part_mask)
    for kind, pixels in zip(KINDS, planes):
        _, data = cv2.imencode(".png", pixels, (cv2.IMWRITE_PNG_COMPRESSION, 3))
        (root / kind / f"{name}.png").write_bytes(data.tobytes())


# --- processes ----------------------------------------------------------------------------------------------


def _from_workers(config: PartsConfig, root: Path, workers: int) -> _Batches:
    """Start the workers and yield their batches as they come; stops them all where one fails."""
    inbox: queue.SimpleQueue[tuple[subprocess.Popen[str], list[_Row]]] = queue.SimpleQueue()
    processes: list[subprocess.Popen[str]] = []

    def listen(process: subprocess.Popen[str]) -> None:
        # A worker that was stopped leaves half a line; the exit code tells the rest.
        with contextlib.suppress(ValueError):
            for line in process.stdout or ():
                inbox.put((process, [_Row(*fields) for fields in json.loads(line)]))
        inbox.put((process, []))  # no worker sends an empty batch: this one is at its end

    listeners: list[threading.Thread] = []
    try:
        for worker in range(workers):
            process = _start_worker(
                {"config": asdict(config), "root": str(root), "worker": worker, "workers": workers}
            )
            processes.append(process)
            listeners.append(threading.Thread(target=listen, args=(process,), daemon=True))
            listeners[-1].start()
        running = workers
        while running:
            process, batch = inbox.get()
            if batch:
                yield batch
            else:
                _check_end(process)
                running -= 1
    finally:
        for process in processes:
            process.kill()
            process.wait()
        for listener in listeners:
            listener.join()
        for pipe in (pipe for process in processes for pipe in (process.stdout, process.stderr)):
            if pipe is not None:
                pipe.close()


def _start_worker(task: dict[str, Any]) -> subprocess.Popen[str]:
    package_home = str(Path(__file__).resolve().parents[2])
    paths = [package_home, *filter(None, [os.environ.get("PYTHONPATH")])]
    # One thread each: the workers are as many as the cores.
    single = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    process = subprocess.Popen(
        [sys.executable, "-m", "wsol.datasets.parts_files"],
        env={**os.environ, **single, "PYTHONPATH": os.pathsep.join(paths)},
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(task))
    process.stdin.close()
    return process


def _check_end(process: subprocess.Popen[str]) -> None:
    said = process.stderr.read().strip() if process.stderr else ""
    code = process.wait()
    if code == EXIT_USER_ERROR:
        raise UserError(f"parts: {said.splitlines()[-1] if said else 'a worker failed'}")
    if code != 0:
        raise RuntimeError(f"a process that makes the parts dataset ended with exit code {code}:\n{said}")


def _work(task: dict[str, Any]) -> None:
    cv2.setNumThreads(1)
    config = PartsConfig(**task["config"])
    for batch in _write_share(config, Path(task["root"]), task["worker"], task["workers"]):
        sys.stdout.write(json.dumps([(r.role, r.index, r.boxes, r.parts) for r in batch]) + "\n")
        sys.stdout.flush()


def _main() -> int:
    """A worker: reads its task from stdin, writes its share of the pictures, reports rows on stdout."""
    try:
        _work(json.load(sys.stdin))
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return EXIT_USER_ERROR
    except OSError as error:
        sys.stderr.write(f"{describe_os_error(error)}\n")
        return EXIT_USER_ERROR
    return EXIT_OK


if __name__ == "__main__":
    sys.exit(_main())
