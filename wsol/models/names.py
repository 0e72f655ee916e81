"""The names of the networks and what may be chosen about them; imports no torch, so `--help` stays quick."""

from __future__ import annotations

from dataclasses import dataclass

from wsol.errors import UserError, unknown_name

TIMM_PREFIX = "timm:"
STRIDE_PLANS = ("late", "stem")
MIN_INPUT_SIZE = 32
PRETRAINED_SIZE = 224  # pixels; what ImageNet weights were trained at


@dataclass(frozen=True)
class Arch:
    """A network by name: the output strides it can be given, its own first, and whether ImageNet weights
    exist.

    `strides` are image pixels per step of the final feature map. `head_names` are the names under which
    checkpoint files hold the classifier's head.
    """

    name: str
    native_stride: int
    strides: tuple[int, ...]
    imagenet: bool
    head_names: tuple[str, ...]
    about: str


_RESNET_HEADS = ("head", "fc", "head.fc", "classifier")

ARCHS: dict[str, Arch] = {
    arch.name: arch
    for arch in (
        Arch(
            "resnet_small",
            8,
            (4, 8),
            False,
            _RESNET_HEADS,
            "small residual network for CPU (0.6 M weights, 0.07 GMAC at 64 px)",
        ),
        Arch("resnet18", 32, (4, 8, 16, 32), True, _RESNET_HEADS, "torchvision ResNet-18"),
        Arch("resnet34", 32, (4, 8, 16, 32), True, _RESNET_HEADS, "torchvision ResNet-34"),
        Arch("resnet50", 32, (4, 8, 16, 32), True, _RESNET_HEADS, "torchvision ResNet-50"),
        Arch(
            "vgg16_gap",
            16,
            (4, 8, 16),
            True,
            ("head", "fc", "classifier"),
            "VGG16 without its dense layers: conv6 of 1024 channels, GAP, head (CAM, CVPR 2016)",
        ),
    )
}


def is_timm(arch: str) -> bool:
    """Whether `arch` names a timm network (`timm:resnet50`)."""
    return arch.startswith(TIMM_PREFIX)


def check_arch(arch: str) -> None:
    """Refuse a network name that is neither in `ARCHS` nor `timm:NAME`; whether timm knows NAME shows at
    build.
    """
    if is_timm(arch):
        if arch == TIMM_PREFIX:
            raise UserError("`timm:` needs a network's name after it, such as timm:resnet50")
        return
    if arch not in ARCHS:
        raise unknown_name("network", arch, [*ARCHS, TIMM_PREFIX + "NAME"])


def default_output_stride(arch: str, input_size: int) -> int:
    """The coarsest stride that gives a map of at least 8 x 8, or the finest one there is.

    At 224 pixels that is 16 (14 x 14 maps, as the CutMix and CAM papers use), at 64 pixels 8, at 32 pixels
    4. A timm network keeps its own stride, taken to be 32, from 224 pixels up (some have no other); below
    that, 8 or 16.

    >>> default_output_stride("resnet50", 224), default_output_stride("resnet_small", 64)
    (16, 8)
    """
    check_arch(arch)
    if is_timm(arch) and input_size >= PRETRAINED_SIZE:
        return 32
    strides = (8, 16) if is_timm(arch) else ARCHS[arch].strides
    return max((s for s in strides if input_size // s >= 8), default=min(strides))


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
    has_pooled_stem = arch in ("resnet18", "resnet34", "resnet50")
    return "stem" if has_pooled_stem and 2 * input_size <= PRETRAINED_SIZE else "late"
