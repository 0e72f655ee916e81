"""Runs that are killed, interrupted, damaged or full end with the weights of one that was left alone."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.helpers.moments import Fuse, in_a_child, lay
from tests.helpers.tiny_dataset import make_tiny_dataset
from wsol.errors import UserError
from wsol.files import atomic_write as durable
from wsol.files.checked_safetensors import load_tensors, save_tensors
from wsol.files.lock import is_locked, locked
from wsol.machine.random_state import random_state, restore_random_state
from wsol.runs.find import newest_run
from wsol.runs.record import load_run
from wsol.training.checkpoint import checkpoint_files
from wsol.training.config import parse_config
from wsol.training.loop import Trainer
from wsol.training.progress import Silent
from wsol.training.session import Outcome, train

OUT = Path("run")


class Lines(Silent):
    """Keeps what would be shown."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def line(self, text: str) -> None:
        self.lines.append(text)


pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Any:
    """Forked processes cannot use threads that the parent has begun; sums depend on their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def arguments(manifest: Path, *more: str, out: Path = OUT) -> list[str]:
    """Three epochs of three steps, a checkpoint at every step."""
    text = "--size 32 --epochs 3 --batch-size 8 --lr 0.05 --device cpu --precision fp32 --workers 0"
    text += " --checkpoint-every-steps 1"
    return ["--dataset", str(manifest), *text.split(), "--out", str(out), *more]


def run(manifest: Path, *more: str, report: Silent | None = None, out: Path = OUT) -> Outcome:
    asked = arguments(manifest, *more, out=out)
    return train(parse_config(asked), asked, report or Silent())


def weights(folder: Path = OUT) -> dict[str, torch.Tensor]:
    return load_tensors(folder / "model.safetensors")[0]


@pytest.fixture(scope="module")
def undisturbed(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing happened to."""
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    assert run(manifest, out=folder).exit_code == 0
    return folder


def assert_same(folder: Path, undisturbed: Path) -> None:
    """Bit for bit the same weights, and the same log but for times."""
    ours, theirs = weights(folder), weights(undisturbed)
    assert set(ours) == set(theirs)
    for name, tensor in theirs.items():
        assert torch.equal(ours[name], tensor), name
    logs = []
    for place in (folder, undisturbed):
        lines = [json.loads(text) for text in (place / "log.jsonl").read_text().splitlines()]
        logs.append([{k: v for k, v in line.items() if k in _TIMELESS} for line in lines])
    assert logs[0] == logs[1]
    assert [line["epoch"] for line in logs[0]] == [1, 2, 3]
    record = load_run(folder).record
    assert record["status"] == "finished"
    assert record["best_on_validation"] == load_run(undisturbed).record["best_on_validation"]
    left = [f.name for f in folder.iterdir() if f.name != ".lock"]
    assert sorted(left) == ["log.jsonl", "model.safetensors", "run.yaml"]


_TIMELESS = ("epoch", "step", "lr", "train_loss", "train_top1_mixed", "validation")


# --- killed -------------------------------------------------------------------------------------------------


class StepFuse(Fuse):
    """Counts steps and every operation on files."""

    def lay(self) -> None:
        """Put the counter into the places; in a child process only, since nothing is put back."""
        step = Trainer.step

        def counted_step(trainer: Trainer, batches: Any) -> None:
            step(trainer, batches)
            self.burn()

        Trainer.step = counted_step  # type: ignore[method-assign]
        lay(lambda what, path: self.burn())


def moments(manifest: Path) -> int:
    """How many moments an undisturbed run has."""
    reading, writing = os.pipe()

    def count() -> None:
        fuse = StepFuse(1_000_000)
        fuse.lay()
        run(manifest, out=Path("counted"))
        os.write(writing, str(1_000_000 - fuse.left).encode())

    assert in_a_child(count) == 0
    os.close(writing)
    with os.fdopen(reading) as stream:
        return int(stream.read())


def test_killed_twenty_times_at_random_moments(manifest: Path, undisturbed: Path) -> None:
    """One run, killed again and again, in the middle of writing a checkpoint too."""
    chance = random.Random(0)
    killed = 0
    while True:
        fuse = StepFuse(chance.randint(1, 18) if killed < 20 else 1_000_000)

        def body(fuse: StepFuse = fuse) -> None:
            fuse.lay()
            run(manifest, "--resume")

        ended = in_a_child(body)
        if ended == 0:
            break
        assert ended == -signal.SIGKILL
        killed += 1
    assert killed >= 12, "the run finished before it was killed often enough; shorten the fuse"
    assert_same(OUT, undisturbed)


