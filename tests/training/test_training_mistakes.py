"""Bad input of training: one line, and nothing is left behind."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from tests.helpers.tiny_dataset import make_tiny_dataset, tiny_config
from wsol.errors import UserError
from wsol.files.checked_safetensors import load_tensors
from wsol.manifest import load_manifest, write_manifest
from wsol.methods import METHODS
from wsol.runs.record import Run, load_run, write_run
from wsol.training.config import TrainConfig
from wsol.training.log import trim_log
from wsol.training.progress import Silent
from wsol.training.session import train

pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        pytest.param(
            {"batch_size": 25}, "24 training images are fewer than --batch-size 25", id="batch too large"
        ),
        pytest.param({"classes": 4}, "has only 3 classes", id="too many classes"),
        pytest.param({"device": "gpu"}, "unknown --device 'gpu'", id="unknown device"),
        pytest.param({"dataset": "part"}, "did you mean 'parts'", id="unknown dataset"),
        pytest.param({"output_stride": 32}, "output stride", id="impossible stride"),
        pytest.param({"pretrained": "imagenet"}, "no ImageNet weights", id="no such weights"),
        pytest.param({"pretrained": "absent.pth"}, "absent.pth does not exist", id="missing weights"),
        pytest.param({"precision": "fp16"}, "fp16 needs a CUDA device", id="fp16 on a CPU"),
        pytest.param({"data_root": "nowhere"}, "'nowhere' does not exist", id="missing root"),
    ],
)
def test_mistakes_are_one_line_and_leave_no_run(
    manifest: Path, changes: dict[str, object], message: str
) -> None:
    config = replace(tiny_config(manifest), **changes)  # type: ignore[arg-type]
    with pytest.raises(UserError, match=message) as caught:
        train(config, report=Silent())
    assert "\n" not in str(caught.value)
    assert not Path("runs").exists()


@pytest.mark.parametrize("cache", ["on", "off"])
@pytest.mark.parametrize("damage", ["missing", "cut"])
def test_bad_image_is_named(tmp_path: Path, cache: str, damage: str) -> None:
    manifest = make_tiny_dataset(tmp_path / "own")
    file = tmp_path / "own/images/train-weaksup/5.png"
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(file.read_bytes()[:500])
    with pytest.raises(UserError, match=r"train-weaksup/5\.png"):
        train(tiny_config(manifest, cache=cache, workers=1), report=Silent())


def test_a_used_directory_is_refused_untouched(manifest: Path) -> None:
    train(tiny_config(manifest, epochs=1, out="done"), report=Silent())
    with pytest.raises(UserError, match="holds a run that is finished; choose another --out"):
        train(tiny_config(manifest, out="done"), report=Silent())
    Path("foreign").mkdir()
    Path("foreign/thesis.txt").write_text("precious")
    with pytest.raises(UserError, match="holds other files"):
        train(tiny_config(manifest, out="foreign"), report=Silent())
    with pytest.raises(UserError, match="is a file"):
        train(tiny_config(manifest, out="foreign/thesis.txt"), report=Silent())
    assert [f.name for f in Path("foreign").iterdir()] == ["thesis.txt"]
    Path("empty").mkdir()
    assert train(tiny_config(manifest, epochs=1, out="empty"), report=Silent()).exit_code == 0


def test_empty_split_is_named(tmp_path: Path) -> None:
    from wsol.manifest import Manifest, Split, write_manifest

    empty = Manifest(
        "bare", ("a", "b"), {"train-weaksup": Split([], np.zeros(0, np.int32))}, root=str(tmp_path)
    )
    folder = write_manifest(empty, tmp_path / "m")
    with pytest.raises(UserError, match="empty split 'train-weaksup'"):
        train(tiny_config(folder), report=Silent())


def test_boxes_without_images_cannot_be_trained_on(manifest: Path, tmp_path: Path) -> None:
    from wsol.manifest import Manifest, write_manifest

    loaded = load_manifest(manifest)
    folder = write_manifest(Manifest("boxes", loaded.classes, loaded.splits, root=None), tmp_path / "m")
    with pytest.raises(UserError, match="--data-root"):
        train(tiny_config(folder), report=Silent())


@pytest.mark.parametrize(
    ("test_images", "said"),
    [(2, "next: python -m eval.localize "), (0, "next: python -m eval.show PHOTOGRAPHS --run ")],
)
def test_the_next_command_is_one_that_works(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], test_images: int, said: str
) -> None:
    counts = {"train-weaksup": 8, **({"test": test_images} if test_images else {})}
    manifest = make_tiny_dataset(tmp_path / "data", per_class=counts)
    train(tiny_config(manifest, epochs=1))
    assert said in capsys.readouterr().out


def test_divergence_says_what_to_do_and_keeps_no_bad_weights(manifest: Path) -> None:
    with pytest.raises(
        UserError, match=r"training diverged\. Start again with a lower --lr \(it was 1e\+20\)"
    ):
        train(tiny_config(manifest, lr=1e20, checkpoint_every_steps=1, epochs=5), report=Silent())
    for file in Path("runs").rglob("*.safetensors"):
        tensors, _ = load_tensors(file)
        assert all(t.isfinite().all() for t in tensors.values() if t.is_floating_point())


def test_divergence_in_the_last_step_shows_in_validation(manifest: Path) -> None:
    """One step: its loss is that of the network before it, and the weights it leaves are huge but finite."""
    config = tiny_config(manifest, lr=1e20, batch_size=24, epochs=1, out="run")
    with pytest.raises(UserError, match=r"the loss on the validation images became .*: training diverged"):
        train(config, report=Silent())
    assert not Path("run/log.jsonl").exists()
    assert load_run("run").record["status"] == "running"


@pytest.mark.parametrize("more", [{}, {"checkpoint_every_steps": 1}])
def test_infinite_weights_are_never_kept(manifest: Path, tmp_path: Path, more: dict[str, int]) -> None:
    """Without validation images nothing else would tell, and the run would be called finished."""
    found = load_manifest(manifest)
    splits = {k: v for k, v in found.splits.items() if k != "train-fullsup"}
    manifest = write_manifest(replace(found, splits=splits), tmp_path / "unvalidated")
    config = tiny_config(manifest, lr=1e45, batch_size=24, epochs=1, out="run", **more)
    with pytest.raises(UserError, match="the weights became infinite or NaN by step 1"):
        train(config, report=Silent())
    assert not list(Path("run").rglob("*.safetensors"))


def test_every_setting_of_every_method_has_its_flag_with_its_default() -> None:
    own = {f.name: f.default for f in fields(TrainConfig)}
    for name, cls in METHODS.items():
        for field in fields(cls):
            assert own[f"{name}_{field.name}"] == field.default
            assert field.metadata["help"]


@pytest.mark.parametrize(
    ("old", "new"), [("seed: 0", "seed: 1"), ("method: cutmix", "method: mixup"), ("7.5", "9.5")]
)
def test_a_record_that_was_edited_is_refused(tmp_path: Path, old: str, new: str) -> None:
    """One flipped bit in `seed: 0` once continued another training."""
    dataset = {"name": "d", "manifest": "m", "manifest_hash": "h", "root": None, "classes": ["a", "b"]}
    record = {"status": "finished", "config": {"method": "cutmix"}, "classifier": {}, "dataset": dataset}
    write_run(Run(tmp_path, {**record, "seed": 0, "seconds": 7.5, "again": dataset}))
    assert load_run(tmp_path).record["seed"] == 0
    file = tmp_path / "run.yaml"
    text = file.read_text().replace(old, new)
    file.write_text(text)
    with pytest.raises(UserError, match="was changed after it was written"):
        load_run(tmp_path)
    file.write_text("\n".join(line for line in text.split("\n") if "sha256" not in line))
    load_run(tmp_path)  # as the message says: an edit that is meant


@pytest.mark.parametrize(
    "line", [b"\xff", b"{}", b"[]", b'{"epoch": "2"}', b"[" * 100_000, b'{"epoch": 1e999}']
)
def test_a_damaged_log_does_not_stop_a_resume(tmp_path: Path, line: bytes) -> None:
    file = tmp_path / "log.jsonl"
    file.write_bytes(b'{"epoch": 1}\n' + line + b"\n")
    trim_log(file, 3)
    assert file.read_bytes() == b'{"epoch": 1}\n'
