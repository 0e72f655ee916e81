from __future__ import annotations

import os

import pytest

from wsol.machine.cores import decoding_processes, share_of_cores


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
    ("cores", "of", "expected"),
    [
        pytest.param(4, 2, [(0, 2), (1, 3)], id="two each"),
        pytest.param(5, 2, [(0, 2, 4), (1, 3)], id="an odd one"),
        pytest.param(2, 3, [(0,), (1,), (0,)], id="more processes than cores"),
    ],
    indirect=["cores"],
)
def test_shares_of_cores(cores: None, of: int, expected: list[tuple[int, ...]]) -> None:
    assert [share_of_cores(turn, of) for turn in range(of)] == expected
