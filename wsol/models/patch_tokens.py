"""Vision transformers whose last patch tokens are the final map, as TS-CAM reads them (Gao et al., ICCV 2021).

The published DeiT classifies by its class token, which has no map. Here the head reads the patch tokens, so that it has
to be trained; everything before it keeps timm's weights and names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
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

        def keep(attention: nn.Module, tokens: Tensor) -> None:
            found.append(attention_weights(attention, tokens, 1)[:, 0])

        wanted = self.with_attention and not self.training
        with self.watched(keep) if wanted else nullcontext():
            patches = self.as_map(self.body.forward_features(images))  # type: ignore[operator]
        if not self.with_attention:
            return patches
        if not found:
            return torch.cat([patches, torch.zeros_like(patches[:, :1])], 1)
        attention = self.as_map(torch.stack(found).sum(0)[:, :, None])
        return torch.cat([patches, attention.to(patches.dtype)], 1)

    def as_map(self, tokens: Tensor) -> Tensor:
        """Tokens [N, T, C] without the class token and its like, where their patches lie: [N, C, h, w]."""
        prefix = int(self.body.num_prefix_tokens)  # type: ignore[arg-type]
        grid_hw = self.body.patch_embed.grid_size  # type: ignore[union-attr]
        return tokens[:, prefix:].transpose(1, 2).unflatten(2, grid_hw)

    @contextmanager
    def watched(self, keep: Callable[[nn.Module, Tensor], None]) -> Iterator[None]:
        """Meanwhile every pass calls `keep` before each block's attention layer, with it and its tokens [N, T, D]."""

        def hook(attention: nn.Module, inputs: Any) -> None:
            keep(attention, inputs[0])

        handles = [block.attn.register_forward_pre_hook(hook) for block in self.body.blocks]  # type: ignore[union-attr]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


def attention_weights(attention: Any, tokens: Tensor, first: int | None = None) -> Tensor:
    """How much each of the `first` tokens (None: all) attends to each token in one of timm's attention layers: tokens
    [N, T, D] to [N, first, T], the mean over its heads."""
    n, t, d = tokens.shape
    heads = attention.num_heads
    q, k, _ = attention.qkv(tokens).reshape(n, t, 3, heads, d // heads).permute(2, 0, 3, 1, 4)
    q, k = attention.q_norm(q[:, :, :first]), attention.k_norm(k)  # [N, heads, first or T, D / heads]
    weights = (q * attention.scale) @ k.transpose(-2, -1)
    return weights.float().softmax(-1).mean(1)


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
