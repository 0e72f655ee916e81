"""Published training settings, as far as they were published, with their sources.

A preset is a set of config values for one (dataset, arch, method). What a source does not state is not made
up: where the learning rate is unknown the preset refuses, and asks for `--lr`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from wsol.errors import UserError, unknown_name

if TYPE_CHECKING:
    from wsol.training.config import TrainConfig

PRESETS: dict[str, str] = {
    "choe2020": (
        "Choe et al., CVPR 2020 (arXiv 2001.07437) and its code: nesterov SGD, momentum 0.9, batch 32; ten "
        "times the rate for layer4 and the head of ResNet-50, for conv6 and the head of VGG16; x0.1 before "
        "epochs 15, 30, 45 (CUB, 50 epochs) or 3, 6, 9 (ImageNet, OpenImages, 10 epochs); the last epoch's "
        "weights, its default. Learning rates and CutMix settings from forks' scripts that appear to copy the "
        "authors' search results: those of `vanilla` on CUB agree with the README of Kim et al., ICCV 2021 "
        "(arXiv 2107.13221), those of CutMix are unconfirmed, and their two scripts disagree on the map size of "
        "CutMix on ResNet-50 (asked for). Otherwise than in its code: the last, partial batch of an epoch is "
        "left out, and --precision auto takes bf16 where the device has it (there fp32)"
    ),
    "cutmix2019": (
        "Yun et al., ICCV 2019 (arXiv 1905.04899), appendix B: SGD, momentum 0.9, weight decay 1e-4, a fresh "
        "head at ten times the rate; CUB 600 epochs, batch 32, x0.1 every 150; ImageNet 20 epochs, batch 256, "
        "x0.1 every 6; 14x14 maps. Not stated there: nesterov (on, as in the authors' released ImageNet "
        "trainer), the chance of mixing, settings of Mixup and Cutout (our defaults), the rate of VGG16's new "
        "conv6 (the head's). Otherwise than there: the last, partial batch of an epoch is left out, and "
        "--precision auto takes bf16 where the device has it"
    ),
}

# Dataset names as they begin in manifests.
_FAMILIES = ("cub", "imagenet", "openimages")

_COMMON_CHOE: dict[str, Any] = {
    "size": 224,
    "train_resize": 256,
    "pretrained": "imagenet",
    "batch_size": 32,
    "momentum": 0.9,
    "nesterov": True,
    "classifier_lr_ratio": 10.0,
    "schedule": "step",
    "decay_factor": 0.1,
}
# The code multiplies the rate by 0.1 before epoch 15, 30 ... (counted from 1), so after 14, 29 ... epochs.
_CUB_CHOE: dict[str, Any] = {"epochs": 50, "milestones": (14, 29, 44)}
_OTHER_CHOE: dict[str, Any] = {"epochs": 10, "milestones": (2, 5, 8)}
_EPOCHS_CHOE = {"cub": _CUB_CHOE, "imagenet": _OTHER_CHOE, "openimages": _OTHER_CHOE}
_FAST_CHOE: dict[str, tuple[str, ...]] = {
    "resnet50": ("layer4",),
    "vgg16_gap": (),
}  # conv6 is new, hence fast anyway
_DECAY_CHOE = {"resnet50": 1e-4, "vgg16_gap": 5e-4}
# (learning rate, output stride: 8 for a 28x28 map, 16 for 14x14)
_CHOE: dict[tuple[str, str, str], dict[str, Any]] = {
    ("cub", "vgg16_gap", "vanilla"): {"lr": 1.268269e-5, "output_stride": 16},
    ("cub", "resnet50", "vanilla"): {"lr": 2.3222617e-4, "output_stride": 8},
    ("cub", "vgg16_gap", "cutmix"): {
        "lr": 3.220934e-5,
        "output_stride": 16,
        "cutmix_alpha": 0.85,
        "cutmix_prob": 0.79,
    },
    ("cub", "resnet50", "cutmix"): {
        "lr": 3.333722e-4,  # no output stride: see `unstated`
        "cutmix_alpha": 1.35,
        "cutmix_prob": 0.24,
    },
    ("imagenet", "vgg16_gap", "vanilla"): {"lr": 1.654502e-5, "output_stride": 16},
    ("imagenet", "resnet50", "vanilla"): {"lr": 3.108411e-5, "output_stride": 8},
    ("openimages", "vgg16_gap", "vanilla"): {"lr": 2.27913316e-3, "output_stride": 16},
}

_COMMON_2019: dict[str, Any] = {
    "size": 224,
    "train_resize": 256,
    "output_stride": 16,
    "pretrained": "imagenet",
    "momentum": 0.9,
    "nesterov": True,
    "fresh_head": True,
    "weight_decay": 1e-4,
    "classifier_lr_ratio": 10.0,
    "schedule": "step",
    "decay_factor": 0.1,
}
_2019: dict[tuple[str, str], dict[str, Any]] = {
    ("cub", "resnet50"): {"lr": 1e-3, "epochs": 600, "decay_every": 150, "batch_size": 32},
    ("cub", "vgg16_gap"): {"lr": 1e-4, "epochs": 600, "decay_every": 150, "batch_size": 32},
    ("imagenet", "resnet50"): {"lr": 1e-2, "epochs": 20, "decay_every": 6, "batch_size": 256},
    ("imagenet", "vgg16_gap"): {"lr": 1e-2, "epochs": 20, "decay_every": 6, "batch_size": 256},
}


def preset_values(preset: str, dataset: str, arch: str, method: str) -> dict[str, Any]:
    """Config values of a preset, the preset's own name included.

    `UserError` for an unknown preset and for a combination that the source gives no settings for.
    """
    if preset not in PRESETS:
        raise unknown_name("preset", preset, PRESETS)
    name = Path(dataset).name.lower()
    family = next((f for f in _FAMILIES if name.startswith(f)), None)
    values: dict[str, Any]
    if preset == "choe2020":
        known = [f"{d} {a} {m}" for d, a, m in _CHOE]
        if (family or "", arch, method) not in _CHOE:
            raise _no_settings(preset, dataset, f"{arch} {method}", known)
        assert family is not None
        values = {**_COMMON_CHOE, **_EPOCHS_CHOE[family], "weight_decay": _DECAY_CHOE[arch]}
        values |= {"fast_layers": _FAST_CHOE[arch], **_CHOE[family, arch, method]}
    else:
        if (family or "", arch) not in _2019:
            raise _no_settings(preset, dataset, arch, [f"{d} {a}" for d, a in _2019])
        assert family is not None
        values = {**_COMMON_2019, **_2019[family, arch]}
    return {"preset": preset, **values}


def unstated(config: TrainConfig) -> None:
    """Refuse a preset's run whose map size the source leaves open and the user has not chosen."""
    if config.preset == "choe2020" and config.output_stride is None:
        raise UserError(
            f"--preset choe2020 states no map size for {config.arch} with {config.method}: add --output-stride 8 "
            "(28x28 maps, as its CAM runs have on ResNet-50) or --output-stride 16 (14x14, its code's default)"
        )


def _no_settings(preset: str, dataset: str, what: str, known: list[str]) -> UserError:
    return UserError(
        f"--preset {preset} has no settings for --dataset {dataset} with {what}: its source gives none. It "
        f"has: {'; '.join(known)} (dataset names beginning so). Leave --preset out and pass --lr and the like"
    )
