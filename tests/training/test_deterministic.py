"""`--deterministic`: the same bits for the same seed, and a caller's torch as it was before."""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from wsol.errors import UserError
from wsol.files.checked_safetensors import load_tensors
from wsol.machine import device
from wsol.machine.cores import usable_cores
from wsol.runs.record import load_run
from wsol.training import session
from wsol.training.config import parse_config
from wsol.training.loop import Trainer
from wsol.training.progress import Silent

WORKSPACE = "CUBLAS_WORKSPACE_CONFIG"
pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


@pytest.fixture(autouse=True)
def no_workspace_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(WORKSPACE, raising=False)


@pytest.fixture(autouse=True)
def several_threads() -> Iterator[Callable[[int], None]]:
    """Sums depend on the number of threads. One more than cores, so that OpenMP's do not spin while they wait, which
    would take minutes beside another program."""
    before = torch.get_num_threads()
    torch.set_num_threads(usable_cores() + 1)
    yield torch.set_num_threads
    torch.set_num_threads(before)


def arguments(manifest: Path, *more: str, out: str) -> list[str]:
    """Two epochs of three steps."""
    text = "--size 32 --epochs 2 --batch-size 8 --lr 0.05 --device cpu --precision fp32 --workers 0"
    return ["--dataset", str(manifest), *text.split(), *more, "--out", out]


def run(manifest: Path, *more: str, out: str) -> dict[str, torch.Tensor]:
    """Train; the weights."""
    asked = arguments(manifest, *more, out=out)
    folder = session.train(parse_config(asked), asked, Silent()).run.dir
    return load_tensors(folder / "model.safetensors")[0]


