"""Every network is one constant here: how it is built, its weights, its input. Imports no torch.

A network from elsewhere is added by `NETWORKS[name] = Network(name, ...)` before it is used; nothing else has to be
changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from wsol.errors import UserError, unknown_name
from wsol.models.pixels import IMAGENET, Pixels

if TYPE_CHECKING:
    from torch import Tensor

    from wsol.models.classifier import Parts
    from wsol.models.spec import ClassifierSpec

TIMM_PREFIX = "timm:"
STRIDE_PLANS = ("late", "stem")
MIN_INPUT_SIZE = 32
PRETRAINED_SIZE = 224  # pixels; what most ImageNet weights were made at


@dataclass(frozen=True)
class Network:
    """A network by name. Where the cells of its map look is followed through its layers (`wsol.cams.cell_centers`).

    The functions are given as objects, or as "module:function" to be imported on first use (networks need torch, this
    file does not). They are called with the network's name, `build` with a `ClassifierSpec`.

    `build`          the network in parts (`wsol.models.classifier.Parts`), with random weights
    `strides`        output strides to choose from, the coarsest (its own) included: image pixels per cell of the final
                     map. Empty: not listed here; the stride is measured on the built network
    `pixels`         the input that its weights were made for
    `weights`        tensors of its ImageNet weights, by their own names, downloaded on first use; None: there are none
    `heads`          names under which checkpoint files hold the classifier's last layer, besides `head`
    `body`           where the file's names lie inside our `backbone.`
    `numbering`      other names of its tensors in files to its own, at an output stride
    `left_out`       beginnings of names in other people's files that belong to parts which this network has not
    `fresh`          beginnings of our names that no file of ImageNet weights has: random when fine-tuning
    `pooled_stem`    whether the stem ends in a max pooling whose stride can be turned to 1
    """

    name: str
    about: str
    build: str | Callable[[ClassifierSpec], Parts]
    strides: tuple[int, ...] = ()
    pixels: Pixels | str | Callable[[str], Pixels] = IMAGENET
    weights: str | Callable[[str], dict[str, Tensor]] | None = None
    heads: tuple[str, ...] | str | Callable[[str], tuple[str, ...]] = ("fc", "head.fc", "classifier")
    body: str = ""
    numbering: str | Callable[[int], Mapping[str, str]] | None = None
    left_out: tuple[str, ...] = ()
    fresh: tuple[str, ...] = ()
    pooled_stem: bool = False

    def input_pixels(self) -> Pixels:
        """The input of its weights; needs torch or timm only for networks that these know."""
        return self.pixels if isinstance(self.pixels, Pixels) else _function(self.pixels)(self.name)

    def head_names(self) -> tuple[str, ...]:
        """The names under which checkpoints hold its head, ours first."""
        names = self.heads if isinstance(self.heads, tuple) else _function(self.heads)(self.name)
        return ("head", *names)

    def other_names(self, stride: int) -> Mapping[str, str]:
        """Other names of its tensors in files, to its own, at an output stride."""
        return {} if self.numbering is None else _function(self.numbering)(stride)

    def parts(self, spec: ClassifierSpec) -> Parts:
        """The network of a spec, with random weights."""
        return _function(self.build)(spec)

    def imagenet_weights(self) -> dict[str, Tensor]:
        """Its ImageNet weights; UserError where there are none, whatever the download raises where that fails."""
        if self.weights is None:
            raise UserError(
                f"{self.name} has no ImageNet weights; train it from scratch or give a checkpoint file instead"
            )
        return _function(self.weights)(self.name)


def _function(given: Any) -> Any:
    """A function given as itself or as "module:function"."""
    if not isinstance(given, str):
        return given
    module, _, name = given.partition(":")
    return getattr(import_module(module), name)


def _resnet(name: str, about: str) -> Network:
    return Network(
        name,
        f"torchvision {about}",
        "wsol.models.resnet:build_resnet",
        strides=(4, 8, 16, 32),
        weights="wsol.models.torchvision_network:weights",
        pooled_stem=True,
    )


def _torchvision(name: str) -> Network:
    """One of torchvision's classifiers that consist of `features` and `classifier`."""
    return Network(
        name,
        f"torchvision {name}",
        "wsol.models.torchvision_network:build",
        pixels="wsol.models.torchvision_network:pixels",
        weights="wsol.models.torchvision_network:weights",
        heads="wsol.models.torchvision_network:head_names",
        body="body.",
    )


PATCH_TOKENS = {
    "deit_tiny": "deit_tiny_patch16_224",
    "deit_small": "deit_small_patch16_224",
    "deit_base": "deit_base_patch16_224",
    "dino_small": "vit_small_patch16_224.dino",
    "dino_base": "vit_base_patch16_224.dino",
    "dinov2_small": "vit_small_patch14_dinov2.lvd142m",
    "dinov2_base": "vit_base_patch14_dinov2.lvd142m",
    "clip_base": "vit_base_patch16_clip_224.openai",
}
"""Transformers whose patch tokens are the final map, by timm's names (`wsol.models.patch_tokens`)."""


def _patch_tokens(name: str) -> Network:
    return Network(
        name,
        f"timm {PATCH_TOKENS[name]}, read at its patch tokens",
        "wsol.models.patch_tokens:build",
        strides=(14 if "_patch14_" in PATCH_TOKENS[name] else 16,),
        pixels="wsol.models.patch_tokens:pixels",
        weights="wsol.models.patch_tokens:weights",
        heads=(),
        left_out=("backbone.mask_token",),
        body="body.",
    )


