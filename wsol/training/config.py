"""The one typed config of training: command line, YAML file and run record are views of it.

Importable without torch, so that `--help` answers at once. Later sources override earlier ones: the defaults
below, then a `--preset`, then a `--config` file, then flags.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_type_hints

import tyro
from typing_extensions import Doc

from wsol.command_line import parse
from wsol.errors import UserError
from wsol.files.strict_yaml import read_yaml
from wsol.methods import METHODS, Method, method_named
from wsol.models.networks import default_output_stride, find_network
from wsol.models.pixels import IMAGENET, Interpolation
from wsol.training.presets import PRESETS, preset_values, unstated

C = TypeVar("C", bound=type)


def _flag(name: str) -> str:
    return "--" + name.replace("_", "-")


def _method_fields() -> dict[str, tuple[str, Any, Any, str]]:
    """Every method's settings as fields of the config: name -> (method, type, default, help)."""
    found = {}
    for method, cls in METHODS.items():
        hints = get_type_hints(cls, include_extras=True)
        for f in fields(cls):
            found[f"{method}_{f.name}"] = (
                method,
                hints[f.name],
                f.default,
                f"{method}: {f.metadata['help']}",
            )
    return found


METHOD_FIELDS = _method_fields()


def _with_method_settings(cls: C) -> C:
    """Insert the methods' settings behind the field `method` of a class that is about to become a dataclass."""
    annotations = {}
    for name, kind in cls.__annotations__.items():
        annotations[name] = kind
        if name == "method":
            about = f"Training method: {', '.join(METHODS)}. Flags that begin with its name are its settings."
            annotations[name] = Annotated[str, Doc(about)]
            for added, (_, hint, default, text) in METHOD_FIELDS.items():
                annotations[added] = Annotated[hint, Doc(text)]
                setattr(cls, added, default)
    cls.__annotations__ = annotations
    return cls


