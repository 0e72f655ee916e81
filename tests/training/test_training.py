from __future__ import annotations

import json
import os
import threading
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import cross_entropy

from tests.helpers.tiny_dataset import make_tiny_dataset, tiny_config
from wsol.errors import UserError
from wsol.files.checked_safetensors import load_tensors
from wsol.loading import evaluation_batches, normalize_images
from wsol.manifest import load_manifest, write_manifest
from wsol.methods import METHODS, CutMix, MixedBatch
from wsol.models import ClassifierSpec, build_classifier
from wsol.models.head import Outputs
from wsol.runs.find import newest_run
from wsol.runs.network import load_classifier
from wsol.runs.record import Run, load_run, next_free_dir, resume_command, update_run, write_run
from wsol.training.batches import BatchPlan, Images, ahead, crop_batch, make_batches, plan_step
from wsol.training.config import TrainConfig
from wsol.training.data import first_classes
from wsol.training.log import trim_log
from wsol.training.optim import build_optimizer, learning_rate, set_learning_rate
from wsol.training.pixels import Decode, PixelFile, make_pixels, pixel_file
from wsol.training.progress import Silent
from wsol.training.rng import Crops, epoch_crops, epoch_order, method_generator, network_seed
from wsol.training.session import train
from wsol.training.step import mixed_hits
from wsol.training.validation import accuracy, count_correct
from wsol.views import EvalView


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read-only: tests that damage something copy it first."""
    return make_tiny_dataset(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs and the pixel cache go to the current folder."""
    monkeypatch.chdir(tmp_path)


# --- learning rate ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "step", "expected"),
    [
        pytest.param({"schedule": "step", "decay_every": 2}, 0, 1.0, id="step: first"),
        pytest.param({"schedule": "step", "decay_every": 2}, 19, 1.0, id="step: last before the decay"),
        pytest.param({"schedule": "step", "decay_every": 2}, 20, 0.1, id="step: first after it"),
        pytest.param({"schedule": "step", "decay_every": 2, "decay_factor": 0.5}, 45, 0.25, id="step: twice"),
        pytest.param({"schedule": "cosine"}, 0, 1.0, id="cosine: first"),
        pytest.param({"schedule": "cosine"}, 50, 0.5, id="cosine: middle"),
        pytest.param({"schedule": "cosine"}, 25, 0.5 + 0.5**0.5 / 2, id="cosine: quarter"),
        pytest.param({"schedule": "step", "warmup_epochs": 0.5}, 0, 0.2, id="warmup: first of five"),
        pytest.param({"schedule": "step", "warmup_epochs": 0.5}, 4, 1.0, id="warmup: fifth"),
        pytest.param({"schedule": "step", "warmup_epochs": 0.01}, 0, 1.0, id="warmup shorter than a step"),
    ],
)
def test_learning_rate(settings: dict[str, object], step: int, expected: float) -> None:
    """Ten epochs of ten steps at a rate of 1."""
    config = TrainConfig(lr=1.0, epochs=10, **settings)  # type: ignore[arg-type]
    assert learning_rate(config, step, 10) == pytest.approx(expected)


def test_the_rate_falls_after_the_milestones() -> None:
    """Choe et al.'s code multiplies before epochs 3, 6, 9 (counted from 1): two epochs at the full rate, not three."""
    config = TrainConfig(lr=1.0, epochs=10, schedule="step", milestones=(2, 5, 8))
    rates = [learning_rate(config, 10 * epoch, 10) for epoch in range(10)]
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.001, 0.001])


@pytest.mark.parametrize(
    ("arch", "settings", "fast"),
    [
        ("resnet50", {"pretrained": "imagenet", "fast_layers": ("layer4",)}, ("backbone.layer4.", "head.")),
        ("vgg16_gap", {"pretrained": "imagenet"}, ("backbone.conv6.", "head.")),
        ("vgg16_gap", {"classifier_lr_ratio": 10.0}, ("head.",)),
    ],
)
def test_ten_times_the_rate_is_the_references_groups(
    arch: str, settings: dict[str, object], fast: tuple[str, ...]
) -> None:
    """clovaai/wsolevaluation, main.py: layer4 and fc of ResNet-50; all but `features` of VGG16."""
    with torch.device("meta"):
        model = build_classifier(ClassifierSpec(arch, 3, 16, 224))
    config = TrainConfig(arch=arch, size=224, **settings)  # type: ignore[arg-type]
    body, quick = build_optimizer(model, config).param_groups
    assert (body["lr_ratio"], quick["lr_ratio"]) == (1.0, 10.0)
    names = {id(p): name for name, p in model.named_parameters()}
    assert {names[id(p)] for p in quick["params"]} == {n for n in names.values() if n.startswith(fast)}
    assert len(body["params"]) + len(quick["params"]) == len(names)


