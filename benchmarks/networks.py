"""Which networks have an exact class activation map: `python -m benchmarks.networks [NAME ...]` (Markdown on stdout).

For each name, a network with random weights of timm (or torchvision) and ours with the same weights see one image of
random pixels, at 128 pixels where the network takes them. The error is the largest difference between a map's mean
over the cells plus the bias and the original network's logit, over the largest logit. Where there is no exact map, the
reason stands in its place.
"""

from __future__ import annotations

import argparse
import re
import sys
import warnings

import torch
import torchvision
from torch import Tensor, nn

from wsol.cams.extract import extract_cams
from wsol.errors import UserError
from wsol.models import Classifier, ClassifierSpec, find_network, load_state
from wsol.models.head import PooledClassMaps, TailHead

CLASSES = 5
TIMM = (
    "resnet18 resnet10t resnext26ts seresnext26d_32x4d regnetx_002 regnety_002 densenet121 efficientnet_lite0 "
    "tf_efficientnet_lite0 efficientnet_b0 tf_efficientnetv2_b0 mobilenetv1_100 mobilenetv2_050 mnasnet_small "
    "repvgg_a0 mobileone_s0 hrnet_w18_small rexnetr_100 cspdarknet53 eca_nfnet_l0 fastvit_t8 pvt_v2_b0 mobilevit_xxs "
    "tresnet_m xception41 xception inception_v3 selecsls42b dla34 dla46_c resnetv2_18 resnetv2_50 resnetv2_50x1_bit "
    "dpn48b convnext_atto convnextv2_atto davit_tiny edgenext_xx_small poolformer_s12 swin_tiny_patch4_window7_224 "
    "starnet_s1 mobilenetv3_small_050 mobilenetv4_conv_small ghostnet_100 lcnet_050 hgnetv2_b0 vgg11 levit_128s "
    "repvit_m0_9 caformer_s18 deit_tiny_patch16_224 coat_tiny mixer_s32_224"
)
NAMES = (
    *("resnet18", "mobilenet_v2", "mobilenet_v3_small", "efficientnet_b0", "densenet121", "convnext_tiny"),
    *("squeezenet1_0", *(f"timm:{name}" for name in TIMM.split())),
)


def original(arch: str) -> nn.Module:
    """The network as its own library makes it, with random weights; running statistics away from 0 and 1."""
    if arch.startswith("timm:"):
        import timm

        net = timm.create_model(arch.removeprefix("timm:"), num_classes=CLASSES)
    else:
        net = getattr(torchvision.models, arch)(weights=None, num_classes=CLASSES)
    for name, value in net.state_dict().items():
        if name.endswith(("running_mean", "classifier.1.bias")):
            value.normal_(0, 0.1)
    return net.eval()


def row(arch: str) -> str:
    """One line of the table."""
    pixels = find_network(arch).input_pixels()
    size = pixels.size if "swin" in arch or "deit" in arch or "mixer" in arch else min(pixels.size, 128)
    kind = f"{_short(pixels.mean)} / {_short(pixels.std)}, {pixels.interpolation}, {pixels.size}"
    try:
        net = original(arch)
        spec = ClassifierSpec(arch, CLASSES, None, size)
        model = Classifier(spec, find_network(arch).parts(spec)).eval()
        load_state(model, net.state_dict(), arch, allow_new_head=False)
    except UserError as error:
        reason = re.split(r", so no map|\. Make maps", str(error).removeprefix(f"{arch} "))[0]
        return f"| {arch} | {kind} | | refused: {reason} |"
    head = f"| {arch} | {kind} | {model.spec.output_stride} |"
    if isinstance(model.head, TailHead):
        return f"{head} by hirescam: {model.head.why_no_cam.partition(': ')[2]} |"
    image = torch.randn(1, 3, size, size)
    with torch.inference_mode():
        logits = net(image)
        found = extract_cams(model, image, torch.arange(CLASSES)[None]).maps
    bias = torch.zeros(()) if isinstance(model.head, PooledClassMaps) else model.head.bias
    return f"{head} {_error(found, bias, logits):.0e} |"


def _short(values: tuple[float, ...]) -> str:
    return " ".join(f"{v:g}" for v in dict.fromkeys(values))


def _error(maps: Tensor, bias: Tensor, logits: Tensor) -> float:
    return float((maps.mean((2, 3)) + bias - logits).abs().max() / logits.abs().max())


def main(arguments: list[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="networks (default: the list of docs/networks.md)")
    chosen = parser.parse_args(arguments)
    warnings.simplefilter("ignore")
    torch.manual_seed(0)
    sys.stdout.write(
        "| network | mean / std, interpolation, size | stride | map against logit |\n|---|---|---|---|\n"
    )
    for arch in chosen.names or NAMES:
        sys.stdout.write(row(arch) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
