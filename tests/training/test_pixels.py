"""What reaches a network: its own mean, deviation and interpolation, against timm's and torchvision's own pipelines."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from tests.helpers.oracles import oracle
from wsol.errors import UserError
from wsol.loading import normalize_images
from wsol.models import IMAGENET, ClassifierSpec, Pixels, find_network
from wsol.views import EvalView


def picture(width: int, height: int) -> np.ndarray:
    """Smooth shapes and noise, every value from 0 to 255."""
    y, x = np.mgrid[:height, :width]
    waves = np.stack([np.sin(x / 9 + k) * np.cos(y / 7 - k) for k in range(3)], -1)
    noise = np.random.default_rng(0).normal(0, 0.5, waves.shape)
    return np.clip(127.5 + 127.5 * (waves + noise), 0, 255).astype(np.uint8)


def ours(rgb: np.ndarray, view: str, pixels: Pixels) -> torch.Tensor:
    frame = EvalView(view, pixels.size, pixels.interpolation).apply(rgb)  # type: ignore[arg-type]
    return normalize_images(torch.from_numpy(frame)[None], pixels)[0]


def levels_apart(a: torch.Tensor, b: torch.Tensor, pixels: Pixels) -> float:
    """The largest difference of two inputs, in levels of 255."""
    return float(((a - b).abs() * torch.tensor(pixels.std)[:, None, None]).max() * 255)


@pytest.mark.parametrize("view", ["resize", "center-crop"])
@pytest.mark.parametrize(
    ("name", "mean", "interpolation"),
    [
        pytest.param("tf_efficientnet_lite0", (0.5, 0.5, 0.5), "bicubic", id="0.5, bicubic"),
        pytest.param("mobilevit_s", (0.0, 0.0, 0.0), "bicubic", id="0 and 1"),
        pytest.param("tresnet_m.miil_in1k", (0.0, 0.0, 0.0), "bilinear", id="0 and 1, bilinear"),
        pytest.param("resnet18.tv_in1k", IMAGENET.mean, "bilinear", id="ImageNet's"),
    ],
)
def test_a_timm_network_sees_what_timms_own_pipeline_makes(
    name: str, mean: tuple[float, ...], interpolation: str, view: str
) -> None:
    """timm's evaluation transform with the published protocols' frames: the whole image, or its centre of 224 / 256."""
    timm = oracle("timm")
    pixels = find_network(f"timm:{name}").input_pixels()
    assert (pixels.mean, pixels.interpolation) == (mean, interpolation)
    config = timm.data.resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
    side = EvalView(view, pixels.size).resized_side  # type: ignore[arg-type]
    config |= {"crop_mode": "squash", "crop_pct": pixels.size / side}
    rgb = picture(311, 217)
    theirs = timm.data.create_transform(**config)(Image.fromarray(rgb))
    assert theirs.shape == (3, pixels.size, pixels.size)
    assert levels_apart(ours(rgb, view, pixels), theirs, pixels) <= 1


@pytest.mark.parametrize("name", ["mobilenet_v2", "efficientnet_b0", "convnext_tiny"])
def test_a_torchvision_network_sees_what_its_weights_transforms_make(name: str) -> None:
    preset = torchvision.models.get_model_weights(name)["IMAGENET1K_V1"].transforms(antialias=True)
    pixels = find_network(name).input_pixels()
    preset.resize_size = [256]  # the published protocols' crop
    rgb = picture(300, 300)  # theirs keeps the aspect
    assert levels_apart(ours(rgb, "center-crop", pixels), preset(Image.fromarray(rgb)), pixels) <= 1
    assert pixels.crop_fraction == 224 / {"convnext_tiny": 236}.get(name, 256)


def test_imagenets_input_is_as_it_was() -> None:
    """The default of every network of ours, to the bit: earlier results stay."""
    images = torch.from_numpy(picture(64, 64)).permute(2, 0, 1)[None]
    scale = torch.tensor([1 / (255 * s) for s in (0.229, 0.224, 0.225)]).view(1, 3, 1, 1)
    shift = torch.tensor([-m / s for m, s in zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]).view(
        1, 3, 1, 1
    )
    for arch in ("resnet_small", "resnet18", "resnet50", "vgg16_gap"):
        pixels = ClassifierSpec(arch, 2, 8, 64).input
        assert pixels == IMAGENET
        assert torch.equal(normalize_images(images, pixels), images.float().mul(scale).add(shift))


def test_a_record_without_an_input_is_of_the_time_when_all_had_imagenets() -> None:
    spec = ClassifierSpec("resnet18", 2, 8, 64, pixels=Pixels((0.5,) * 3, (0.5,) * 3, 299, "bicubic", 0.9))  # type: ignore[arg-type]
    record = spec.to_dict()
    assert record["pixels"]["mean"] == [0.5, 0.5, 0.5]
    assert ClassifierSpec.from_dict(record) == spec
    del record["pixels"]
    assert ClassifierSpec.from_dict(record).input == IMAGENET


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"mean": (123.7, 116.3, 103.5)}, "divide by 255"),
        ({"std": (0.2, 0.0, 0.2)}, "--std must be three numbers above 0"),
        ({"mean": (0.5, float("nan"), 0.5)}, "--mean must be three finite numbers"),
        ({"interpolation": "nearest"}, "unknown interpolation 'nearest'"),
    ],
)
def test_inputs_that_cannot_be_are_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message):
        IMAGENET.changed(**change)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [10**400, float("inf"), float("nan"), True, "0.5"])
def test_a_mean_that_no_float_holds_is_refused(value: object) -> None:
    with pytest.raises(UserError, match="--mean must be three finite numbers"):
        Pixels((value, 0.5, 0.5), (1.0, 1.0, 1.0), 32, "bilinear", 1.0)  # type: ignore[arg-type]
