"""Whole runs, and what is measured in them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from tests.helpers.tiny_dataset import tiny_config
from wsol.errors import UserError
from wsol.files.checked_safetensors import load_tensors
from wsol.loading import evaluation_batches, normalize_images
from wsol.manifest import load_manifest
from wsol.methods import CutMix, MixedBatch
from wsol.models import ClassifierSpec, build_classifier
from wsol.models.head import Outputs
from wsol.runs.find import newest_run
from wsol.runs.network import load_classifier
from wsol.runs.record import load_run, next_free_dir, resume_command, update_run
from wsol.training.config import TrainConfig
from wsol.training.log import trim_log
from wsol.training.progress import Silent
from wsol.training.rng import epoch_crops, epoch_order, method_generator, network_seed
from wsol.training.session import train
from wsol.training.step import mixed_hits
from wsol.training.validation import accuracy, count_correct
from wsol.views import EvalView

SPEC = ClassifierSpec("resnet_small", 3, 4, 32)


pytestmark = pytest.mark.usefixtures("in_an_empty_folder")


# --- measures -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lam", "expected"),
    [
        pytest.param(0.75, 0.75 + 0.25 + 0.0, id="batch"),
        pytest.param([0.75, 0.5, 0.9], 0.75 + 0.5, id="each"),
    ],
)
def test_mixed_hits_by_hand(lam: object, expected: float) -> None:
    """Three images: the first label predicted, the second label predicted, neither."""
    logits = torch.tensor([[5.0, 0, 0], [0, 5.0, 0], [0, 0, 5.0]])
    a, b = torch.tensor([0, 0, 0]), torch.tensor([1, 1, 1])
    share = torch.tensor(lam) if isinstance(lam, list) else lam
    assert float(mixed_hits(logits, MixedBatch(torch.zeros(3, 3, 1, 1), a, b, share))) == pytest.approx(
        expected
    )  # type: ignore[arg-type]


def test_both_labels_equal_count_once() -> None:
    logits = torch.tensor([[5.0, 0]])
    same = torch.tensor([0])
    for b in (same, same.clone()):
        assert float(mixed_hits(logits, MixedBatch(torch.zeros(1, 3, 1, 1), same, b, 0.3))) == pytest.approx(
            1.0
        )


def test_validation_counts_by_hand() -> None:
    """Seven classes; ranks of the true class: 1, 5, 6."""
    rows = {10: [9, 1, 2, 3, 4, 5, 6], 20: [3, 9, 8, 7, 6, 2, 1], 30: [4, 9, 8, 7, 6, 5, 1]}
    by_pixel = torch.zeros(256, 7)
    for pixel, row in rows.items():
        by_pixel[pixel] = torch.tensor(row, dtype=torch.float32)

    class Lookup(torch.nn.Module):
        def forward(self, images: torch.Tensor) -> Outputs:
            assert not self.training
            return Outputs(by_pixel[images[:, 0, 0, 0].long()], images, {})

    model = Lookup()
    images = torch.tensor([10, 20, 30], dtype=torch.uint8).view(3, 1, 1, 1).expand(3, 3, 1, 1)
    batches = [
        (images[:2], torch.zeros(2, dtype=torch.int64)),
        (images[2:], torch.zeros(1, dtype=torch.int64)),
    ]
    from contextlib import nullcontext

    totals = count_correct(model, batches, lambda x: x, nullcontext, torch.device("cpu"))  # type: ignore[arg-type]
    found = accuracy(totals, 7)
    assert found is not None
    assert (found.images, found.top1, found.top5) == (3, pytest.approx(100 / 3), pytest.approx(200 / 3))
    expected = cross_entropy(
        torch.tensor(list(rows.values()), dtype=torch.float32), torch.zeros(3, dtype=torch.int64)
    )
    assert found.loss == pytest.approx(float(expected), rel=1e-6)
    assert model.training
    assert accuracy(torch.zeros(4, dtype=torch.float64), 7) is None


# --- whole runs ---------------------------------------------------------------------------------------------


def _naive_weights(config: TrainConfig, manifest: Path, epochs: int) -> dict[str, torch.Tensor]:
    """The same training written down plainly: files, Pillow, torch's own SGD, no cache, no threads."""
    loaded = load_manifest(manifest)
    split, root = loaded.split("train-weaksup"), str(loaded.root)
    from PIL import Image

    model = build_classifier(SPEC, seed=network_seed(config.seed)).train()
    head = list(model.head.parameters())
    body = list(model.backbone.parameters())
    optimizer = torch.optim.SGD(body, lr=1.0, momentum=0.9, nesterov=True, weight_decay=1e-4, foreach=False)
    optimizer.add_param_group({"params": head})
    step = 0
    for epoch in range(epochs):
        order = epoch_order(config.seed, epoch, 24)
        crops = epoch_crops(config.seed, epoch, 24, config.resize, 32)
        for start in range(0, 24, config.batch_size):
            images, labels = [], []
            for place in range(start, start + config.batch_size):
                row = int(order[place])
                with Image.open(Path(root) / split.path(row)) as file:
                    square = np.asarray(
                        file.resize((config.resize, config.resize), Image.Resampling.BILINEAR)
                    )
                y, x = crops.top_left[place]
                cut = square[y : y + 32, x : x + 32]
                images.append(np.fliplr(cut) if crops.flip[place] else cut)
                labels.append(int(split.labels[row]))
            batch = normalize_images(torch.from_numpy(np.stack(images).transpose(0, 3, 1, 2).copy()))
            method = config.make_method()
            draw = method.draw(config.batch_size, (32, 32), method_generator(config.seed, step, 0))
            mixed = method.apply(batch, torch.tensor(labels), draw)
            logits = model(mixed.images).logits
            lam = torch.as_tensor(mixed.lam)
            first = cross_entropy(logits, mixed.labels_a, reduction="none")
            second = cross_entropy(logits, mixed.labels_b, reduction="none")
            rate = (
                config.base_lr * 0.5 * (1 + np.cos(np.pi * step / (config.epochs * 24 // config.batch_size)))
            )
            optimizer.param_groups[0]["lr"], optimizer.param_groups[1]["lr"] = rate, 10 * rate
            optimizer.zero_grad()
            (lam * first + (1 - lam) * second).mean().backward()
            optimizer.step()
            step += 1
    return model.state_dict()


@pytest.mark.parametrize("method", ["vanilla", "cutmix", "mixup", "cutout", "has"])
def test_a_run_equals_training_written_down_plainly(manifest: Path, method: str) -> None:
    config = tiny_config(manifest, method=method, channels_last="off")  # another layout rounds otherwise
    outcome = train(config, report=Silent())
    assert outcome.exit_code == 0
    trained, _ = load_tensors(outcome.run.weights)
    naive = _naive_weights(config, manifest, 2)
    for name, tensor in naive.items():
        torch.testing.assert_close(
            trained[name], tensor, rtol=1e-3, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}"
        )


def test_what_a_run_leaves(manifest: Path) -> None:
    outcome = train(tiny_config(manifest, epochs=3, validate_every=2), report=Silent())
    run = load_run(outcome.run.dir)
    assert run.dir == Path("runs/cutmix-0")
    assert sorted(f.name for f in run.dir.iterdir() if f.name != ".lock") == [
        "log.jsonl",
        "model.safetensors",
        "run.yaml",
    ]
    assert run.status == "finished"
    assert run.classes == ("red", "green", "blue")
    assert run.method == "cutmix"
    assert run.dataset == "tiny"
    assert run.manifest_hash == load_manifest(manifest).hash()
    assert Path(run.manifest_folder) == manifest.resolve()
    assert run.spec == SPEC
    assert run.config["train_resize"] == 37
    assert run.config["precision"] == "fp32"
    assert run.make_method() == CutMix()
    assert list(run.record["method"])[:4] == ["name", "alpha", "prob", "per_sample"]
    assert run.record["versions"]["torch"] == torch.__version__.split("+")[0]
    lines = [json.loads(text) for text in (run.dir / "log.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [1, 2, 3]
    assert [line["validation"] is not None for line in lines] == [False, True, True]
    assert lines[-1]["validation"]["images"] == 9
    assert "top5" not in lines[-1]["validation"]
    assert run.record["result"]["epoch"] == 3
    assert newest_run() == run.dir


def test_the_stored_network_is_the_one_that_was_validated(manifest: Path) -> None:
    run = train(tiny_config(manifest), report=Silent()).run
    model = load_classifier(run)
    assert not model.training
    loaded = load_manifest(manifest)
    split = loaded.split("train-fullsup")
    (batch,) = evaluation_batches(split, str(loaded.root), [EvalView("resize", 32)], batch_size=100)
    with torch.inference_mode():
        logits = model(normalize_images(batch.images["resize"])).logits
    labels = torch.from_numpy(split.labels.astype(np.int64))
    stored = run.record["result"]["validation"]
    assert stored["top1"] == pytest.approx(100 * float((logits.argmax(1) == labels).float().mean()))
    assert stored["loss"] == pytest.approx(float(cross_entropy(logits, labels)), rel=1e-4)


def test_same_seed_same_weights_other_seed_others(manifest: Path) -> None:
    weights = [
        load_tensors(train(tiny_config(manifest, seed=seed, epochs=1), report=Silent()).run.weights)[0]
        for seed in (0, 0, 1)
    ]
    assert all(torch.equal(weights[0][k], weights[1][k]) for k in weights[0])
    assert not torch.equal(weights[0]["head.weight"], weights[2]["head.weight"])


def test_reading_files_and_caching_pixels_train_the_same_network(manifest: Path) -> None:
    cached = train(tiny_config(manifest, epochs=1), report=Silent()).run
    read = train(tiny_config(manifest, epochs=1, cache="off", workers=1), report=Silent()).run
    a, b = load_tensors(cached.weights)[0], load_tensors(read.weights)[0]
    assert all(torch.equal(a[k], b[k]) for k in a)


def test_accumulated_parts_take_one_step_together(manifest: Path) -> None:
    """Three parts of eight make as many steps as one batch of 24, from other draws and statistics."""
    config = tiny_config(manifest, batch_size=24, accumulate=3, epochs=2)
    run = train(config, report=Silent()).run
    lines = [json.loads(text) for text in (run.dir / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2]


def test_first_classes_only(manifest: Path) -> None:
    run = train(tiny_config(manifest, classes=2, epochs=1), report=Silent()).run
    assert run.classes == ("red", "green")
    assert run.spec.num_classes == 2
    assert run.record["dataset"]["train"]["images"] == 16
    assert run.record["result"]["validation"]["images"] == 6


def test_bf16_runs_close_to_fp32(manifest: Path) -> None:
    losses = [
        train(tiny_config(manifest, epochs=1, precision=p), report=Silent()).run.record["result"][
            "train_loss"
        ]
        for p in ("fp32", "bf16")
    ]
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)


def test_run_directories_are_numbered(tmp_path: Path) -> None:
    assert [next_free_dir("cutmix").name for _ in range(3)] == ["cutmix-0", "cutmix-1", "cutmix-2"]
    (tmp_path / "runs" / "cutmix-1").rmdir()
    assert next_free_dir("cutmix").name == "cutmix-1"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(None, r"holds no run\.yaml", id="no record"),
        pytest.param("a: [", "not readable as YAML", id="broken"),
        pytest.param("- 1", "expected a run record of schema 1, got 'list'", id="list"),
        pytest.param("schema: 7", "expected a run record of schema 1, got 7", id="newer"),
        pytest.param("schema: 1\nstatus: finished", "entry 'config' is missing; bring back", id="incomplete"),
        pytest.param(
            "a: &a [1, 1]\nschema: *a", "2: aliases .* are not used here", id="aliases, which can multiply"
        ),
        pytest.param("[" * 3000, "nested too deeply", id="deep"),
        pytest.param(
            "schema: 1\nstatus: a\nconfig: {method: cutmix}\nclassifier:\ndataset: {}",
            "'classifier' must be a mapping, got None",
            id="empty entry",
        ),
        pytest.param(
            "schema: 1\nstatus: a\nconfig: {method: cutmix}\nclassifier: {}\ndataset: {name: x}",
            r"entry 'dataset\.manifest' is missing",
            id="half an entry",
        ),
    ],
)
def test_what_is_no_run(tmp_path: Path, content: str | None, message: str) -> None:
    (tmp_path / "x").mkdir()
    if content is not None:
        (tmp_path / "x/run.yaml").write_text(content)
    with pytest.raises(UserError, match=message):
        load_run(tmp_path / "x")


def test_the_line_that_continues_a_run_can_be_pasted() -> None:
    assert resume_command(Path("runs/a b")) == "python train_cutmix.py --resume --out 'runs/a b'"


def test_newest_run_is_finished_and_started_last(manifest: Path) -> None:
    with pytest.raises(UserError, match="no runs under 'runs'; train one with"):
        newest_run()
    first = train(tiny_config(manifest, epochs=1), report=Silent()).run
    second = train(tiny_config(manifest, epochs=1, method="vanilla"), report=Silent()).run
    assert newest_run() == second.dir
    update_run(second, status="interrupted")
    assert newest_run() == first.dir
    update_run(first, status="running")
    with pytest.raises(UserError, match=r"continue it with .*--resume --out runs/vanilla-0"):
        newest_run()


def test_log_is_cut_back_to_the_checkpoint(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    log.write_text('{"epoch": 1}\n{"epoch": 2}\n{"epoch": 3}\n{"epo')
    trim_log(log, 2)
    assert log.read_text() == '{"epoch": 1}\n{"epoch": 2}\n'
    trim_log(tmp_path / "absent", 2)
