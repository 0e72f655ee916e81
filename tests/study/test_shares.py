from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from eval.study.engine import Engine
from eval.study.run import run_job
from wsol.machine.cores import decoding_processes
from wsol.machine.share import shares


@pytest.fixture
def cores(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(request.param)), raising=False)
    monkeypatch.delenv("LOCAL_WORLD_SIZE", raising=False)


@pytest.mark.parametrize(
    ("cores", "gpu", "expected"),
    [(1, True, 0), (1, False, 0), (2, True, 2), (2, False, 1), (64, True, 16), (64, False, 16)],
    indirect=["cores"],
)
def test_processes_that_decode(cores: None, gpu: bool, expected: int) -> None:
    assert decoding_processes(gpu) == expected


@pytest.mark.parametrize(
    ("cores", "jobs", "expected"),
    [
        pytest.param(4, 2, [(0, 2), (1, 3)], id="two each"),
        pytest.param(5, 2, [(0, 2, 4), (1, 3)], id="an odd one"),
        pytest.param(2, 3, [(0,), (1,), (0,)], id="more jobs than cores"),
    ],
    indirect=["cores"],
)
def test_shares_of_cores(cores: None, jobs: int, expected: list[tuple[int, ...]]) -> None:
    assert [share.cores for share in shares(jobs)] == expected


@pytest.mark.parametrize(
    ("visible", "jobs", "processes", "expected"),
    [
        pytest.param("0", 3, 1, [("0",)] * 3, id="one GPU for all"),
        pytest.param("4, 7", 3, 1, [("4",), ("7",), ("4",)], id="in turns, by their names"),
        pytest.param("0,1,2,3", 2, 2, [("0", "1"), ("2", "3")], id="two processes each"),
        pytest.param("", 2, 1, [(), ()], id="none"),
    ],
)
def test_shares_of_gpus(
    monkeypatch: pytest.MonkeyPatch, visible: str, jobs: int, processes: int, expected: list[tuple[str, ...]]
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert [share.gpus for share in shares(jobs, processes)] == expected


def test_a_job_of_submitit_sees_its_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """submitit starts local jobs with CUDA_VISIBLE_DEVICES empty unless they ask for GPUs."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,6")
    show = [
        sys.executable,
        "-c",
        "import os; print(os.environ['CUDA_VISIBLE_DEVICES'], len(os.sched_getaffinity(0)))",
    ]
    with Engine(tmp_path, "local", 2, 1, {}) as engine:
        for turn, share in enumerate(engine.shares):
            log = tmp_path / f"{turn}.log"
            engine.submit(run_job, [show], str(log), share=share).result()
        assert log.read_text() == f"{5 + turn} {len(share.cores)}\n"