NETWORKS: dict[str, Network] = {
    network.name: network
    for network in (
        Network(
            "resnet_small",
            "small residual network for CPU (0.6 M weights, 0.07 GMAC at 64 px)",
            "wsol.models.resnet:build_small",
            strides=(4, 8),
        ),
        _resnet("resnet18", "ResNet-18"),
        _resnet("resnet34", "ResNet-34"),
        _resnet("resnet50", "ResNet-50"),
        _resnet("resnet101", "ResNet-101"),
        Network(
            "vgg16_gap",
            "VGG16 without its dense layers: conv6 of 1024 channels, GAP, head (CAM, CVPR 2016)",
            "wsol.models.vgg:build_vgg16_gap",
            strides=(4, 8, 16),
            weights="wsol.models.torchvision_network:vgg16_weights",
            heads=("fc", "classifier"),
            numbering="wsol.models.vgg:numbered_without_gaps",
            left_out=("backbone.classifier.", "backbone.pre_logits.", "backbone.head."),
            fresh=("backbone.conv6.",),
        ),
        Network(
            "inception_v3",
            "InceptionV3 up to Mixed_6e with SPG's two convolutions, as Choe et al. have it",
            "wsol.models.inception:build",
            strides=(8, 16),
            pixels=Pixels((0.5, 0.5, 0.5), (0.5, 0.5, 0.5), 224, "bilinear", 299 / 342),
            weights="wsol.models.torchvision_network:weights",
            heads=("SPG_A4",),
            left_out=("backbone.fc.", "backbone.AuxLogits.", "backbone.Mixed_7"),
            fresh=("backbone.SPG_A3_",),
        ),
        *map(_patch_tokens, PATCH_TOKENS),
        *(
            _torchvision(name)
            for name in (
                *("mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large"),
                *(f"efficientnet_b{i}" for i in range(8)),
                *("efficientnet_v2_s", "efficientnet_v2_m", "efficientnet_v2_l"),
                *("densenet121", "densenet161", "densenet169", "densenet201"),
                *("convnext_tiny", "convnext_small", "convnext_base", "convnext_large"),
                *("squeezenet1_0", "squeezenet1_1"),
            )
        ),
    )
}

_TIMM = Network(
    TIMM_PREFIX,
    "any of timm's networks",
    "wsol.models.timm_network:build",
    pixels="wsol.models.timm_network:pixels",
    weights="wsol.models.timm_network:weights",
    heads="wsol.models.timm_network:head_names",
    body="body.",
)


def is_timm(arch: str) -> bool:
    """Whether `arch` names a timm network (`timm:resnet50`)."""
    return arch.startswith(TIMM_PREFIX)


def _timm_has(name: str) -> bool:
    try:
        import timm
    except ImportError:
        return False
    return bool(timm.is_model(name))


def find_network(arch: str) -> Network:
    """The network of a name in `NETWORKS`, or of `timm:NAME` (whether timm knows NAME shows when it is built).

    Raises UserError for an unknown name, with the nearest one that is known.
    """
    if is_timm(arch):
        if arch == TIMM_PREFIX:
            raise UserError("`timm:` needs a network's name after it, such as timm:resnet50")
        return replace(_TIMM, name=arch)
    if arch not in NETWORKS:
        if _timm_has(arch):
            raise UserError(f"unknown network '{arch}'; timm has one of that name: write {TIMM_PREFIX}{arch}")
        raise unknown_name("network", arch, [*NETWORKS, TIMM_PREFIX + "NAME"])
    return NETWORKS[arch]


def default_output_stride(arch: str, input_size: int) -> int | None:
    """The coarsest stride that gives a map of at least 8 x 8, or the finest one there is; None: the network's own.

    At 224 pixels that is 16 (14 x 14 maps, as the CutMix and CAM papers use), at 64 pixels 8, at 32 pixels 4. A
    network whose strides are not listed keeps its own from 224 pixels up; below that, 8 or 16 is asked of it.

    >>> default_output_stride("resnet50", 224), default_output_stride("resnet_small", 64)
    (16, 8)
    """
    strides = find_network(arch).strides
    if not strides and input_size >= PRETRAINED_SIZE:
        return None
    return max((s for s in strides or (8, 16) if input_size // s >= 8), default=min(strides or (8, 16)))


def default_stride_plan(arch: str, input_size: int) -> str:
    """Which strides are turned to 1 first: `late` at usual sizes, `stem` for ResNets on small images.

    With the stem's max pooling at stride 1 a ResNet sees a 64-pixel image at the scale it would see a 128-pixel one:
    up to half of the weights' training size this keeps objects nearer to the scale that ImageNet weights know, and
    it keeps the early layers' resolution. It costs a ResNet-18 at 64 pixels and stride 8 1.3 times the work of `late`
    (0.97 against 0.75 GMAC; 35 against 47 images a CPU second in training). From 113 pixels up, the reference's rule
    (late stages) holds.

    >>> default_stride_plan("resnet18", 64), default_stride_plan("resnet18", 224)
    ('stem', 'late')
    """
    small = 2 * input_size <= PRETRAINED_SIZE
    return "stem" if find_network(arch).pooled_stem and small else "late"