def test_killed_once_at_moments_all_over_the_run(manifest: Path, undisturbed: Path) -> None:
    run(manifest, out=Path("first"))  # it decodes the images once; the others find them
    total = moments(manifest)
    assert total > 100
    for moment in range(1, total + 1, total // 6):

        def body(moment: int = moment) -> None:
            StepFuse(moment).lay()
            run(manifest, out=Path(f"run{moment}"))

        assert in_a_child(body) == -signal.SIGKILL
        folder = Path(f"run{moment}")
        assert run(manifest, "--resume", out=folder).exit_code == 0
        assert_same(folder, undisturbed)


def killed_after(steps: int, manifest: Path, *more: str, out: Path = OUT) -> None:
    """A run that was killed by SIGKILL after some steps."""

    def body() -> None:
        step = Trainer.step

        def killing(trainer: Trainer, batches: Any) -> None:
            if trainer.position.step == steps:
                os.kill(os.getpid(), signal.SIGKILL)
            step(trainer, batches)

        Trainer.step = killing  # type: ignore[method-assign]
        run(manifest, *more, out=out)

    assert in_a_child(body) == -signal.SIGKILL


def test_killed_before_the_first_checkpoint_pretrained_weights_are_taken_again(
    manifest: Path, undisturbed: Path
) -> None:
    """Else the run would go on from random weights under a record that says otherwise."""
    asked = ("--pretrained", str(undisturbed / "model.safetensors"))
    assert run(manifest, *asked, out=Path("left-alone")).exit_code == 0

    killed_after(0, manifest, *asked)
    assert run(manifest, "--resume").exit_code == 0
    assert_same(OUT, Path("left-alone"))


def test_a_killed_run_is_called_killed_until_it_is_continued(manifest: Path) -> None:
    out = Path("runs/a")
    killed_after(2, manifest, out=out)
    found = load_run(out)
    assert found.record["status"] == "running", "it could not say so itself"
    assert found.status == "killed"
    assert found.situation == "was killed; continue it with `python train_cutmix.py --resume --out runs/a`"
    with pytest.raises(UserError, match=r"the newest, 'runs/a', was killed; continue it with `python train_"):
        newest_run()
    with pytest.raises(
        UserError, match="holds a run that was killed; add --resume to continue it, or choose"
    ):
        run(manifest, out=out)
    with locked(out, "training"):
        assert load_run(out).status == "running"
        with pytest.raises(UserError, match="holds a run that is running; wait for it, or choose"):
            run(manifest, out=out)
    assert run(manifest, "--resume", out=out).exit_code == 0
    assert load_run(out).status == "finished"


def test_resume_without_out_leaves_a_run_alone_that_is_running(manifest: Path) -> None:
    for name in ("a", "b"):
        killed_after(1, manifest, out=Path("runs") / name)
    with locked(Path("runs/b"), "training"):
        assert train(parse_config(["--resume"]), ["--resume"], Silent()).run.dir == Path("runs/a")
        with pytest.raises(UserError, match="another process is training in 'runs/b'"):
            train(parse_config(["--resume"]), ["--resume"], Silent())


def test_what_a_killed_run_left_behind_does_not_hold_its_directory(tmp_path: Path) -> None:
    """Workers that read images live on for a while after their parent; none of them may keep the lock."""
    tmp_path = tmp_path / "run"
    tmp_path.mkdir()
    reading, writing = os.pipe()

    def body() -> None:
        with locked(tmp_path, "training"):
            if os.fork() == 0:
                os.close(writing)
                os.read(reading, 1)  # until the test is over
                os._exit(0)
            os.kill(os.getpid(), signal.SIGKILL)

    try:
        assert in_a_child(body) == -signal.SIGKILL
        assert not is_locked(tmp_path)
        with locked(tmp_path, "training"):
            assert is_locked(tmp_path)
    finally:
        os.close(writing)
        os.close(reading)


# --- interrupted --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_finishes_the_step_saves_and_says_how_to_go_on(
    manifest: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    step = Trainer.step

    def signalled(trainer: Trainer, batches: Any) -> None:
        if trainer.position.step == 4:
            os.kill(os.getpid(), number)
        step(trainer, batches)

    before = signal.getsignal(number)
    report = Lines()
    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "step", signalled)
        outcome = run(manifest, "--checkpoint-every-steps", "1000", report=report)
    assert outcome.exit_code == code
    assert signal.getsignal(number) == before
    assert report.lines[-1] == (
        "interrupted in epoch 2 at step 5, saved; continue with `python train_cutmix.py --resume --out run`"
    )
    assert load_run(OUT).status == "interrupted"
    assert [f.name for f in checkpoint_files(OUT / "checkpoints")] == ["step-000000005.safetensors"]
    assert run(manifest, "--resume", report=report).exit_code == 0
    assert any("continuing in epoch 2 at step 5" in line for line in report.lines)
    assert_same(OUT, undisturbed)