def test_a_fresh_head_stays_random_under_weights_that_have_one(tmp_path: Path) -> None:
    donor = build_classifier(_spec(), seed=1)  # type: ignore[arg-type]
    torch.save(donor.state_dict(), tmp_path / "donor.pth")
    start = str(tmp_path / "donor.pth")
    kept = build_classifier(_spec(), pretrained=start, seed=2)  # type: ignore[arg-type]
    fresh = build_classifier(_spec(), pretrained=start, seed=2, fresh_head=True)  # type: ignore[arg-type]
    assert torch.equal(kept.head.weight, donor.head.weight)
    assert torch.equal(fresh.head.weight, build_classifier(_spec(), seed=2).head.weight)  # type: ignore[arg-type]
    assert torch.equal(fresh.backbone.conv1.weight, donor.backbone.conv1.weight)
    assert fresh.load_report is not None
    assert fresh.load_report.head_reinitialised


def test_head_learns_faster_and_everything_decays() -> None:
    config = TrainConfig(lr=0.5, classifier_lr_ratio=10, weight_decay=0.25)
    model = build_classifier(_spec(), seed=0)
    optimizer = build_optimizer(model, config)
    set_learning_rate(optimizer, 0.5)
    body, head = optimizer.param_groups
    assert (body["lr"], head["lr"]) == (0.5, 5.0)
    assert {id(p) for p in head["params"]} == {id(model.head.weight), id(model.head.bias)}
    assert len(body["params"]) + len(head["params"]) == len(list(model.parameters()))
    assert body["weight_decay"] == head["weight_decay"] == 0.25


# --- random numbers -------------------------------------------------------------------------------------------------


def test_order_visits_every_image_and_changes_with_epoch_and_seed() -> None:
    orders = [epoch_order(seed, epoch, 50) for seed in (0, 1) for epoch in (0, 1)]
    for order in orders:
        assert sorted(order.tolist()) == list(range(50))
    assert len({tuple(order.tolist()) for order in orders}) == 4
    np.testing.assert_array_equal(epoch_order(0, 1, 50), orders[1])


def test_crops_reach_both_ends_and_flip_half() -> None:
    crops = epoch_crops(0, 0, 4000, 40, 32)
    assert crops.top_left.min() == 0
    assert crops.top_left.max() == 8
    assert abs(crops.flip.mean() - 0.5) < 0.05


def test_parts_share_a_step_without_loss_or_overlap() -> None:
    order, crops = np.arange(24) * 10, epoch_crops(0, 0, 24, 40, 32)
    parts = [plan_step(order, crops, 1, 12, part, 3) for part in range(3)]
    assert np.concatenate([p.rows for p in parts]).tolist() == [10 * i for i in range(12, 24)]
    np.testing.assert_array_equal(np.concatenate([p.crops.flip for p in parts]), crops.flip[12:])


def test_method_draws_depend_on_step_and_part_alone() -> None:
    def draw(step: int, part: int) -> object:
        return CutMix().draw(8, (32, 32), method_generator(0, step, part)).boxes_xyxy

    assert draw(3, 1) == draw(3, 1)
    assert len({draw(step, part) for step in range(3) for part in range(3)}) == 9


# --- batches ------------------------------------------------------------------------------------------------


def test_crop_and_flip_by_hand() -> None:
    image = np.arange(3 * 4 * 3, dtype=np.uint8).reshape(3, 4, 3)
    crops = Crops(np.array([[0, 1], [0, 1], [1, 2]]), np.array([False, True, False]))
    out = crop_batch([image, image, image], crops, 2)
    assert out.shape == (3, 3, 2, 2)
    assert out[0, 0].tolist() == [[3, 6], [15, 18]]  # channel 0 of columns 1, 2 of rows 0, 1
    assert out[1, 0].tolist() == [[6, 3], [18, 15]]
    assert out[2, 0].tolist() == [[18, 21], [30, 33]]
    assert out.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("workers", [0, 2])