def same_bits(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return set(one) == set(other) and all(torch.equal(one[name], other[name]) for name in one)


def torch_settings() -> dict[str, Any]:
    return {
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "warns": torch.is_deterministic_algorithms_warn_only_enabled(),
        "searches": torch.backends.cudnn.benchmark,
        "workspace": os.environ.get(WORKSPACE),
    }


ASKED = {"deterministic": True, "warns": False, "searches": False, "workspace": ":4096:8"}
UNASKED = {"deterministic": False, "warns": False, "searches": True, "workspace": None}
LEFT_ALONE = {"deterministic": False, "warns": False, "searches": False, "workspace": None}


def seen_in_steps(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Torch's settings at every step from now on; runs count as long ones."""
    monkeypatch.setattr(device, "_STEPS_FOR_A_SEARCH", 1)
    seen: list[dict[str, Any]] = []
    step = Trainer.step

    def watched(trainer: Trainer, batches: Any) -> None:
        seen.append(torch_settings())
        step(trainer, batches)

    monkeypatch.setattr(Trainer, "step", watched)
    return seen


def test_a_short_run_spends_no_time_on_a_search_for_kernels(
    manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = seen_in_steps(monkeypatch)
    monkeypatch.setattr(device, "_STEPS_FOR_A_SEARCH", 1000)
    run(manifest, out="short")
    assert {found["searches"] for found in seen} == {False}


# --- the same bits ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_same_seed_gives_the_same_bits_and_another_seed_others(manifest: Path, precision: str) -> None:
    flags = ["--deterministic", "--precision", precision, "--epochs", "1"]
    first = run(manifest, *flags, out="a")
    assert same_bits(first, run(manifest, *flags, out="b"))
    other = run(manifest, *flags, "--seed", "1", out="c")
    assert not any(torch.equal(other[n], first[n]) for n in first if first[n].ndim > 1)


def test_on_a_cpu_the_flag_changes_no_bit(manifest: Path) -> None:
    assert same_bits(run(manifest, "--deterministic", out="a"), run(manifest, out="b"))


def test_other_numbers_of_threads_agree_up_to_rounding(
    manifest: Path, several_threads: Callable[[int], None]
) -> None:
    """Six steps at a rate that keeps rounding from growing; 1e-3 of the largest weight is a hundred times what was
    seen, and a thousandth of what another seed changes."""
    several = run(manifest, "--deterministic", "--lr", "0.002", out="several")
    several_threads(1)
    one = run(manifest, "--deterministic", "--lr", "0.002", out="one")
    for name, tensor in several.items():
        scale = float(tensor.double().abs().max())
        torch.testing.assert_close(one[name], tensor, rtol=0, atol=1e-3 * scale)


# --- what is asked of torch ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "expected"), [((), UNASKED), (("--deterministic",), ASKED)], ids=["without", "with"]
)
def test_the_flag_asks_torch_before_anything_is_computed(
    manifest: Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], expected: dict[str, Any]
) -> None:
    """cuBLAS reads its variable when it is first used, so it is there before the processes are joined."""
    early: list[dict[str, Any]] = []
    joined = session.joined

    def watched(*given: Any) -> Any:
        early.append(torch_settings())
        return joined(*given)

    monkeypatch.setattr(session, "joined", watched)
    seen = seen_in_steps(monkeypatch)
    run(manifest, *flags, out="run")
    assert early == [{**expected, "searches": False}]
    assert seen == [expected] * 6
    assert load_run("run").config["deterministic"] is bool(flags)


def test_a_workspace_of_ones_own_is_kept(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WORKSPACE, ":16:8")
    seen = seen_in_steps(monkeypatch)
    run(manifest, "--deterministic", out="run")
    assert {s["workspace"] for s in seen} == {":16:8"}
    assert os.environ[WORKSPACE] == ":16:8"


def test_an_operation_without_a_deterministic_kernel_ends_the_run_in_words(
    manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = Trainer.step

    def unordered(trainer: Trainer, batches: Any) -> None:
        torch.zeros(2).put_(torch.tensor([0, 0]), torch.tensor([1.0, 2.0]))  # which of the two stays?
        step(trainer, batches)

    monkeypatch.setattr(Trainer, "step", unordered)
    with pytest.raises(UserError, match=r"--deterministic at step 0: put_ .*Start again without --determ"):
        run(manifest, "--deterministic", out="a")
    run(manifest, out="b")


# --- resumed ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("begun", "changed", "message"),
    [
        ("--deterministic", "--no-deterministic", "--deterministic was True .* cannot become False"),
        ("--no-deterministic", "--deterministic", "--deterministic was False .* cannot become True"),
    ],
)
def test_a_resumed_run_stays_as_it_began(
    manifest: Path, monkeypatch: pytest.MonkeyPatch, begun: str, changed: str, message: str
) -> None:
    whole = run(manifest, begun, out="whole")
    with monkeypatch.context() as patch:
        step = Trainer.step

        def stopped(trainer: Trainer, batches: Any) -> None:
            step(trainer, batches)
            if trainer.position.step == 3:
                os.kill(os.getpid(), signal.SIGINT)

        patch.setattr(Trainer, "step", stopped)
        run(manifest, begun, out="run")
    assert load_run("run").status == "interrupted"
    assert torch_settings() == LEFT_ALONE
    with pytest.raises(UserError, match=message):
        run(manifest, changed, "--resume", out="run")
    assert torch_settings() == LEFT_ALONE
    seen = seen_in_steps(monkeypatch)
    resumed = run(manifest, "--resume", out="run")
    assert seen == [ASKED if begun == "--deterministic" else UNASKED] * 2
    assert same_bits(resumed, whole)


# --- put back -----------------------------------------------------------------------------------------------


def draws() -> list[float]:
    """Some of every global generator's numbers."""
    found = [float(torch.rand(())), random.random(), random.gauss(0, 1)]
    return [*found, float(np.random.normal())]  # noqa: NPY002


def seeded() -> None:
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(5)


@pytest.mark.parametrize("fails", [False, True], ids=["finished", "failed"])
@pytest.mark.parametrize("warns", [False, True])
def test_a_callers_settings_and_generators_are_put_back(
    manifest: Path, monkeypatch: pytest.MonkeyPatch, fails: bool, warns: bool
) -> None:
    def drawing(trainer: Trainer, batches: Any) -> None:
        draws()  # as a network's dropout would
        if fails:
            raise ValueError("as asked")
        step(trainer, batches)

    step = Trainer.step
    monkeypatch.setattr(Trainer, "step", drawing)
    config = parse_config(arguments(manifest, "--deterministic", out="run"))
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    torch.use_deterministic_algorithms(warns, warn_only=warns)
    try:
        before = torch_settings()
        seeded()
        expected = draws()
        seeded()
        with pytest.raises(ValueError, match="as asked") if fails else nullcontext():
            session.train(config, report=Silent())
        assert torch_settings() == before
        assert draws() == expected
    finally:
        torch.use_deterministic_algorithms(False)