@dataclass(frozen=True)
@_with_method_settings
class TrainConfig:
    """Every choice a training run makes. Validated on construction: an illegal value is a `UserError`.

    Each setting of each method is a field `METHOD_SETTING` too, generated from the method's own dataclass.
    """

    # --- data
    dataset: str = "parts"
    """Dataset: a name in data_manifests/ or a manifest folder. 'parts' is made on first use."""
    data_root: str | None = None
    """Folder or .zip of the images, where they are not where the manifest says."""
    classes: int | None = None
    """Train on the first N classes of the manifest only; labels stay as they are."""
    size: Annotated[int | None, tyro.conf.arg(aliases=["--input-size"])] = None
    """Side of the network's input in pixels (default: with --pretrained that of the network's own weights, else 64)."""
    mean: tuple[float, float, float] | None = None
    """Mean of the input's red, green and blue, of pixels in [0, 1] (default: that of the network's own weights)."""
    std: tuple[float, float, float] | None = None
    """Standard deviation of the same."""
    interpolation: Interpolation | None = None
    """How images are resized (default: as for the network's own weights)."""
    train_resize: int | None = None
    """Side that training images are resized to before the random crop (default: size * 256 / 224)."""
    workers: int | None = None
    """Processes that decode images (default: by the number of cores)."""
    cache: Literal["auto", "on", "off"] = "auto"
    """Keep decoded, resized uint8 images in data/cache; auto: when they take less than 2 GB."""

    # --- network
    arch: str = "resnet_small"
    """Network: resnet_small, resnet18, resnet34, resnet50, vgg16_gap, or timm:NAME."""
    output_stride: int | None = None
    """Input pixels per score map pixel (default: the coarsest that gives a map of 8x8 or more)."""
    stride_plan: Literal["auto", "late", "stem"] = "auto"
    """Which strides give way to reach it: late stages, or a ResNet's first pooling (small images)."""
    pretrained: str | None = None
    """Start from 'imagenet' weights, or from a .safetensors or .pth FILE (its head may differ), or from
    hf-hub:OWNER/NAME of the Hugging Face hub."""
    weights_key: str | None = None
    """Which of several sets of weights in --pretrained FILE is taken, such as state_dict_ema."""
    fresh_head: bool = False
    """With --pretrained, start the head at random even where the weights have one for as many classes."""

    freeze_batch_norm: bool = False
    """With --pretrained, normalize by the weights' own running statistics in training too, and keep them; scale and
    shift learn on. For small batches, and for weights whose batch normalization is folded into the convolutions."""

    # --- method
    method: str = "cutmix"
    method_schedule: Literal["constant", "linear"] = "constant"
    """linear: the chance that a batch meets the method at all rises from 0 to 1 over the run."""
    method_off_epochs: int = 0
    """Epochs at the end of the run that leave batches and layers as they are."""

    # --- optimization
    preset: Literal["choe2020", "cutmix2019"] | None = None
    """Published settings for dataset, arch and method (CUB, ImageNet); your own flags win over them."""
    epochs: int = 20
    """Passes over the training images; the last epoch's weights are the result."""
    batch_size: int = 32
    """Images per optimizer step, over all processes and accumulated parts together."""
    accumulate: int = 1
    """Split each step's batch into this many parts run one after another, to save memory."""
    lr: float | None = None
    """Learning rate of the backbone (default: 0.1 from scratch, 0.001 with --pretrained)."""
    classifier_lr_ratio: float | None = None
    """Learning rate of the head and of layers without pretrained weights, relative to --lr (default: 10 with
    --pretrained, else 1)."""
    fast_layers: tuple[str, ...] = ()
    """Layers that learn at the head's rate as well, such as layer4."""
    momentum: float = 0.9
    """Momentum of SGD."""
    nesterov: bool = True
    """Nesterov's form of momentum."""
    weight_decay: float = 1e-4
    """Weight decay, on every parameter."""
    schedule: Literal["step", "cosine"] = "cosine"
    """step: times --decay-factor every --decay-every epochs; cosine: to zero, step by step."""
    decay_every: int = 15
    """Epochs between two decays of the step schedule."""
    milestones: tuple[int, ...] = ()
    """Epochs after which the step schedule decays, instead of every --decay-every."""
    decay_factor: float = 0.1
    """Factor of the step schedule."""
    warmup_epochs: float = 0.0
    """Epochs over which the learning rate first rises linearly; may be a fraction."""

    # --- machine
    seed: int = 0
    """Seed of everything random: initial weights, order, crops and flips, the method's draws."""
    device: str = "auto"
    """auto (the best present), cpu, cuda, cuda:N or mps."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Of the forward and backward pass; auto: bf16 where the device has it, else fp32."""
    channels_last: Literal["auto", "on", "off"] = "auto"
    """Memory layout of the network, a matter of speed; auto: on, but for Apple's GPUs."""
    compile: bool = False
    """Compile the network with torch.compile: slow to start, faster on long runs."""
    deterministic: bool = False
    """Bit-identical weights for the same seed on the same machine; slower on GPUs."""

    # --- run
    validate_every: int = 1
    """Epochs between two validations on train-fullsup; the last epoch is always validated."""
    localize_every: int = 0
    """Epochs between two localizations of train-fullsup (MaxBoxAcc, MaxBoxAccV2 in the log); 0: none."""
    tensorboard: bool = False
    """Write TensorBoard scalars, and with --localize-every the same images' score maps over the epochs."""
    log: tuple[Literal["csv", "wandb"], ...] = ()
    """Further logs beside log.jsonl: csv (log.csv in the run's folder), wandb (Weights & Biases; WANDB_MODE=offline
    keeps it on this machine)."""
    checkpoint_every_minutes: float = 10.0
    """Save the state for --resume this often; it is also saved on Ctrl-C and SIGTERM."""
    checkpoint_every_steps: int | None = None
    """Save the state every so many steps as well."""
    out: str | None = None
    """Run directory to write (default: runs/METHOD-N with the first N that is free)."""
    resume: bool = False
    """Continue the run in --out (default: the newest unfinished one under runs/) exactly where it was."""
    config: str | None = None
    """YAML file with any of these settings (names with underscores), or a run's run.yaml; flags win over it."""

    def __post_init__(self) -> None:
        for name, low in _AT_LEAST.items():
            value = getattr(self, name)
            if value is not None and not low <= value < float("inf"):
                raise UserError(f"{_flag(name)} must be at least {low} and finite, got {value}")
        for name in _POSITIVE:
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise UserError(f"{_flag(name)} must be a number above 0, got {value}")
        IMAGENET.changed(self.mean, self.std)  # refuses illegal values
        known = self.size is not None or self.pretrained is None  # else the weights say it
        if self.train_resize is not None and known and self.train_resize < self.side:
            raise UserError(f"--train-resize {self.train_resize} is smaller than --size {self.side}")
        if self.batch_size % self.accumulate:
            raise UserError(
                f"--batch-size {self.batch_size} is not a multiple of --accumulate {self.accumulate}"
            )
        if self.nesterov and self.momentum == 0:
            raise UserError("--nesterov needs a --momentum above 0; add --no-nesterov")
        if self.fresh_head and self.pretrained is None:
            raise UserError("--fresh-head does nothing without --pretrained; leave it out")
        find_network(self.arch)
        self._check_method()

    def _check_method(self) -> None:
        method = self.make_method()
        for name in ("method_schedule", "method_off_epochs"):
            if getattr(self, name) not in ("constant", 0) and not method.changes_batches:
                raise UserError(
                    f"{_flag(name)} does nothing with --method {self.method}, which changes neither batches nor layers"
                )
        if self.method_off_epochs > self.epochs:
            raise UserError(
                f"--method-off-epochs {self.method_off_epochs} is more than --epochs {self.epochs}"
            )
        if self.compile and (method.changes_layers or not method.can_compile):
            raise UserError(
                f"--compile cannot be used with --method {self.method}, which reads or changes layers' outputs in "
                "every step; leave it out"
            )

    @property
    def side(self) -> int:
        """Side of the network's input; 64 pixels where neither --size nor the weights say it."""
        return 64 if self.size is None else self.size

    @property
    def stride(self) -> int | None:
        """The output stride, the default filled in; None leaves it to a network whose strides are not listed."""
        if self.output_stride is not None or not find_network(self.arch).strides:
            return self.output_stride
        return default_output_stride(self.arch, self.side)

    @property
    def base_lr(self) -> float:
        """Learning rate of the backbone, the default filled in.

        Fine-tuning's is the CutMix paper's for a ResNet-50 and batches of 32 (arXiv 1905.04899, appendix B).
        """
        if self.lr is not None:
            return self.lr
        return 0.001 if self.pretrained else 0.1

    @property
    def head_lr_ratio(self) -> float:
        """Learning rate of the head relative to the backbone's, the default filled in."""
        if self.classifier_lr_ratio is not None:
            return self.classifier_lr_ratio
        return 10.0 if self.pretrained else 1.0

    @property
    def resize(self) -> int:
        """Side that training images are resized to before the random crop."""
        return round(self.side * 256 / 224) if self.train_resize is None else self.train_resize

    def make_method(self) -> Method:
        """The method with its settings; a `UserError` for an unknown name, or an illegal or missing value."""
        cls = method_named(self.method)
        return cls(**{f.name: getattr(self, f"{self.method}_{f.name}") for f in fields(cls)})

    def to_dict(self) -> dict[str, Any]:
        """Plain values by field name, as YAML and the run record hold them."""
        return asdict(self)


