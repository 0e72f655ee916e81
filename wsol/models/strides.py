"""Turning strides to 1: how a ResNet's final map is made finer without dilation.

The weights stay as they are, so a stage whose stride is gone sees its input at twice the scale it was trained at.
Scores depend on this choice, therefore every change is recorded in words.
"""

from __future__ import annotations

from torch import nn

_ORDER = {
    # The reference's rule: the last stages first (layer4 at 224 pixels gives 14 x 14, layer3 as well 28 x 28).
    "late": ("layer4", "layer3", "layer2"),
    # For small images: the image looks twice as large to every layer behind the stem; then as the reference.
    "stem": ("maxpool", "layer4", "conv1"),
}


def stages_to_unstride(native_stride: int, output_stride: int, plan: str) -> tuple[str, ...]:
    """The modules whose stride of 2 becomes 1, in the plan's order; empty at the native stride.

    >>> stages_to_unstride(32, 8, "late"), stages_to_unstride(32, 8, "stem")
    (('layer4', 'layer3'), ('maxpool', 'layer4'))
    """
    halvings = (native_stride // output_stride).bit_length() - 1
    return _ORDER[plan][:halvings]


def unstride(backbone: nn.Module, name: str) -> str:
    """Set the stride of one of a ResNet's modules to 1, in place; returns the change in words."""
    module = backbone.get_submodule(name)
    if isinstance(module, nn.MaxPool2d):
        module.stride = 1
    else:
        for part in module.modules():
            if isinstance(part, nn.Conv2d):
                part.stride = (1, 1)
    return f"{name}: stride 2 -> 1"
