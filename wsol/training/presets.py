"""Published training settings, as far as they were published, with their sources.

A preset is a set of config values for one (dataset, arch, method). What a source does not state is not made
up: where the learning rate is unknown the preset refuses, and asks for `--lr`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from wsol.errors import UserError, unknown_name

PRESETS: dict[str, str] = {
    "choe2020": (
        "Choe et al., CVPR 2020 (arXiv 2001.07437) and its code: nesterov SGD, momentum 0.9, head lr x10, "
        "batch 32, x0.1 every 15 (CUB, 50 epochs) or 3 epochs (ImageNet, OpenImages, 10 epochs). Learning "
        "rates and CutMix settings from forks' scripts that appear to copy the authors' search results: "
        "those of `vanilla` on CUB agree with the README of Kim et al., ICCV 2021 (arXiv 2107.13221), "
        "those of CutMix are unconfirmed. Otherwise than in its code: the rate x10 is the linear head's alone "
        "(there also layer4's of ResNet-50, conv6's of VGG16), the rate falls after epochs 15, 30, 45 (there "
        "before them; likewise 3, 6, 9), and the last epoch's weights are kept (there those that localize "
        "best on train-fullsup)"
    ),
    "cutmix2019": (
        "Yun et al., ICCV 2019 (arXiv 1905.04899), appendix B: SGD, momentum 0.9, weight decay 1e-4; CUB "
        "600 epochs, batch 32, x0.1 every 150; ImageNet 20 epochs, batch 256, x0.1 every 6; 14x14 maps. "
        "Otherwise than there: on ImageNet the head keeps its ImageNet weights (there it starts afresh). "
        "Not stated there: nesterov (taken as off), the chance of mixing, settings of Mixup and Cutout "
        "(our defaults)"
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
_EPOCHS_CHOE = {"cub": (50, 15), "imagenet": (10, 3), "openimages": (10, 3)}
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
        "lr": 3.333722e-4,
        "output_stride": 16,
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
    "nesterov": False,
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
        epochs, every = _EPOCHS_CHOE[family]
        values = {**_COMMON_CHOE, "epochs": epochs, "decay_every": every, "weight_decay": _DECAY_CHOE[arch]}
        values |= _CHOE[family, arch, method]
    else:
        if (family or "", arch) not in _2019:
            raise _no_settings(preset, dataset, arch, [f"{d} {a}" for d, a in _2019])
        assert family is not None
        values = {**_COMMON_2019, **_2019[family, arch]}
    return {"preset": preset, **values}


def _no_settings(preset: str, dataset: str, what: str, known: list[str]) -> UserError:
    return UserError(
        f"--preset {preset} has no settings for --dataset {dataset} with {what}: its source gives none. It "
        f"has: {'; '.join(known)} (dataset names beginning so). Leave --preset out and pass --lr and the like"
    )
