from __future__ import annotations

import errno
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from wsol.errors import UserError
from wsol.files.atomic_write import remove_unfinished, write_durably
from wsol.files.checked_safetensors import DamagedFileError, load_tensors, save_tensors

TENSORS = {
    "weight": torch.arange(6, dtype=torch.float32).reshape(2, 3),
    "count": torch.tensor(7),
    "bytes": torch.arange(5, dtype=torch.uint8),
    "empty": torch.zeros(0, 4),
    "half": torch.ones(3, dtype=torch.bfloat16),
}
VALUES = {"epoch": 3, "loss": 0.1 + 0.2, "best": None, "name": "Ä"}


# --- durable files ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"new", "new", lambda stream: stream.write(b"new")])
def test_replaces_a_file(tmp_path: Path, content: object) -> None:
    file = tmp_path / "a.txt"
    file.write_text("old")
    assert write_durably(file, content) == file  # type: ignore[arg-type]
    assert file.read_text() == "new"
    assert [f.name for f in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_failure_keeps_the_old_file_and_leaves_nothing_else(tmp_path: Path, error: BaseException) -> None:
    file = tmp_path / "a.txt"
    file.write_text("old")

    def half(stream: object) -> None:
        stream.write(b"ne")  # type: ignore[attr-defined]
        raise error

    with pytest.raises(type(error)):
        write_durably(file, half)
    assert file.read_text() == "old"
    assert [f.name for f in tmp_path.iterdir()] == ["a.txt"]


def test_leftovers_of_a_killed_process_are_removed(tmp_path: Path) -> None:
    (tmp_path / ".a.txt.0123.unfinished").write_text("ha")
    (tmp_path / ".b.0123.unfinished").mkdir()
    (tmp_path / ".b.0123.unfinished" / "part").write_text("ha")
    (tmp_path / "a.txt").write_text("whole")
    assert remove_unfinished(tmp_path) == 2
    assert [f.name for f in tmp_path.iterdir()] == ["a.txt"]
    assert remove_unfinished(tmp_path / "absent") == 0


def test_the_next_write_of_a_file_removes_what_killed_ones_left_of_it(tmp_path: Path) -> None:
    half, others = ".a[1].txt.0123456789abcdef.unfinished", ".a1.txt.0123456789abcdef.unfinished"
    for name in (half, others):
        (tmp_path / name).write_text("ha")
    write_durably(tmp_path / "a[1].txt", "whole", tidy=False)
    assert (tmp_path / half).exists()
    write_durably(tmp_path / "a[1].txt", "whole")
    assert sorted(f.name for f in tmp_path.iterdir()) == [others, "a[1].txt"]


def test_what_another_process_is_writing_stays(tmp_path: Path) -> None:
    """Two trainings started together decode into one cache; the second one's start must not harm the first."""
    script = (
        "import sys; from wsol.files.atomic_write import write_durably\n"
        "write_durably(sys.argv[1], lambda s: (print('begun', flush=True), sys.stdin.read(), s.write(b'whole')))"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "a.npy")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        assert writer.stdin is not None
        writer.stdout.readline()
        assert len(list(tmp_path.iterdir())) == 1
        assert remove_unfinished(tmp_path) == 0
        write_durably(tmp_path / "a.npy", b"sooner")
        assert len(list(tmp_path.iterdir())) == 2
        writer.stdin.close()
    assert (tmp_path / "a.npy").read_bytes() == b"whole"


# --- tensor files -------------------------------------------------------------------------------------------


def test_round_trip(tmp_path: Path) -> None:
    save_tensors(tmp_path / "x", TENSORS, VALUES)
    tensors, values = load_tensors(tmp_path / "x")
    assert values == VALUES
    assert set(tensors) == set(TENSORS)
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], tensor)


def test_views_that_share_memory_are_saved_whole(tmp_path: Path) -> None:
    base = torch.arange(10.0)
    save_tensors(tmp_path / "x", {"a": base[::2], "b": base, "c": base}, {})
    tensors, _ = load_tensors(tmp_path / "x")
    assert tensors["a"].tolist() == [0, 2, 4, 6, 8]
    assert torch.equal(tensors["b"], tensors["c"])


def test_every_flipped_byte_is_noticed(tmp_path: Path) -> None:
    """All bytes of a small file, one after another: header, values, checksum, tensor data."""
    file = tmp_path / "x"
    save_tensors(file, {"w": torch.tensor([1.0, 2.0])}, {"epoch": 1})
    whole = file.read_bytes()
    for at in range(len(whole)):
        changed = bytearray(whole)
        changed[at] ^= 0x01
        file.write_bytes(changed)
        with pytest.raises(UserError):
            load_tensors(file)


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_cut_file_is_noticed(tmp_path: Path, share: float) -> None:
    file = tmp_path / "x"
    save_tensors(file, TENSORS, VALUES)
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(DamagedFileError, match="cut short or damaged"):
        load_tensors(file)


class _Bomb:
    """Unpickling it writes a file; so a test can see whether anything ran."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.write_text, (self.target, "ran")


@pytest.mark.parametrize("kind", ["torch zip", "torch legacy", "pickle"])
def test_pickle_is_refused_and_nothing_runs(tmp_path: Path, kind: str) -> None:
    bomb = _Bomb(tmp_path / "proof")
    file, saved = tmp_path / "x.safetensors", tmp_path / "x.pth"
    if kind == "pickle":
        saved.write_bytes(pickle.dumps(bomb))
    else:
        torch.save({"model": bomb}, saved, _use_new_zipfile_serialization=kind == "torch zip")
    file.write_bytes(saved.read_bytes())  # under its own name: torch 2.14 reads .safetensors otherwise
    with pytest.raises(DamagedFileError, match="pickle"):
        load_tensors(file)
    assert not (tmp_path / "proof").exists()
    torch.load(saved, weights_only=False) if kind != "pickle" else pickle.loads(saved.read_bytes())
    assert (tmp_path / "proof").exists()  # the bomb was live


def test_plain_safetensors_without_checksum_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file({"w": torch.ones(2)}, tmp_path / "x")
    with pytest.raises(DamagedFileError, match="no checksum"):
        load_tensors(tmp_path / "x")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        load_tensors(tmp_path / "x")
