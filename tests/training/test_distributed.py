"""Several processes train what one process trains; nobody's images are dropped or seen twice."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from tests.helpers.tiny_dataset import make_tiny_dataset
from wsol.errors import UserError
from wsol.files.checked_safetensors import load_tensors
from wsol.machine.peers import destroy_group
from wsol.manifest import load_manifest
from wsol.methods import acol_head
from wsol.runs.record import load_run
from wsol.training import session
from wsol.training.config import parse_config
from wsol.training.loop import Trainer
from wsol.training.progress import Silent
from wsol.training.rng import epoch_order

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def alone_in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.chdir(tmp_path)
    before = torch.get_num_threads()
    torch.set_num_threads(1)  # forked processes cannot use threads that the parent has begun
    yield
    torch.set_num_threads(before)


def arguments(manifest: Path, *more: str, out: str) -> list[str]:
    """Seven epochs of three steps of eight images: 21 steps, at a rate that keeps rounding from growing."""
    text = "--size 32 --epochs 7 --batch-size 8 --lr 0.002 --device cpu --workers 0"
    text += " --precision fp32 --channels-last off"
    return ["--dataset", str(manifest), *text.split(), *more, "--out", out]


def train(manifest: Path, *more: str, out: str) -> int:
    asked = arguments(manifest, *more, out=out)
    return session.train(parse_config(asked), asked, Silent()).exit_code


def in_processes(count: int, body: Callable[[], int]) -> list[int]:
    """Run in forked processes that know each other as torchrun's would; returns their exit codes."""
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port = place.getsockname()[1]
    children = []
    for rank in range(count):
        child = os.fork()
        if child == 0:
            code = 99
            try:
                os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(count))
                os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
                code = body()
            finally:
                os._exit(code)
        children.append(child)
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def weights(folder: str) -> dict[str, torch.Tensor]:
    return load_tensors(Path(folder) / "model.safetensors")[0]


def assert_close(one: str, other: str, tolerance: float) -> None:
    ours, theirs = weights(one), weights(other)
    assert set(ours) == set(theirs)
    for name, tensor in theirs.items():
        torch.testing.assert_close(
            ours[name], tensor, rtol=tolerance, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}"
        )


@pytest.mark.parametrize(
    ("count", "batch", "rate"),
    [(2, "8", "0.002"), (3, "6", "0.0005")],  # parts of two images: their statistics let rounding grow faster
)
def test_processes_equal_accumulated_parts(manifest: Path, count: int, batch: str, rate: str) -> None:
    """Batch normalization, its running statistics and CutMix's draws included."""
    settings = ["--batch-size", batch, "--lr", rate]
    assert in_processes(count, lambda: train(manifest, *settings, out="several")) == [0] * count
    assert train(manifest, *settings, "--accumulate", str(count), out="one") == 0
    assert_close("several", "one", 1e-5)
    lines = [
        [json.loads(text) for text in (Path(run) / "log.jsonl").read_text().splitlines()]
        for run in ("several", "one")
    ]
    assert [line["epoch"] for line in lines[0]] == [1, 2, 3, 4, 5, 6, 7]
    assert lines[0][-1]["step"] >= 20
    for several, one in zip(*lines):
        assert several["train_loss"] == pytest.approx(one["train_loss"], rel=1e-5)
        assert several["validation"]["images"] == one["validation"]["images"] == 9
        assert several["validation"]["top1"] == one["validation"]["top1"]
    assert load_run("several").record["processes"] == count