_AT_LEAST: dict[str, float] = {
    "classes": 2,
    "size": 32,
    "workers": 0,
    "output_stride": 1,
    "epochs": 1,
    "batch_size": 1,
    "accumulate": 1,
    "momentum": 0,
    "weight_decay": 0,
    "decay_every": 1,
    "warmup_epochs": 0,
    "seed": 0,
    "validate_every": 1,
    "localize_every": 0,
    "method_off_epochs": 0,
    "checkpoint_every_steps": 1,
}
_POSITIVE = ("lr", "classifier_lr_ratio", "decay_factor", "checkpoint_every_minutes")


# --- command line -------------------------------------------------------------------------------------------


def parse_config(argv: Sequence[str] | None = None, *, default: TrainConfig | None = None) -> TrainConfig:
    """The config that a command line asks for. `--help` and misspelled flags end the program, as usual.

    With `default`, its values stand where no flag is given, and neither preset nor file is read again.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    config = parse(
        TrainConfig,
        "train_cutmix.py",
        arguments,
        description=_ABOUT,
        default=_before_flags(arguments) if default is None else default,
    )
    _refuse_idle_flags(arguments, config)
    if config.preset is not None:
        unstated(config)
    return config


_ABOUT = """Train a classifier with CutMix or a rival, for weakly supervised localization.

