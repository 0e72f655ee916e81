from __future__ import annotations

import subprocess
import sys
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from typing import get_type_hints

import pytest
import yaml
from typing_extensions import Doc

from tests.helpers.tiny_dataset import make_tiny_dataset
from wsol.errors import UserError
from wsol.runs.made_by import MAY_CHANGE_ON_RESUME
from wsol.runs.record import load_run
from wsol.training.config import (
    METHOD_FIELDS,
    TrainConfig,
    config_from_record,
    load_config_file,
    parse_config,
)
from wsol.training.presets import PRESETS, preset_values

ROOT = Path(__file__).resolve().parents[2]


def command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """`python train_cutmix.py ...` in a folder of its own, on one thread."""
    return subprocess.run(
        [sys.executable, str(ROOT / "train_cutmix.py"), *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
    )


# --- flags --------------------------------------------------------------------------------------------------


def test_no_arguments_means_cutmix_on_parts() -> None:
    config = parse_config([])
    assert config == TrainConfig()
    assert (config.dataset, config.method, config.device) == ("parts", "cutmix", "auto")


def test_flags_have_dashes() -> None:
    config = parse_config(["--data-root", "x", "--classifier-lr-ratio", "3", "--no-nesterov", "--lr", "1e-3"])
    assert (config.data_root, config.classifier_lr_ratio, config.nesterov, config.lr) == (
        "x",
        3.0,
        False,
        1e-3,
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--method", "cutmx"], "unknown method 'cutmx'; did you mean 'cutmix'", id="method"),
        pytest.param(
            ["--arch", "resnet19"], "unknown network 'resnet19'; did you mean 'resnet18'", id="arch"
        ),
        pytest.param(
            ["--arch", "mobilenetv2_100"],
            "unknown network 'mobilenetv2_100'; timm has one of that name: write timm:mobilenetv2_100",
            marks=pytest.mark.skipif(
                find_spec("timm") is None, reason="the extra `backbones` is not installed"
            ),
            id="arch of timm",
        ),
        pytest.param(["--size", "16"], "--size must be at least 32", id="size"),
        pytest.param(["--lr", "0"], "--lr must be a number above 0", id="zero rate"),
        pytest.param(["--lr", "nan"], "--lr must be a number above 0", id="rate that is no number"),
        pytest.param(["--train-resize", "40"], "--train-resize 40 is smaller than --size 64", id="resize"),
        pytest.param(["--accumulate", "5"], "not a multiple of --accumulate 5", id="accumulate"),
        pytest.param(["--momentum", "0"], "add --no-nesterov", id="nesterov"),
        pytest.param(["--cutmix-alpha", "0"], "cutmix: `alpha` must be", id="alpha"),
        pytest.param(
            ["--mixup-alpha", "2"], "--mixup-alpha does nothing with --method cutmix", id="idle flag"
        ),
        pytest.param(
            ["--decay-every=2"], "--decay-every does nothing with --schedule cosine", id="idle schedule"
        ),
        pytest.param(["--config", "absent.yaml"], "'absent.yaml' does not exist", id="missing file"),
        pytest.param(["--preset", "choe2020"], "no settings for --dataset parts", id="preset elsewhere"),
    ],
)
def test_mistakes_name_the_remedy(arguments: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message.replace("(", r"\(")) as caught:
        parse_config(arguments)
    assert "\n" not in str(caught.value)


def test_every_flag_is_explained() -> None:
    text = Path(sys.modules[TrainConfig.__module__].__file__ or "").read_text()
    hints = get_type_hints(TrainConfig, include_extras=True)
    for field in fields(TrainConfig):
        if field.name == "method" or field.name in METHOD_FIELDS:
            (doc,) = (note for note in hints[field.name].__metadata__ if isinstance(note, Doc))
            assert len(doc.documentation) > 10, field.name
            continue
        at = text.index(f"\n    {field.name}: ")
        assert text[at:].split("\n")[2].strip().startswith('"""'), field.name


def test_what_may_change_on_resume_are_settings() -> None:
    assert {f.name for f in fields(TrainConfig)} >= MAY_CHANGE_ON_RESUME


# --- YAML ---------------------------------------------------------------------------------------------------


