"""Vision transformers whose last patch tokens are the final map, as TS-CAM reads them (Gao et al., ICCV 2021).

The published DeiT classifies by its class token, which has no map. Here the head reads the patch tokens, so that it has
to be trained; everything before it keeps timm's weights and names.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from wsol.errors import UserError
from wsol.models.classifier import Parts
from wsol.models.head import PooledLinear
from wsol.models.networks import PATCH_TOKENS
from wsol.models.pixels import Pixels
from wsol.models.spec import ClassifierSpec
from wsol.models.timm_network import import_timm
from wsol.models.timm_network import pixels as timm_pixels


class PatchTokens(nn.Module):
    """Images [N, 3, S, S] to the patch tokens behind the last block and norm, [N, C, h, w].

    `with_attention` adds a channel, [N, C + 1, h, w]: how much the class token attends to each patch, summed over the
    blocks and averaged over their heads. In training it is 0, as nothing learns from it.
    """

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body
        self.with_attention = False

    def forward(self, images: Tensor) -> Tensor:
        found: list[Tensor] = []
        with self._attention_into(found):
            tokens = self.body.forward_features(images)  # type: ignore[operator]
        prefix = int(self.body.num_prefix_tokens)  # type: ignore[arg-type]
        height, width = self.body.patch_embed.grid_size  # type: ignore[union-attr, misc]
        patches = tokens[:, prefix:].transpose(1, 2).unflatten(2, (height, width))  # [N, C, h, w]
        if not self.with_attention:
            return patches
        if not found:
            return torch.cat([patches, torch.zeros_like(patches[:, :1])], 1)
        attention = torch.stack(found).sum(0)[:, prefix:].unflatten(1, (height, width))
        return torch.cat([patches, attention[:, None].to(patches.dtype)], 1)

    @contextmanager
    def _attention_into(self, found: list[Tensor]) -> Iterator[None]:
        if not self.with_attention or self.training:
            yield
            return

        def keep(module: nn.Module, inputs: Any) -> None:
            found.append(class_attention(module, inputs[0]))

        handles = [block.attn.register_forward_pre_hook(keep) for block in self.body.blocks]  # type: ignore[union-attr]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def class_attention(attention: Any, tokens: Tensor) -> Tensor:
    """How much the class token attends to each token in one of timm's attention layers: [N, T, D] to [N, T], the mean
    over its heads."""
    n, t, d = tokens.shape
    heads = attention.num_heads
    q, k, _ = attention.qkv(tokens).reshape(n, t, 3, heads, d // heads).permute(2, 0, 3, 1, 4)
    q, k = attention.q_norm(q[:, :, :1]), attention.k_norm(k)  # [N, heads, 1 or T, D / heads]
    weights = (q * attention.scale) @ k.transpose(-2, -1)
    return weights.float().softmax(-1).mean(1)[:, 0]


def build(spec: ClassifierSpec) -> Parts:
    """A network of `PATCH_TOKENS` with random weights. UserError where the input is not a whole number of patches."""
    timm = import_timm()
    body = timm.create_model(
        PATCH_TOKENS[spec.arch],
        pretrained=False,
        num_classes=0,
        img_size=spec.input_size,
        dynamic_img_size=False,
    )
    side = body.patch_embed.patch_size[0]
    if spec.input_size % side:
        raise UserError(f"{spec.arch} reads patches of {side} pixels; give a --size that is a multiple of it")
    return Parts(PatchTokens(body), PooledLinear(body.num_features, spec.num_classes), side)


def weights(arch: str) -> dict[str, Tensor]:
    """timm's weights, downloaded on first use, without the class token's head."""
    found = import_timm().create_model(PATCH_TOKENS[arch], pretrained=True).state_dict()
    return {name: value for name, value in found.items() if not name.startswith("head.")}


def pixels(arch: str) -> Pixels:
    """The input of the network's own weights."""
    return timm_pixels(f"timm:{PATCH_TOKENS[arch]}")