def interrupted_after(steps: int, manifest: Path, monkeypatch: pytest.MonkeyPatch, out: Path = OUT) -> None:
    """A run that was stopped by Ctrl-C after some steps."""
    with monkeypatch.context() as patch:
        step = Trainer.step

        def signalled(trainer: Trainer, batches: Any) -> None:
            step(trainer, batches)
            if trainer.position.step == steps - 1:
                os.kill(os.getpid(), signal.SIGINT)

        patch.setattr(Trainer, "step", signalled)
        assert run(manifest, out=out).exit_code == 130


def test_resume_without_out_takes_the_newest_unfinished(
    manifest: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a", "b"):
        interrupted_after(3, manifest, monkeypatch, Path("runs") / name)
    assert run(manifest, out=Path("runs/c")).exit_code == 0
    outcome = train(parse_config(["--resume"]), ["--resume"], Silent())
    assert outcome.run.dir == Path("runs/b")
    assert_same(Path("runs/b"), undisturbed)


def test_machine_settings_may_change_on_the_way(
    manifest: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted_after(4, manifest, monkeypatch)
    assert (
        run(
            manifest, "--resume", "--cache", "off", "--workers", "1", "--checkpoint-every-steps", "2"
        ).exit_code
        == 0
    )
    assert_same(OUT, undisturbed)


# --- damaged ------------------------------------------------------------------------------------------------


def _flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def _cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _empty(file: Path) -> None:
    file.write_bytes(b"")


class _Bomb:
    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return os.mkdir, ("proof",)


def _pickle(file: Path) -> None:
    torch.save({"model": _Bomb()}, file)


@pytest.mark.parametrize("damage", [_flip, _cut, _empty, _pickle])
def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_used(
    manifest: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], None]
) -> None:
    interrupted_after(5, manifest, monkeypatch)
    newest, _ = checkpoint_files(OUT / "checkpoints")
    damage(newest)
    report = Lines()
    assert run(manifest, "--resume", report=report).exit_code == 0
    (said,) = [line for line in report.lines if newest.name in line]
    assert "set aside" in said
    assert any("continuing in epoch 2 at step 4" in line for line in report.lines)
    assert not Path("proof").exists()
    assert_same(OUT, undisturbed)


def test_when_all_checkpoints_are_damaged_nothing_is_guessed(
    manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupted_after(5, manifest, monkeypatch)
    for file in checkpoint_files(OUT / "checkpoints"):
        _cut(file)
    for _ in range(2):  # they are set aside by the first, and the second must not begin anew
        with pytest.raises(UserError, match=r"all 2 checkpoints in .* are damaged"):
            run(manifest, "--resume")


def test_damaged_weights_of_a_finished_run_are_refused(manifest: Path) -> None:
    from wsol.runs.network import load_classifier

    run(manifest)
    _flip(OUT / "model.safetensors")
    with pytest.raises(UserError, match="was changed after it was written"):
        load_classifier(OUT)
    (OUT / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"has no model\.safetensors"):
        load_classifier(OUT)


# --- full disk, memory --------------------------------------------------------------------------------------


def test_a_full_disk_keeps_the_last_checkpoint(
    manifest: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        fsync = os.fsync

        def full(handle: int) -> None:
            if len(checkpoint_files(OUT / "checkpoints")) == 2:
                raise OSError(errno.ENOSPC, "No space left on device", str(OUT))
            fsync(handle)

        patch.setattr(os, "fsync", full)
        with pytest.raises(
            UserError, match=r"the disk is full: training stopped at step .* is whole; .*--resume --out run"
        ):
            run(manifest)
    assert len(checkpoint_files(OUT / "checkpoints")) == 2
    assert not list(OUT.rglob(f"*{durable.UNFINISHED}"))
    assert run(manifest, "--resume").exit_code == 0
    assert_same(OUT, undisturbed)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory."),
            "out of GPU memory at step 0; start again with --accumulate 2",
        ),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), "out of memory at step 0"),
        (
            RuntimeError("DataLoader worker (pid 7) is killed by signal: Killed. "),
            "too little shared memory .* stopped at step 0; then continue with `python train_cutmix.py --resume",
        ),
    ],
)
def test_out_of_memory_says_what_to_do(
    manifest: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, message: str
) -> None:
    def fails(trainer: Trainer, batches: Any) -> None:
        raise error

    monkeypatch.setattr(Trainer, "step", fails)
    with pytest.raises(UserError, match=message):
        run(manifest)