def test_file_sets_defaults_and_flags_win(tmp_path: Path) -> None:
    file = tmp_path / "a.yaml"
    file.write_text("method: mixup\nlr: 1e-3\nepochs: 7\nmixup_alpha: 0.4\n")
    config = parse_config(["--config", str(file), "--epochs", "9"])
    assert (config.method, config.lr, config.epochs, config.mixup_alpha) == ("mixup", 1e-3, 9, 0.4)
    assert config.batch_size == TrainConfig().batch_size
    vanilla = parse_config(
        [f"--config={file}", "--method", "vanilla"]
    )  # the file serves a sweep over methods
    assert vanilla.method == "vanilla"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param("epoch: 3", "unknown setting 'epoch'; did you mean 'epochs'", id="unknown key"),
        pytest.param("epochs: three", "epochs: Input should be a valid integer.*'three'", id="wrong type"),
        pytest.param("epochs: 2.5", "epochs: Input should be a valid integer", id="fraction"),
        pytest.param("schedule: linear", "schedule: Input should be 'step' or 'cosine'", id="closed list"),
        pytest.param("size: 8", "--size must be at least 32", id="range"),
        pytest.param("resume: true", "unknown setting 'resume'", id="not for files"),
        pytest.param("- a\n- b", "expected lines like", id="list"),
        pytest.param("a: [", "not readable as YAML", id="broken"),
        pytest.param("lr: 0.1\nlr: 0.01", "line 2: key 'lr' is given twice", id="twice, which would it be"),
        pytest.param("lr: 2020-13-45", "not readable as YAML", id="no date"),
        pytest.param("[" * 3000, "nested too deeply", id="deep"),
        pytest.param(b"lr: \xff", "1: not UTF-8 text", id="not text"),
        pytest.param("warmup_epochs: .inf", "--warmup-epochs must be .* finite", id="infinite warmup"),
    ],
)
def test_bad_files(tmp_path: Path, text: str | bytes, message: str) -> None:
    file = tmp_path / "a.yaml"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=message) as caught:
        load_config_file(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_empty_file_changes_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("")
    assert load_config_file(tmp_path / "a.yaml") == {}


def test_config_survives_the_record() -> None:
    config = parse_config(["--method", "has", "--has-grid", "7", "--lr", "0.3", "--classes", "5"])
    again = yaml.safe_load(
        yaml.safe_dump({k: v for k, v in config.to_dict().items() if k not in ("config", "resume")})
    )
    assert config_from_record(again, "run.yaml") == config


# --- presets ------------------------------------------------------------------------------------------------


def test_preset_then_file_then_flags(tmp_path: Path) -> None:
    wanted = ["--preset", "choe2020", "--dataset", "cub200", "--arch", "resnet50", "--output-stride", "16"]
    config = parse_config(wanted)
    assert (config.lr, config.epochs, config.milestones, config.batch_size) == (
        3.333722e-4,
        50,
        (14, 29, 44),
        32,
    )
    assert config.fast_layers == ("layer4",)
    assert (config.cutmix_alpha, config.cutmix_prob, config.pretrained) == (1.35, 0.24, "imagenet")
    (tmp_path / "a.yaml").write_text("epochs: 5\nlr: 0.1\n")
    config = parse_config([*wanted, "--config", str(tmp_path / "a.yaml"), "--lr", "0.2"])
    assert (config.epochs, config.lr, config.milestones) == (5, 0.2, (14, 29, 44))


def test_a_preset_asks_for_what_its_source_leaves_open() -> None:
    """Two scripts of one fork disagree on the map of CutMix on ResNet-50; its CAM rows name theirs."""
    wanted = ["--preset", "choe2020", "--dataset", "cub200", "--arch", "resnet50"]
    with pytest.raises(UserError, match="states no map size for resnet50 with cutmix: add --output-stride 8"):
        parse_config(wanted)
    assert parse_config([*wanted, "--method", "vanilla"]).stride == 8


def test_paper_preset_by_hand() -> None:
    config = parse_config(["--preset", "cutmix2019", "--dataset", "imagenet", "--arch", "resnet50"])
    assert (config.epochs, config.batch_size, config.lr, config.classifier_lr_ratio) == (20, 256, 0.01, 10)
    assert (config.decay_every, config.weight_decay, config.nesterov, config.stride) == (6, 1e-4, True, 16)
    assert config.fresh_head


def test_every_preset_value_is_a_setting() -> None:
    legal = {f.name for f in fields(TrainConfig)}
    for preset in PRESETS:
        for arch in ("resnet50", "vgg16_gap"):
            values = preset_values(preset, "cub200", arch, "vanilla")
            assert set(values) <= legal
            TrainConfig(**{**values, "dataset": "cub200", "arch": arch, "method": "vanilla"})


@pytest.mark.parametrize(
    ("dataset", "arch", "method"),
    [
        ("cub200", "resnet50", "has"),
        ("cub200", "resnet18", "vanilla"),
        ("openimages30k", "resnet50", "cutmix"),
    ],
)
def test_a_preset_makes_nothing_up(dataset: str, arch: str, method: str) -> None:
    with pytest.raises(UserError, match="its source gives none"):
        preset_values("choe2020", dataset, arch, method)


# --- the command --------------------------------------------------------------------------------------------


def test_help_needs_no_torch() -> None:
    code = (
        "import sys; sys.argv = ['train_cutmix.py', '--help']; import train_cutmix\n"
        "try: train_cutmix.main()\n"
        "except SystemExit as end: assert end.code == 0\n"
        "assert 'torch' not in sys.modules and 'pydantic' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--cutmix-alpha" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "cutmx"], "did you mean 'cutmix'"),
        (["--epoch", "3"], "Unrecognized options"),
        (["--lr", "fast"], "could not convert"),
        (["--preset", "choe2021"], "invalid choice 'choe2021'"),
    ],
)
def test_wrong_flags_exit_with_2_and_no_traceback(tmp_path: Path, arguments: list[str], message: str) -> None:
    done = command(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_run_as_typed(tmp_path: Path) -> None:
    manifest = make_tiny_dataset(tmp_path / "tiny")
    asked = ["--dataset", str(manifest), "--size", "32", "--batch-size", "8", "--device", "cpu"]
    done = command(*asked, "--epochs", "1", "--out", "here", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-2:] == ["results: here", "next: python -m eval.localize here"]
    assert "epoch   1/1  loss" in done.stdout
    run = load_run(tmp_path / "here")
    assert run.status == "finished"
    assert run.record["command"][:2] == ["train_cutmix.py", "--dataset"]