@pytest.mark.parametrize(
    "settings",
    [
        "--method adl --adl-sites layer2 layer3",
        "--method acol --output-stride 8",
        "--method spg --output-stride 8",
        "--method snapmix",
        "--method feature_cutmix --feature-cutmix-layer layer1",
    ],
    ids=lambda settings: settings.split()[1],
)
def test_methods_with_layers_heads_and_looks_hold_in_processes(
    manifest: Path, monkeypatch: pytest.MonkeyPatch, settings: str
) -> None:
    """Two steps: what `--accumulate 2` makes, two processes make too; every parameter gets its gradient."""
    monkeypatch.setattr(acol_head, "WIDTH", 16)  # quick
    more = [*settings.split(), "--epochs", "1", "--batch-size", "12"]
    assert in_processes(2, lambda: train(manifest, *more, out="two")) == [0, 0]
    assert train(manifest, *more, "--accumulate", "2", out="one") == 0
    assert_close("two", "one", 1e-5)


def _without_batch_statistics(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, nn.GroupNorm(4, child.num_features))
        _without_batch_statistics(child)


def test_two_processes_equal_one_with_the_same_batch(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing couples the images of a batch (no batch statistics, no mixing), cutting it changes
    nothing.
    """
    build = session.build_classifier

    def grouped(*given: Any, **named: Any) -> Any:
        model = build(*given, **named)
        _without_batch_statistics(model)
        return model

    monkeypatch.setattr(session, "build_classifier", grouped)
    assert in_processes(2, lambda: train(manifest, "--method", "vanilla", out="two")) == [0, 0]
    assert train(manifest, "--method", "vanilla", out="one") == 0
    assert_close("two", "one", 1e-5)


def test_a_run_goes_on_with_another_number_of_processes(
    manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped in two processes, finished in one: the state is the same, whoever reads it."""
    from wsol.training.loop import Trainer

    assert in_processes(2, lambda: train(manifest, out="whole")) == [0, 0]
    step = Trainer.step

    def signalled(trainer: Trainer, batches: Any) -> None:
        step(trainer, batches)
        if trainer.position.step == 9 and trainer.job.world.rank == 1:
            os.kill(os.getpid(), signal.SIGTERM)  # one process is told; all stop at the same step

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", signalled)
        assert in_processes(2, lambda: train(manifest, out="moved")) == [1, 143]
    assert load_run("moved").record["progress"] == {"epoch": 4, "step": 10}
    assert train(manifest, "--resume", "--accumulate", "2", out="moved") == 0
    assert_close("moved", "whole", 1e-5)


def test_hosts_that_see_other_checkpoints_are_refused(
    manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a shared file system one process would continue and the other begin from random weights."""
    from wsol.errors import UserError
    from wsol.training import checkpoint
    from wsol.training.loop import Trainer

    step = Trainer.step

    def signalled(trainer: Trainer, batches: Any) -> None:
        step(trainer, batches)
        if trainer.position.step == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", signalled)
        assert in_processes(2, lambda: train(manifest, out="here")) == [143, 143]

    def body() -> int:
        if os.environ["RANK"] == "1":
            monkeypatch.setattr(checkpoint, "checkpoint_files", lambda folder: [])
        try:
            return train(manifest, "--resume", out="here")
        except UserError as error:
            own = "is of step 0 here and of step 5 in the first process" in str(error)
            return 2 if own else 3

    first, second = in_processes(2, body)
    assert second == 2
    assert first != 0


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        (("--lr", "0.5"), "config.lr is 0.5 instead of 0.002"),
        (("--seed", "5"), "config.seed is 5 instead of 0"),
        (("--cache", "off"), "config.cache is 'off' instead of 'auto'"),
        (("--epochs", "3"), "config.epochs is 3 instead of 7"),
        ("labels", "manifest_hash is "),
        ("code", "code is "),
    ],
)
def test_processes_with_other_settings_data_or_code_are_refused(
    manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, setting: Any, said: str
) -> None:
    """Hosts with unequal copies trained one network together, with exit code 0."""
    other = make_tiny_dataset(tmp_path / "other")
    labels = (other / "train-weaksup.csv").read_text().splitlines()
    labels[1] = labels[1].replace(",0,", ",1,", 1)
    (other / "train-weaksup.csv").write_text("\n".join(labels) + "\n")
    head = "\n".join(x for x in (other / "manifest.yaml").read_text().split("\n") if "sha256" not in x)
    (other / "manifest.yaml").write_text(head)

    def body() -> int:
        second = os.environ["RANK"] == "1"
        data = other if second and setting == "labels" else manifest
        if second and setting == "code":
            monkeypatch.setattr("wsol.machine.distributed.code_hash", lambda: "another")
        try:
            return train(data, *(setting if second and isinstance(setting, tuple) else ()), out="x")
        except UserError as error:
            return (
                2
                if f"process 1 works with other settings or data than the first process: {said}" in str(error)
                else 3
            )

    assert in_processes(2, body) == [2, 2]
    assert not Path("x").exists()


def test_a_process_that_does_not_come_is_named(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WSOL_JOIN_SECONDS", "1")

    def body() -> int:
        if os.environ["RANK"] == "2":
            return 0
        try:
            return train(manifest, out="x")
        except UserError as error:
            ends = ("process 2 did not join within 1 s", "stopped because the first process ended")
            return 2 if any(end in str(error) for end in ends) else 3

    assert in_processes(3, body) == [2, 2, 0]


def test_a_first_process_that_is_stopped_ends_the_others(
    manifest: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """It keeps the store that all talk through, so that their calls wait without an end."""
    monkeypatch.setenv("WSOL_SILENCE_SECONDS", "1")
    monkeypatch.setattr("wsol.machine.peers._BEAT_SECONDS", 0.1)

    def ended(code: int) -> None:
        os.kill(int(Path("first").read_text()), signal.SIGKILL)
        leave(code)

    leave = os._exit

    def body() -> int:
        if os.environ["RANK"] == "0":
            Path("first").write_text(str(os.getpid()))
            monkeypatch.setattr(Trainer, "step", lambda *_: os.kill(os.getpid(), signal.SIGSTOP))
        else:
            monkeypatch.setattr("os._exit", ended)
        return train(manifest, out="x")

    assert in_processes(2, body) == [-signal.SIGKILL, 2]
    assert "process 0 has not been heard of for 1 s" in capfd.readouterr().err


def test_a_group_that_does_not_end_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that keeps Python's lock, as gloo's destructor does while it waits for a thread that wants that lock."""
    monkeypatch.setenv("WSOL_SILENCE_SECONDS", "1")
    monkeypatch.setattr("torch.distributed.destroy_process_group", lambda: ctypes.PyDLL(None).sleep(60))

    def body() -> int:
        destroy_group()
        return 0

    assert in_processes(1, body) == [1]


def test_a_batch_that_cannot_be_shared_is_refused(manifest: Path) -> None:
    def body() -> int:
        from wsol.errors import UserError

        try:
            return train(manifest, "--batch-size", "7", out="x")
        except UserError as error:
            return 2 if "choose a multiple of 2" in str(error) else 3

    assert in_processes(2, body) == [2, 2]
    assert not Path("x").exists()


def torchrun(folder: Path, *asked: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return subprocess.run(
        [*command, str(ROOT / "train_cutmix.py"), *asked],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=180,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )


def test_torchrun_shows_the_failed_process_and_ends(tmp_path: Path) -> None:
    """A corrupt image that only the second process reads."""
    manifest = make_tiny_dataset(tmp_path / "own")
    row = int(
        epoch_order(0, 0, 24)[5]
    )  # of the first batch of eight, the second half is the second process's
    bad = load_manifest(manifest).split("train-weaksup").path(row)
    (tmp_path / "own/images" / bad).write_bytes(b"no image")
    done = torchrun(tmp_path, *arguments(manifest, "--cache", "off", out="run"))
    assert done.returncode != 0
    errors = [
        line for line in done.stderr.splitlines() if line.startswith("error: ") or "error: process" in line
    ]
    assert any("process 1 of 2" in line and bad in line for line in errors), done.stderr
    assert done.stdout.count("run directory: run") == 1  # the first process alone speaks