# --- refused ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (["--lr", "0.2"], r"--lr was 0\.05 when this run began and cannot become 0\.2 now"),
        (["--epochs", "4"], "--epochs was 3"),
        (["--seed", "1"], "--seed was 0"),
        (["--method", "mixup"], "--method was cutmix"),
        (["--accumulate", "2"], "cuts each batch into 1 parts .* now it would be 2"),
    ],
)
def test_settings_that_change_the_result_are_refused(
    manifest: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch, changed: list[str], message: str
) -> None:
    interrupted_after(2, manifest, monkeypatch)
    with pytest.raises(UserError, match=message):
        run(manifest, "--resume", *changed)
    assert run(manifest, "--resume").exit_code == 0  # nothing was lost by asking
    assert_same(OUT, undisturbed)


def test_settings_in_a_file_are_held_to_the_same(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file edited since the run began must not be passed over in silence."""
    interrupted_after(5, manifest, monkeypatch)
    Path("a.yaml").write_text("epochs: 3\nmethod: mixup\n")
    asked = ["--resume", "--out", str(OUT), "--config", "a.yaml"]
    with pytest.raises(UserError, match="--method was cutmix when this run began and cannot become mixup"):
        train(parse_config(asked), asked, Silent())
    Path("a.yaml").write_text("epochs: 3\nvalidate_every: 3\n")
    assert train(parse_config(asked), asked, Silent()).exit_code == 0
    logged = [json.loads(text) for text in (OUT / "log.jsonl").read_text().splitlines()]
    assert [line["validation"] is not None for line in logged] == [True, False, True]


def test_a_begun_run_is_not_begun_again(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted_after(2, manifest, monkeypatch)
    with pytest.raises(
        UserError, match="holds a run that was interrupted; add --resume to continue it, or choose"
    ):
        run(manifest)


def test_changed_data_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = make_tiny_dataset(tmp_path / "own")
    interrupted_after(2, own, monkeypatch)
    rows = (own / "train-weaksup.csv").read_text().splitlines(keepends=True)
    (own / "train-weaksup.csv").write_text("".join([rows[0], rows[2], rows[1], *rows[3:]]))
    head = own / "manifest.yaml"  # an edit that is meant: without the checksum of the rows
    head.write_text("".join(t for t in head.read_text().splitlines(keepends=True) if "sha256" not in t))
    with pytest.raises(UserError, match="has changed since run 'run' began"):
        run(own, "--resume")


def test_resuming_a_finished_run_does_nothing(manifest: Path) -> None:
    run(manifest)
    before = weights()
    report = Lines()
    assert run(manifest, "--resume", report=report).exit_code == 0
    assert report.lines == ["run 'run' is finished; nothing to do"]
    assert all(torch.equal(before[k], v) for k, v in weights().items())


def test_resume_of_nothing(manifest: Path) -> None:
    with pytest.raises(UserError, match="no unfinished run under runs/"):
        train(parse_config(["--resume"]), ["--resume"], Silent())
    assert (
        run(manifest, "--resume").exit_code == 0
    )  # a named directory simply begins: one line serves a queue


def test_two_processes_never_train_in_one_directory(manifest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupted_after(2, manifest, monkeypatch)
    with locked(OUT, "training"), pytest.raises(UserError, match="another process is training in 'run'"):
        run(manifest, "--resume")


# --- global generators --------------------------------------------------------------------------------------


def test_every_global_generator_continues_where_it_was(tmp_path: Path) -> None:
    """A network's dropout uses torch's; other libraries may use numpy's and Python's, halfway through a pair
    too.
    """

    def draw() -> list[float]:
        found = [float(torch.rand(())), random.random(), random.gauss(0, 1)]
        return [*found, float(np.random.normal()), float(np.random.random())]  # noqa: NPY002

    draw()
    save_tensors(tmp_path / "x", random_state(), {})
    expected = draw()
    draw()
    restore_random_state(load_tensors(tmp_path / "x")[0])
    assert draw() == expected


def test_a_checkpoint_knows_its_settings(manifest: Path) -> None:
    """An edit of run.yaml (the line sha256 taken out, as the message says) does not turn into another training."""
    killed_after(2, manifest)
    record = OUT / "run.yaml"
    lines = [x for x in record.read_text().split("\n") if "sha256" not in x]
    record.write_text("\n".join(lines).replace("seed: 0", "seed: 1"))
    with pytest.raises(
        UserError, match=r"was made with seed 0 \(the run's record says 1\): it is another run's"
    ):
        run(manifest, "--resume")


def test_weights_of_another_run_are_not_scored_under_this_ones_name(manifest: Path) -> None:
    from wsol.runs.network import load_classifier

    for seed in ("0", "1"):
        assert run(manifest, "--epochs", "1", "--seed", seed, out=Path(seed)).exit_code == 0
    load_classifier(Path("0"))
    (Path("0") / "model.safetensors").write_bytes((Path("1") / "model.safetensors").read_bytes())
    with pytest.raises(UserError, match=r"was made with seed 1 \(the run's record says 0\)"):
        load_classifier(Path("0"))