def test_cached_and_read_images_give_the_same_batches(manifest: Path, workers: int) -> None:
    loaded = load_manifest(manifest)
    split, root = loaded.split("train-weaksup"), str(loaded.root)
    file = pixel_file(split, root, 36)
    make_pixels(file, split, root, 36, workers=0)
    labels = split.labels.astype(np.int64)
    from wsol.loading import ImageReader

    read = Images(labels, decode=Decode(ImageReader(split, root), 36))
    cached = Images(labels, pixels=PixelFile(file, len(split), 36))
    order, crops = epoch_order(0, 0, 24), epoch_crops(0, 0, 24, 36, 32)
    plans = [plan_step(order, crops, step, 8, 0, 1) for step in range(3)]
    pairs = list(zip(make_batches(read, plans, 32, workers=workers), make_batches(cached, plans, 32)))
    assert len(pairs) == 3
    for (images_a, labels_a), (images_b, labels_b) in pairs:
        assert torch.equal(images_a, images_b)
        assert torch.equal(labels_a, labels_b)


def test_uncropped_pixels_are_what_evaluation_sees(manifest: Path) -> None:
    loaded = load_manifest(manifest)
    split, root = loaded.split("train-fullsup"), str(loaded.root)
    file = pixel_file(split, root, 32)
    make_pixels(file, split, root, 32, workers=0)
    images = Images(split.labels.astype(np.int64), pixels=PixelFile(file, len(split), 32))
    whole = Crops(np.zeros((len(split), 2), np.int64), np.zeros(len(split), bool))
    ((ours, _),) = make_batches(images, [BatchPlan(np.arange(len(split)), whole)], 32)
    (theirs,) = evaluation_batches(split, root, [EvalView("resize", 32)], batch_size=100)
    assert torch.equal(ours, theirs.images["resize"])


def test_cache_file_follows_the_data(manifest: Path, tmp_path: Path) -> None:
    split = load_manifest(manifest).split("train-weaksup")
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    names = {
        pixel_file(split, str(tmp_path / "a"), 36),
        pixel_file(split, str(tmp_path / "b"), 36),
        pixel_file(split, str(tmp_path / "a"), 40),
        pixel_file(first_classes(split, 2), str(tmp_path / "a"), 36),
    }
    assert len(names) == 4


def test_images_replaced_in_place_are_decoded_anew(manifest: Path) -> None:
    """Same names, same list, other pictures: once they were trained on as if nothing had happened."""
    loaded = load_manifest(manifest)
    split, root = loaded.split("train-weaksup"), Path(loaded.root or "")
    before = pixel_file(split, str(root), 32)
    file = root / split.path(3)
    negative = 255 - np.asarray(Image.open(file).convert("RGB"))
    Image.fromarray(negative).save(file)
    os.utime(file, ns=(1, 1))
    assert pixel_file(split, str(root), 32) != before


@pytest.mark.parametrize("damage", ["cut", "flip", "flip a checksum"])
def test_a_damaged_cache_is_never_trained_on(manifest: Path, damage: str) -> None:
    loaded = load_manifest(manifest)
    split, root = loaded.split("train-weaksup"), str(loaded.root)
    file = pixel_file(split, root, 32)
    make_pixels(file, split, root, 32, workers=0)
    opened, size = PixelFile(file, len(split), 32), 32 * 32 * 3
    whole = file.read_bytes()
    at = {"cut": 5 * size + 7, "flip": 5 * size + 7, "flip a checksum": len(split) * size + 5}[damage]
    changed = whole[:at] if damage == "cut" else whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :]
    file.write_bytes(changed)  # in place, under the open file
    if damage != "flip":
        with pytest.raises(ValueError, match="is not whole"):
            PixelFile(file, len(split), 32)
    if damage != "flip a checksum":
        opened[4]
        with pytest.raises(UserError, match=r"were cut or changed since they were written \(row 5\); delete"):
            opened[5]


def test_ahead_keeps_order_and_passes_errors() -> None:
    def items() -> object:
        yield from (1, 2, 3)
        raise UserError("broken")

    found = []
    with pytest.raises(UserError, match="broken"):
        for item in ahead(items()):  # type: ignore[arg-type]
            found.append(item)
    assert found == [1, 2, 3]


def test_ahead_ends_its_thread_when_the_caller_stops() -> None:
    before = threading.active_count()
    items = ahead(iter(range(1000)))
    assert next(items) == 0
    items.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


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


def _spec() -> object:
    from wsol.models import ClassifierSpec

    return ClassifierSpec("resnet_small", 3, 4, 32)


def _naive_weights(config: TrainConfig, manifest: Path, epochs: int) -> dict[str, torch.Tensor]:
    """The same training written down plainly: files, Pillow, torch's own SGD, no cache, no threads."""
    loaded = load_manifest(manifest)
    split, root = loaded.split("train-weaksup"), str(loaded.root)
    from PIL import Image

    model = build_classifier(_spec(), seed=network_seed(config.seed)).train()  # type: ignore[arg-type]
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
    assert run.spec == _spec()
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


# --- bad input ----------------------------------------------------------------------------------------------


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