Without arguments: CutMix on the embedded dataset 'parts', on the best device present.
Then: python -m eval.localize
"""


def _before_flags(arguments: Sequence[str]) -> TrainConfig:
    """Defaults, under a preset, under a file. Looks ahead for the few flags that decide which."""
    ahead = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    for name in ("config", "preset", "dataset", "arch", "method"):
        ahead.add_argument(f"--{name}")
    try:
        seen = {k: v for k, v in vars(ahead.parse_known_args(list(arguments))[0]).items() if v is not None}
    except argparse.ArgumentError:  # a flag without its value: the real parser will say so
        return TrainConfig()
    values = load_config_file(seen["config"]) if "config" in seen else {}
    preset = seen.get("preset", values.get("preset"))
    if preset and preset in PRESETS:  # else the real parser lists the legal ones
        known = {**TrainConfig().to_dict(), **values, **seen}
        values = {**preset_values(preset, known["dataset"], known["arch"], known["method"]), **values}
    return TrainConfig(**values)


def _refuse_idle_flags(arguments: Sequence[str], config: TrainConfig) -> None:
    """A typed flag that would do nothing is a misunderstanding; in a file it may serve other methods."""
    owners = {_flag(name): method for name, (method, *_) in METHOD_FIELDS.items()}
    for argument in arguments:
        flag = argument.split("=")[0].replace("_", "-").replace("--no-", "--")
        other = owners.get(flag, config.method)
        if other != config.method:
            raise UserError(
                f"{flag} does nothing with --method {config.method}; leave it out, or use --method {other}"
            )
        if flag in ("--decay-every", "--decay-factor", "--milestones") and config.schedule != "step":
            raise UserError(f"{flag} does nothing with --schedule {config.schedule}; add --schedule step")


# --- YAML ---------------------------------------------------------------------------------------------------


def load_config_file(path: str | Path) -> dict[str, Any]:
    """The settings in a YAML file, checked against the config's types; only the keys the file holds. The run.yaml of a
    run gives all settings of that run but its folder.

    A missing file, an unknown key (the nearest is named) or a value of the wrong type is a `UserError`.
    """
    try:
        content = read_yaml(path)
    except FileNotFoundError as error:
        raise UserError(f"--config '{path}' does not exist") from error
    except OSError as error:
        raise UserError(f"--config '{path}' cannot be read: {error.strerror}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UserError(f"{path}: expected lines like `method: cutmix`, got a {type(content).__name__}")
    if "schema" in content and isinstance(
        content.get("config"), dict
    ):  # the run.yaml of a run: the same again
        content = {k: v for k, v in content["config"].items() if k not in ("config", "resume", "out")}
    return check_settings(content, str(path))


@cache
def _validator() -> Any:
    import pydantic

    return pydantic.TypeAdapter(TrainConfig)  # takes some hundredths of a second to make


def check_settings(settings: Mapping[Any, Any], where: str) -> dict[str, Any]:
    """Settings by field name, each converted to its field's type; `where` (a file) begins the message."""
    import pydantic

    legal = {f.name for f in fields(TrainConfig)} - {"config", "resume"}
    for key in settings:
        if key not in legal:
            near = difflib.get_close_matches(str(key).replace("-", "_"), sorted(legal), n=1, cutoff=0.5)
            hint = f"; did you mean '{near[0]}'?" if near else f". Legal: {', '.join(sorted(legal))}"
            raise UserError(f"{where}: unknown setting '{key}'{hint}")
    try:
        checked = _validator().validate_python(dict(settings))
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else "?"
        raise UserError(f"{where}: {name}: {first['msg']}, got {first.get('input')!r:.60}") from error
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    return {key: getattr(checked, key) for key in settings}


def config_from_record(record: Mapping[str, Any], where: str) -> TrainConfig:
    """The config that a run record holds; settings that a newer version added take their defaults."""
    settings = {k: v for k, v in record.items() if k not in ("config", "resume")}
    return TrainConfig(**check_settings(settings, where))


def default_of(name: str) -> Any:
    """A field's default."""
    field = next(f for f in fields(TrainConfig) if f.name == name)
    return None if field.default is MISSING else field.default
